"""The benchmark as a command: controllers by name become methods, options become a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import agents
from agents.arguments import among, check_device, check_folder, check_numbers
from agents.policies.loading import pretrained, pretrained_names
from agents.registry import load, names
from optenv.benchmark.cells import digest
from optenv.benchmark.driver import BACKENDS, Workers
from optenv.benchmark.methods import BASELINES, CALIBRATED, REFERENCE, BenchmarkMethod, controller_method
from optenv.benchmark.report import write_report
from optenv.benchmark.suites import SUITES, VARIANTS, Case
from optenv.benchmark.whole import STORE, Benchmark, open_store
from optenv.control.controller import check_base
from optenv.control.policy_file import PolicyFile
from optenv.inner.optimizers import OPTIMIZERS
from optenv.registry import Registry

RULES = {"reduce_on_plateau": "the base optimizer, its rate halved whenever the loss stalls"}


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give `parser` the options of a benchmark."""
    parser.add_argument(
        "--suite",
        nargs="+",
        default=["held_out"],
        metavar="NAME",
        help=f"of {among(SUITES)}; all: held_out and its variants (default: held_out)",
    )
    parser.add_argument(
        "--controllers",
        nargs="*",
        default=None,
        metavar="NAME",
        help=f"policy files, or names of {among(names())} (default: those trained, auto and reduce_on_plateau)",
    )
    parser.add_argument(
        "--baselines",
        nargs="*",
        default=None,
        metavar="NAME",
        help=f"of {among([*BASELINES, CALIBRATED])} (default: all of the suite's)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer steps, seeds and base rates: does it all run?")
    add_backend(parser)
    parser.add_argument("--jobs", type=int, default=-1, help="cells at a time; -1: one per core (default: %(default)s)")
    parser.add_argument(
        "--device", default="cpu", help="cpu, cuda or cuda:N: trains the inner runs (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/benchmark"),
        help="folder; what it holds already is not run again (default: %(default)s)",
    )
    parser.set_defaults(run=run, go_on=go_on)
    return parser


def run(options: argparse.Namespace) -> None:
    """Run or resume a benchmark, and print and write its report."""
    suites = [SUITES[name] for name in suite_names(options.suite)]
    workers = _workers(options)
    wanted = [*BASELINES, CALIBRATED] if options.baselines is None else options.baselines
    known = Registry("baseline", {**BASELINES, CALIBRATED: None}.items())
    _ = [known[name] for name in wanted]  # a wrong name is to be known before anything is run
    baselines = tuple(dict.fromkeys([REFERENCE, *wanted]))  # all is divided by the reference
    methods = controllers(options.controllers)
    check_bases(options.controllers, [case for suite in suites for case in suite.cases])
    check_folder(options.out)
    with open_store(options.out) as store:
        benchmark = Benchmark(
            suites=suites, controllers=methods, baselines=baselines, quick=options.quick, device=options.device
        )
        results = benchmark.run(store, workers)
    print("\n" + write_report(results, options.out))
    print(f"Every run, the pictures and benchmark.html are in {options.out}.")


def go_on(options: argparse.Namespace) -> str:
    """Say how to go on with a benchmark or a comparison that was interrupted."""
    begun = (options.out / STORE).is_file()
    return "what is finished is kept, and the same command goes on from there" if begun else ""


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options that say on which machines work is done."""
    parser.add_argument(
        "--backend", default="loky", metavar="NAME", help="loky: this machine; ray: a cluster (default: %(default)s)"
    )
    parser.add_argument("--ray-address", default=None, metavar="ADDRESS", help="of a running cluster, such as auto")


def workers_of(options: argparse.Namespace, jobs: int, gpus: float = 0.0) -> Workers:
    """Return where work is done, `jobs` pieces at a time.

    Raises:
      ValueError: if that does not exist.
    """
    _ = BACKENDS[options.backend]
    if options.ray_address is not None and options.backend != "ray":
        raise ValueError("--ray-address: expected with --backend ray alone; received with " + options.backend)
    return Workers(options.backend, jobs, options.ray_address, gpus)


def _workers(options: argparse.Namespace) -> Workers:
    check_numbers(options)
    gpus = 1.0 if check_device(options.device, here=options.backend != "ray").startswith("cuda") else 0.0
    return workers_of(options, options.jobs, gpus)


def suite_names(wanted: Sequence[str]) -> list[str]:
    """Return the names with "all" spelled out, each once.

    Raises:
      ValueError: if one is unknown.
    """
    known = Registry("suite", {**{name: (name,) for name in SUITES}, "all": ("held_out", *VARIANTS)}.items())
    return list(dict.fromkeys(name for each in wanted for name in known[each]))


def controllers(wanted: Sequence[str] | None = None) -> list[BenchmarkMethod]:
    """Return controllers as methods of a benchmark.

    Args:
      wanted: names (see `optcontrol list`) or policy files; None for the trained that ship, auto and the plain rules.

    Raises:
      FileNotFoundError: if a file is not there.
      ValueError: if a name is unknown, or a file damaged.
    """
    return [_method(name) for name in _names(wanted)]


def check_bases(wanted: Sequence[str] | None, cases: Sequence[Case]) -> None:
    """Check that the base optimizer of every case has something for the controllers' knobs to move.

    Args:
      wanted: as for `controllers`.
      cases: what they are to steer.

    Raises:
      ValueError: if one has not.
    """
    for controller in map(load, _names(wanted)):
        for case in cases:
            check_base(controller, case.optimizer, OPTIMIZERS[case.optimizer].hyperparameters)


def _names(wanted: Sequence[str] | None) -> list[str]:
    return [*pretrained_names(), "auto", *RULES] if wanted is None else list(dict.fromkeys(wanted))


def _method(name: str) -> BenchmarkMethod:
    controller, file = load(name), pretrained(name)
    role, why = ("baseline", RULES[name]) if name in RULES else ("controller", "a controller, at any base rate")
    if not file.is_file():
        return controller_method(name, controller, role=role, why=why, mark=code_mark(name))
    seconds = PolicyFile.read(file).notes.get("seconds", 0.0)
    if not isinstance(seconds, (int, float)) or not 0.0 <= seconds < 1e10:
        raise ValueError(f"{file}: expected the seconds of its training in its notes; received {seconds!r}")
    label = name if name in pretrained_names() else f"{file.parent.name}/{file.stem}"
    return controller_method(label, controller, role=role, why=why, mark=code_mark(name), meta_seconds=seconds)


def code_mark(name: str | Path) -> str:
    """Return a digest of the controllers' own code and of a controller's file, where it has one."""
    file, code = pretrained(name), sorted(Path(agents.__file__).parent.rglob("*.py"))
    return (digest(file) if file.is_file() else "") + digest(*code)
