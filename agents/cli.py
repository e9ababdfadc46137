"""The command line: `optcontrol train`, `compare`, `benchmark`, `plot`, `playground` and `list`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from agents import benchmark
from agents.playground import launch
from agents.run_folder import read_fields
from optenv import tasks
from optenv.benchmark.compare import REFERENCE, check_case
from optenv.benchmark.suites import Case, Suite, get_suite
from optenv.control.features import FEATURES
from optenv.control.knobs import KNOBS
from optenv.errors import unknown_name
from optenv.inner.optimizers import OPTIMIZERS
from optenv.rewards import REWARDS

# Who trains an agent, where it is not reinforcement learning; a module with train, read_settings and from_options.
TRAININGS = {"garo": "agents.garo.training", "opt2vec": "agents.opt2vec.training"}
REINFORCEMENT = "agents.training"
Options = tuple[tuple[str, float], ...]
_TORCH_NAMES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adagrad": "Adagrad"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; a user's mistake becomes one line and exit status 2."""
    parser = argparse.ArgumentParser("optcontrol", description="Controllers for optimizers.")
    commands = parser.add_subparsers(required=True, metavar="command")
    add_train(commands.add_parser("train", help="train a controller and evaluate it"))
    add_compare(commands.add_parser("compare", help="run controllers side by side"))
    benchmark.add_options(commands.add_parser("benchmark", help="judge controllers against tuned and untuned methods"))
    add_plot(commands.add_parser("plot", help="draw a controlled optimizer's trace, or a training's curves"))
    launch.add_options(commands.add_parser("playground", help="look at optimizers and controllers in a browser"))
    listing = commands.add_parser("list", help="list tasks, optimizers, knobs, features, rewards and controllers")
    listing.set_defaults(run=_list)
    return run(parser, arguments)


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> int:
    """Parse and run a command."""
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, FileNotFoundError, ImportError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = "; go on with --resume" if "resume" in options else ""
        print(f"\n{parser.prog}: interrupted{hint}", file=sys.stderr)
        return 130
    return 0


