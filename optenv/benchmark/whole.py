"""A whole benchmark: suites and methods to finished cells and a report, resumed where it stopped."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from optenv import tasks
from optenv.benchmark.cells import Cell, by_work, code_mark, plan
from optenv.benchmark.costs import CostCell
from optenv.benchmark.driver import Workers, run_cells
from optenv.benchmark.losses import log_loss
from optenv.benchmark.methods import BASELINES, CALIBRATED, REFERENCE, BenchmarkMethod, calibrated
from optenv.benchmark.results import Results, collect, delivered
from optenv.benchmark.scores import SCORES, Score
from optenv.benchmark.store import Store
from optenv.benchmark.suites import Case, Suite, shortened
from optenv.benchmark.tuning import TUNING_RATES, TUNING_SEEDS

STORE = "cells.sqlite"
# Of each training family, on which one rate for everything is calibrated, where the controllers learned too.
MEMBERS, STEPS = 4, 400
QUICK_MEMBERS, QUICK_STEPS = 1, 80


def run_suite(
    suite: Suite,
    methods: Sequence[BenchmarkMethod],
    store: Store,
    workers: Workers,
    *,
    reference: str = REFERENCE,
    device: str = "cpu",
    progress: bool = True,
) -> list[Results]:
    """Run what the store does not hold yet of a suite, and return its results by every score.

    Args:
      suite: cases, base rates and seeds.
      methods: what is compared; the reference is one of them.
      store: holds the finished cells.
      workers: where the others are run.
      reference: name of the method whose losses all are divided by.
      device: where runs are trained.
      progress: whether to show a progress bar.
    """
    run_cells(plan(suite, methods, device=device), store, workers, progress=progress)
    return [collect(suite, methods, store, score, reference=reference, device=device) for score in SCORES.values()]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What is to be run.

    Attributes:
      suites: what methods are judged on.
      controllers: the controllers that are judged, as methods.
      baselines: names of `BASELINES`, and "calibrated"; a suite runs those of them that are its own.
      quick: run every suite in its short form.
      device: where runs are trained.
    """

    suites: Sequence[Suite]
    controllers: Sequence[BenchmarkMethod]
    baselines: Sequence[str] = (*BASELINES, CALIBRATED)
    quick: bool = False
    device: str = "cpu"

    def run(self, store: Store, workers: Workers, *, progress: bool = True) -> list[Results]:
        """Run what the store does not hold yet, and return the results of every suite by every score."""
        started = time.monotonic()
        suites = [shortened(suite) if self.quick else suite for suite in self.suites]
        wanted = any(CALIBRATED in self._names(suite) for suite in suites)
        rates = self._calibrate(store, workers, progress) if wanted else []
        pairs = [(suite, self._methods(suite, rates)) for suite in suites]
        cells = [cell for suite, own in pairs for cell in plan(suite, own, device=self.device)]
        run_cells(by_work(cells), store, workers, progress=progress)
        steppers = {m.name: m for _, own in pairs for m in own if m.build is not None and not m.missing}
        # One after the other: they are timed.
        costs = [CostCell(method) for method in steppers.values()]
        run_cells(costs, store, Workers(jobs=1), progress=progress, title="step costs")
        facts = {
            "device": self.device,
            "machine": platform.machine(),
            "Python": platform.python_version(),
            "torch": torch.__version__,
            "code": code_mark(),
            "this call": f"{time.monotonic() - started:.0f} s",
        }
        return [
            replace(collect(suite, own, store, score, device=self.device), facts=facts)
            for suite, own in pairs
            for score in SCORES.values()
        ]

    def _calibrate(self, store: Store, workers: Workers, progress: bool) -> list[float]:
        cells = calibration_cells(quick=self.quick, device=self.device)
        run_cells(cells, store, workers, progress=progress, title="calibration")
        results = [store.get(cell) or {} for cell in cells]
        return [best_rate(results, score) for score in SCORES.values()]

    def _names(self, suite: Suite) -> list[str]:
        return [name for name in self.baselines if suite.methods is None or name in suite.methods]

    def _methods(self, suite: Suite, rates: Sequence[float]) -> list[BenchmarkMethod]:
        """Return a suite's methods, given the calibrated rates."""
        names = self._names(suite)
        # What is no controller but runs as one is a baseline of the suites that have them all.
        own = [method for method in self.controllers if method.role == "controller" or suite.methods is None]
        return [*(calibrated(rates) if name == CALIBRATED else BASELINES[name] for name in names), *own]


def calibration_cells(*, quick: bool = False, device: str = "cpu") -> list[Cell]:
    """List the cells that calibrate: members of every synthetic family, warm-up and cosine at 15 log-uniform rates."""
    members, steps = (QUICK_MEMBERS, QUICK_STEPS) if quick else (MEMBERS, STEPS)
    names = [f"{family}:{index}" for family in tasks.synthetic.NAMES for index in range(members)]
    method = replace(BASELINES["warmup_cosine"], rates=TUNING_RATES)
    return by_work(Cell(Case(name, steps), method, TUNING_RATES, TUNING_SEEDS, device) for name in names)


def best_rate(results: Sequence[dict[str, Any]], score: Score) -> float:
    """Return the one rate that is best by a score in the geometric mean over tasks and seeds.

    Args:
      results: of the calibration's cells, all at the same rates.
      score: by whose validation loss.
    """
    logs = [log_loss(delivered(r, score), r["first"], r["bound"]).mean(axis=1) for r in results]  # [R] each
    return float(results[0]["rates"][int(np.argmin(np.mean(logs, axis=0)))])


def open_store(folder: Path) -> Store:
    """Open the store of a benchmark's folder, or make it."""
    return Store(folder / STORE)
