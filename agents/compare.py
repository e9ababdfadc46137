"""`optcontrol compare`: controllers side by side on a suite, or on tasks of one's choice."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agents import benchmark
from agents.arguments import among, check_folder, check_numbers
from agents.registry import names
from optenv.benchmark.driver import Workers
from optenv.benchmark.methods import BASELINES, REFERENCE, BenchmarkMethod
from optenv.benchmark.report import write_comparison
from optenv.benchmark.suites import SUITES, Case, Suite, check_case
from optenv.benchmark.whole import open_store, run_suite
from optenv.inner.layout import GROUPINGS
from optenv.inner.optimizers import OPTIMIZERS
from optenv.registry import Registry


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give `parser` the options of a comparison; what is left out is the suite's."""
    parser.add_argument(
        "--controllers", nargs="+", required=True, metavar="NAME", help=f"policy files, or names of {among(names())}"
    )
    parser.add_argument(
        "--suite",
        default="held_out",
        metavar="NAME",
        help=f"tasks, budgets, base rates, seeds: {among(SUITES)} (default: %(default)s)",
    )
    parser.add_argument(
        "--task", nargs="+", default=[], metavar="NAME", help="in place of the suite's; see `optcontrol list`"
    )
    parser.add_argument("--steps", type=int, default=None, help="budget; default: the suite's for this task, or 200")
    parser.add_argument("--lr", nargs="+", type=float, default=[], metavar="RATE", help="base rates")
    parser.add_argument("--seeds", type=int, default=None, help="number of paired seeds")
    parser.add_argument(
        "--optimizer", default="adamw", metavar="NAME", help=f"{among(OPTIMIZERS)} (default: %(default)s)"
    )
    parser.add_argument("--groups", default="layer", metavar="NAME", help=f"{among(GROUPINGS)} (default: %(default)s)")
    parser.add_argument(
        "--reference",
        default="tuned",
        metavar="NAME",
        help="what losses are divided by: tuned, or a controller (default: %(default)s)",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/comparison"), help="folder (default: %(default)s)")
    parser.set_defaults(run=_run, go_on=benchmark.go_on)
    return parser


def _run(options: argparse.Namespace) -> None:
    check_numbers(options)
    suite, wanted = _suite(options), list(dict.fromkeys(options.controllers))
    methods = dict(zip(wanted, benchmark.controllers(wanted), strict=True))
    if options.reference == REFERENCE:
        methods = {REFERENCE: BASELINES[REFERENCE], **methods}
    reference = Registry("reference", {REFERENCE: BASELINES[REFERENCE], **methods}.items())[options.reference]
    benchmark.check_bases(wanted, suite.cases)
    check_folder(options.out)
    path = options.out / "comparison"
    print("\n" + compared(suite, list(methods.values()), path, Workers(jobs=options.workers), reference.name))
    print(f"Table, CSV and picture are in {options.out}.")


def _suite(options: argparse.Namespace) -> Suite:
    """Return the suite asked for, with what the options put in its place.

    Raises:
      ValueError: if a name is unknown.
    """
    suite = SUITES[options.suite]
    budgets = {case.task: case.total for case in suite.cases}
    cases = tuple(
        Case(task, options.steps or budgets.get(task, 200), options.optimizer, options.groups)
        for task in dict.fromkeys(options.task or budgets)
    )
    for case in cases:
        check_case(case)
    rates = tuple(dict.fromkeys(options.lr)) or suite.rates
    return replace(suite, cases=cases, rates=rates, num_seeds=options.seeds or suite.num_seeds)


def compared(
    suite: Suite, methods: Sequence[BenchmarkMethod], path: Path, workers: Workers, reference: str = REFERENCE
) -> str:
    """Run methods on a suite, write what came of it beside `path`, and return the report."""
    with open_store(path.parent) as store:
        results = run_suite(suite, methods, store, workers, reference=reference)
    return write_comparison(results, path)