def add_train(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give `parser` the options of a training; the defaults train PPO on the synthetic train split."""
    known = ", ".join(("ppo", "recurrent_ppo", "sac", "td3", *TRAININGS))
    parser.add_argument("--agent", default="ppo", help=f"{known} (default: %(default)s)")
    parser.add_argument("--task", nargs="*", default=[], metavar="NAME", help="default: the train split")
    parser.add_argument("--optimizer", nargs="+", default=None, metavar="NAME",
                        help="base optimizers; a repeated one is drawn more often (default: the agent's)")  # fmt: skip
    parser.add_argument("--knobs", nargs="*", default=["scale"], metavar="NAME", help="default: scale")
    parser.add_argument("--control", default="relative", help="absolute or relative (default: %(default)s)")
    parser.add_argument("--first-update", type=float, default=0.01, metavar="RATIO",
                        help="of the weights' norm; 0 starts from the base rate (default: %(default)s)")  # fmt: skip
    parser.add_argument("--lr", nargs="*", type=float, default=[1e-3], help="base rate, or range")
    parser.add_argument("--reward", default="tempered_decrease", help="see `optcontrol list` (default: %(default)s)")
    parser.add_argument("--rollouts", type=int, default=None,
                        help="length of the training; of garo generations, of opt2vec meta-steps")  # fmt: skip
    parser.add_argument("--hindsight", type=int, default=None, metavar="TASKS",
                        help="tasks in each round of a teacher with hindsight (default: ppo 0, garo 280)")  # fmt: skip
    parser.add_argument("--generations", type=int, default=None,
                        help="of evolution, which goes on where reinforcement learning ends (default: 0)")  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything (default: %(default)s)")
    parser.add_argument(
        "--suite", default="held_out", help="what the controller is evaluated on (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=None, help="run folder (default: runs/AGENT-SEED)")
    parser.add_argument(
        "--resume", type=Path, default=None, metavar="RUN", help="go on from this run folder's checkpoint"
    )
    parser.set_defaults(run=_train)
    return parser


def _train(options: argparse.Namespace) -> None:
    from agents.registry import load
    from agents.report import evaluate, write_report

    get_suite(options.suite)  # a wrong name is to be known before the training
    folder = options.resume or options.out or Path("runs") / f"{options.agent}-{options.seed}"
    training = _training(_agent_of(folder) if options.resume else options.agent)
    settings = training.read_settings(folder) if options.resume else training.from_options(options)
    path = training.train(settings, folder, resume=options.resume is not None)
    print(f"\nThe controller is in {path}; it is evaluated on tasks it was never trained on.")
    name, hyper = settings.base
    suite = _on(get_suite(options.suite), name, hyper)
    rows = evaluate(load(path), suite, workers=max(1, options.workers))
    print("\n" + write_report(rows, folder, optimizer=_TORCH_NAMES.get(name, name)))
    print(f"Table, CSV and picture are in {folder}. Use it so:\n{_usage(path, name, hyper)}")


def _on(suite: Suite, optimizer: str, options: Options) -> Suite:
    """Put a base optimizer in the place of AdamW, the suites' usual one."""
    usual = Case.optimizer
    cases = (replace(c, optimizer=optimizer, options=options) if c.optimizer == usual else c for c in suite.cases)
    return replace(suite, cases=tuple(cases))


def add_compare(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give `parser` the options of a comparison; what is left out is the suite's."""
    parser.add_argument("--controllers", nargs="+", required=True, metavar="NAME",
                        help="names (see `optcontrol list`) or policy files")  # fmt: skip
    parser.add_argument("--suite", default="held_out", help="tasks, budgets, base rates, seeds (default: %(default)s)")
    parser.add_argument("--task", nargs="*", default=[], metavar="NAME", help="in place of the suite's")
    parser.add_argument("--steps", type=int, default=None, help="budget; default: the suite's for this task, or 200")
    parser.add_argument("--lr", nargs="*", type=float, default=[], metavar="RATE", help="base rates")
    parser.add_argument("--seeds", type=int, default=None, help="number of paired seeds")
    parser.add_argument("--optimizer", default="adamw", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--groups", default="layer", help="layer or model (default: %(default)s)")
    parser.add_argument("--reference", default="tuned", metavar="NAME",
                        help="what losses are divided by: tuned, or a controller (default: %(default)s)")  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/comparison"), help="folder (default: %(default)s)")
    parser.set_defaults(run=_compare)
    return parser


def _compare(options: argparse.Namespace) -> None:
    from agents.registry import load
    from agents.report import run_suite, write_comparison

    suite = _suite(options)
    controllers = {name: load(name) for name in options.controllers}
    if options.reference not in (REFERENCE, *controllers):
        raise unknown_name("reference", options.reference, (REFERENCE, *controllers))
    rows = run_suite(controllers, suite, tuned=options.reference == REFERENCE, workers=max(1, options.workers))
    print("\n" + write_comparison(rows, options.out, options.reference))
    print(f"Table, CSV and picture are in {options.out}.")


def add_plot(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give `parser` what is to be drawn."""
    parser.add_argument("recorded", type=Path, metavar="RUN", help="a trace (.jsonl), or the folder of a training")
    parser.add_argument("--out", type=Path, default=None, metavar="PNG", help="default: beside RUN's file, or in it")
    parser.set_defaults(run=_plot)
    return parser


def _plot(options: argparse.Namespace) -> None:
    from agents.plot import plot

    print(f"The picture is in {plot(options.recorded, options.out)}.")


def _suite(options: argparse.Namespace) -> Suite:
    """Return the suite asked for, with what the options put in its place.

    Raises:
      ValueError: if a number is not positive, or a name unknown.
    """
    suite = get_suite(options.suite)
    for name, numbers in {"--steps": [options.steps], "--seeds": [options.seeds], "--lr": options.lr}.items():
        if any(number is not None and not 0 < number < float("inf") for number in numbers):
            raise ValueError(f"{name}: expected positive numbers; received {numbers}")
    budgets = {case.task: case.total for case in suite.cases}
    cases = tuple(
        Case(task, options.steps or budgets.get(task, 200), options.optimizer, options.groups)
        for task in dict.fromkeys(options.task or budgets)
    )
    for case in cases:
        check_case(case)
    rates = tuple(dict.fromkeys(options.lr)) or suite.rates
    return replace(suite, cases=cases, rates=rates, num_seeds=options.seeds or suite.num_seeds)


def _training(agent: str) -> Any:
    return import_module(TRAININGS.get(agent, REINFORCEMENT))


def _agent_of(folder: Path) -> str:
    """Return the agent of a run folder."""
    return str(read_fields(folder).get("agent"))


def _usage(path: Path, optimizer: str, options: Options) -> str:
    name = f"torch.optim.{_TORCH_NAMES[optimizer]}" if optimizer in _TORCH_NAMES else optimizer
    arguments = "".join(f", {key}={value:g}" for key, value in options)
    return (
        "\n    import agents, optenv, torch\n"
        f"    opt = optenv.ControlledOptimizer({name}(optenv.layer_groups(model){arguments}),\n"
        f'                                     agents.load("{path}"), total_steps=2000)\n'
        "    loss.backward(); opt.step(loss=loss); opt.zero_grad()\n"
    )


def _list(options: argparse.Namespace) -> None:
    from agents.registry import names

    sections = {
        "tasks to train on": tasks.names("train"),
        "held-out tasks": tasks.names("held_out"),
        "base optimizers": list(OPTIMIZERS),
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
