"""The benchmark as a command: controllers by name become methods, options become a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import agents
from agents.registry import PRETRAINED, load, pretrained_names
from optenv.benchmark.cells import digest
from optenv.benchmark.methods import Method, controller_method
from optenv.benchmark.suites import SUITES, VARIANTS, get_suite
from optenv.control.policy import PolicyFile

RULES = {"reduce_on_plateau": "the base optimizer, its rate halved whenever the loss stalls"}


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give `parser` the options of a benchmark."""
    parser.add_argument("--suite", nargs="+", default=["held_out"], metavar="NAME",
                        help=f"of {', '.join(SUITES)}; all: held_out and its variants (default: held_out)")  # fmt: skip
    parser.add_argument("--controllers", nargs="*", default=None, metavar="NAME",
                        help="names or policy files (default: the trained ones, and reduce_on_plateau)")  # fmt: skip
    parser.add_argument("--baselines", nargs="*", default=None, metavar="NAME", help="default: all of the suite's")
    parser.add_argument("--quick", action="store_true", help="fewer steps, seeds and base rates: does it all run?")
    parser.add_argument("--backend", default="loky", help="loky: this machine; ray: a cluster (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=-1, help="cells at a time; -1: one per core (default: %(default)s)")
    parser.add_argument("--ray-address", default=None, metavar="ADDRESS", help="of a running cluster, such as auto")
    parser.add_argument("--device", default="cpu", help="where the inner runs are trained (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"),
                        help="folder; what it holds already is not run again (default: %(default)s)")  # fmt: skip
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> None:
    """Run or resume a benchmark, and print and write its report."""
    from optenv.benchmark.driver import Workers
    from optenv.benchmark.methods import BASELINES, CALIBRATED, REFERENCE, get_baseline
    from optenv.benchmark.report import write_report
    from optenv.benchmark.whole import Benchmark, open_store

    suites = [get_suite(name) for name in suite_names(options.suite)]
    gpus = 1.0 if options.device.startswith("cuda") else 0.0
    workers = Workers(options.backend, options.jobs, options.ray_address, gpus)
    names = [*BASELINES, CALIBRATED] if options.baselines is None else options.baselines
    for name in names:
        if name != CALIBRATED:
            get_baseline(name)
    baselines = tuple(dict.fromkeys([REFERENCE, *names]))  # all is divided by the reference
    methods = controllers(options.controllers)
    with open_store(options.out) as store:
        benchmark = Benchmark(suites=suites, controllers=methods, baselines=baselines, quick=options.quick,
                              device=options.device)  # fmt: skip
        results = benchmark.run(store, workers)
    print("\n" + write_report(results, options.out))
    print(f"Every run, the pictures and benchmark.html are in {options.out}.")


def suite_names(names: Sequence[str]) -> list[str]:
    """Return the names with "all" spelled out, each once."""
    return list(dict.fromkeys(n for name in names for n in (("held_out", *VARIANTS) if name == "all" else (name,))))


def controllers(names: Sequence[str] | None = None) -> list[Method]:
    """Return controllers as methods of a benchmark.

    Args:
      names: names (see `optcontrol list`) or policy files; None for the trained ones that ship and the plain rules.

    Raises:
      FileNotFoundError: if a file is not there.
      ValueError: if a name is unknown, or a file damaged.
    """
    return [_method(name) for name in ([*pretrained_names(), *RULES] if names is None else dict.fromkeys(names))]


def _method(name: str) -> Method:
    controller, file = load(name), PRETRAINED / f"{name}.safetensors" if name in pretrained_names() else Path(name)
    role, why = ("baseline", RULES[name]) if name in RULES else ("controller", "a controller, at any base rate")
    if not file.is_file():
        return controller_method(name, controller, role=role, why=why, mark=_code())
    seconds = float(PolicyFile.read(file).notes.get("seconds", 0.0))
    label = name if name in pretrained_names() else f"{file.parent.name}/{file.stem}"
    return controller_method(label, controller, role=role, why=why, mark=digest(file) + _code(), meta_seconds=seconds)


def _code() -> str:
    """Return a digest of the controllers' own code."""
    return digest(*sorted(Path(agents.__file__).parent.rglob("*.py")))
