"""The command line: `optcontrol train`, `compare`, `benchmark`, `plot`, `card`, `playground` and `list`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from agents import benchmark, card, compare, plot
from agents.arguments import Parser, add_version, among, check_folder, check_numbers, check_unread, run
from agents.describe import describe
from agents.playground import launch
from agents.policies.networks import FilePolicy
from agents.registry import names
from agents.rules.auto import FIRST_UPDATE_NORM
from agents.training.run_folder import SETTINGS, holds_run, read_fields
from optenv import tasks
from optenv.benchmark.driver import in_force
from optenv.benchmark.methods import BASELINES, REFERENCE
from optenv.benchmark.suites import SUITES, Case, Suite
from optenv.control.features import FEATURES
from optenv.control.knobs import CONTROLS, KNOBS, check_control, check_movable
from optenv.inner.optimizers import OPTIMIZERS
from optenv.registry import Registry
from optenv.rewards import REWARDS

REINFORCEMENT = "agents.training.reinforcement"
# Who trains an agent: a module with train, read_settings and from_options.
AGENTS = Registry(
    "agent",
    {
        **dict.fromkeys(("ppo", "recurrent_ppo", "sac", "td3"), REINFORCEMENT),
        "garo": "agents.training.garo.recipe",
        "opt2vec": "agents.training.opt2vec.recipe",
    }.items(),
)
# Options that a training reads; reinforcement learning reads them all.
COMMON = ("agent", "task", "seed", "suite", "workers", "backend", "ray_address", "out", "overwrite")
READ = {"garo": (*COMMON, "hindsight"), "opt2vec": (*COMMON, "optimizer", "rollouts")}
# Options of a training that goes on; the others are its own.
RESUMED = ("resume", "suite", "workers", "backend", "ray_address")
Options = tuple[tuple[str, float], ...]
BESIDE = (REFERENCE, "constant", "warmup_cosine")  # what a trained controller is evaluated beside


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; what it returns is the exit status, see `agents.arguments.run`."""
    parser = Parser("optcontrol", description="Controllers for optimizers.")
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    add_train(commands.add_parser("train", help="train a controller and evaluate it"))
    compare.add_options(commands.add_parser("compare", help="run controllers side by side"))
    benchmark.add_options(commands.add_parser("benchmark", help="judge controllers against tuned and untuned methods"))
    plot.add_options(commands.add_parser("plot", help="draw a controlled optimizer's trace, or a training's curves"))
    card.add_options(commands.add_parser("card", help="write a model card beside a controller file"))
    launch.add_options(commands.add_parser("playground", help="look at optimizers and controllers in a browser"))
    listing = commands.add_parser("list", help="list tasks, optimizers, knobs, features, rewards and controllers")
    listing.add_argument("name", nargs="?", default=None, metavar="NAME", help="describe this one; default: list all")
    listing.set_defaults(run=_list)
    return run(parser, arguments)


def add_train(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give `parser` the options of a training; the defaults make `ppo`, on the synthetic train split."""
    parser.add_argument("--agent", default="ppo", metavar="NAME", help=f"{among(AGENTS)} (default: %(default)s)")
    parser.add_argument(
        "--task", nargs="+", default=[], metavar="NAME", help="see `optcontrol list` (default: synthetic families)"
    )
    parser.add_argument(
        "--optimizer",
        nargs="+",
        default=None,
        metavar="NAME",
        help=f"base optimizers, of {among(OPTIMIZERS)}; a repeated one is drawn more often (default: the agent's)",
    )
    _add_environment(parser)
    parser.add_argument(
        "--rollouts",
        type=int,
        default=None,
        help="that are learned from (default: 20 from scratch, else 0); of opt2vec meta-steps",
    )
    parser.add_argument(
        "--hindsight",
        type=int,
        default=None,
        metavar="TASKS",
        help="tasks in each round of a teacher with hindsight (default: ppo 0, garo 280)",
    )
    parser.add_argument(
        "--from-scratch", action="store_true", help="begin with random weights, without imitating a schedule first"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    benchmark.add_backend(parser)
    parser.add_argument("--seed", type=int, default=0, help="of everything (default: %(default)s)")
    parser.add_argument(
        "--suite",
        default="held_out",
        metavar="NAME",
        help=f"what the controller is evaluated on: {among(SUITES)} (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=None, help="run folder (default: runs/AGENT-SEED)")
    parser.add_argument("--overwrite", action="store_true", help="begin anew in a folder that holds a run")
    parser.add_argument(
        "--resume", type=Path, default=None, metavar="RUN", help="go on from this run folder's checkpoint"
    )
    parser.set_defaults(run=_train, go_on=_go_on, usual=parser.parse_args([]))
    return parser


def _add_environment(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of the environment that is trained in."""
    parser.add_argument(
        "--knobs",
        nargs="+",
        default=None,
        metavar="NAME",
        help=f"of {among(KNOBS)} (default: scale, and second_moment where the base optimizer has one)",
    )
    parser.add_argument(
        "--control", default="relative", metavar="NAME", help=f"{among(CONTROLS)} (default: %(default)s)"
    )
    parser.add_argument(
        "--first-update-norm",
        type=float,
        default=FIRST_UPDATE_NORM,
        metavar="NORM",
        help="of the whole model's first update; 0 starts from the base rate (default: %(default)s)",
    )
    parser.add_argument("--lr", nargs="+", type=float, default=[1e-3], metavar="RATE", help="base rate, or range")
    parser.add_argument(
        "--reward", default="tempered_decrease", metavar="NAME", help=f"{among(REWARDS)} (default: %(default)s)"
    )


def _train(options: argparse.Namespace) -> None:
    suite, folder = _check_train(options), _folder(options)
    workers = benchmark.workers_of(options, options.workers)
    training = import_module(AGENTS[_agent_of(folder) if options.resume else options.agent])
    settings = training.read_settings(folder) if options.resume else training.from_options(options)
    if holds_run(folder) and not (options.resume or options.overwrite):
        raise ValueError(f"{folder}: holds a run; go on with --resume {folder}, or begin anew with --overwrite")
    suite = _on(suite, *settings.base)
    required = [name for name in getattr(settings, "knobs", ()) if name not in FilePolicy.optional_knobs]
    for case in suite.cases:
        check_movable(required, case.optimizer, OPTIMIZERS[case.optimizer].hyperparameters)
    check_folder(folder)
    with in_force(workers):  # which the trials of a teacher with hindsight are handed to
        path = training.train(settings, folder, resume=options.resume is not None)
    print(f"\nThe controller is in {path}; it is evaluated on tasks it was never trained on.")
    name, hyper = settings.base
    methods = [*(BASELINES[name] for name in BESIDE), *benchmark.controllers([str(path)])]
    print("\n" + compare.compared(suite, methods, folder / "evaluation", workers))
    print(f"Table, CSV and picture are in {folder}. Use it so:\n{_usage(path, name, hyper)}")


def _check_train(options: argparse.Namespace) -> Suite:
    """Check all that can be known before a training, and return the suite that follows it.

    Raises:
      ValueError: if a name is unknown, a number out of range, or an option of no effect.
    """
    check_numbers(options)
    if options.resume:
        check_unread(options, options.usual, RESUMED, "a training that is resumed has its own settings and")
    named: dict[str, list[str]] = {"agent": [options.agent], "optimizer": options.optimizer or []}
    named |= {"knobs": options.knobs or [], "reward": [options.reward]}
    for registry, name in ((AGENTS, "agent"), (OPTIMIZERS, "optimizer"), (KNOBS, "knobs"), (REWARDS, "reward")):
        _ = [registry[each] for each in named[name]]
    _ = check_control(options.control), [tasks.get(name) for name in options.task]
    if options.agent in READ:
        check_unread(options, options.usual, READ[options.agent], f"the training of {options.agent}")
    if options.from_scratch and options.hindsight is not None:
        raise ValueError("--hindsight: a training from scratch has no teacher; leave it out, or --from-scratch")
    if options.agent == "garo" and options.hindsight == 0:
        raise ValueError("--hindsight: expected positive numbers for garo, whose teacher needs it; received 0")
    return SUITES[options.suite]


def _folder(options: argparse.Namespace) -> Path:
    """Return the run folder of a training."""
    return options.resume or options.out or Path("runs") / f"{options.agent}-{options.seed}"


def _go_on(options: argparse.Namespace) -> str:
    """Say how to go on with a training that was interrupted."""
    folder = _folder(options)
    return f"go on with --resume {folder}" if (folder / SETTINGS).is_file() else "there is nothing to resume yet"


def _on(suite: Suite, optimizer: str, options: Options) -> Suite:
    """Put a base optimizer in the place of AdamW, the suites' usual one."""
    usual = Case.optimizer
    cases = (replace(c, optimizer=optimizer, options=options) if c.optimizer == usual else c for c in suite.cases)
    return replace(suite, cases=tuple(cases))


def _agent_of(folder: Path) -> str:
    """Return the agent of a run folder."""
    return str(read_fields(folder).get("agent"))


def _usage(path: Path, optimizer: str, options: Options) -> str:
    torch_name = OPTIMIZERS[optimizer].torch_name
    name = f"torch.optim.{torch_name}" if torch_name else optimizer
    arguments = "".join(f", {key}={value:g}" for key, value in options)
    return (
        "\n    import agents, optenv, torch\n"
        f"    opt = optenv.ControlledOptimizer({name}(optenv.layer_groups(model){arguments}),\n"
        f'                                     agents.load("{path}"), total_steps=2000)\n'
        "    loss.backward(); opt.step(loss=loss); opt.zero_grad()\n"
    )


def _list(options: argparse.Namespace) -> None:
    if options.name is not None:
        print(describe(options.name))
        return
    sections = {
        "tasks to train on": tasks.names("train"),
        "held-out tasks": tasks.names("held_out"),
        "base optimizers": list(OPTIMIZERS),
        "agents to train": list(AGENTS),
        "suites": {name: suite.why for name, suite in SUITES.items()},
        "knobs": {name: knob.why for name, knob in KNOBS.items()},
        "features": {name: feature.why for name, feature in FEATURES.items()},
        "rewards": {name: reward.why for name, reward in REWARDS.items()},
        "controllers": names(),
    }
    for title, entries in sections.items():
        print(f"{title}:")
        for name in entries:
            why = entries[name] if isinstance(entries, dict) else ""
            print(f"  {name:22} {why}".rstrip())


if __name__ == "__main__":
    sys.exit(main())
