"""A whole benchmark: suites and methods to finished cells and a report, resumed where it stopped."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from optenv.benchmark.calibration import best_rate, calibration_cells
from optenv.benchmark.cells import by_work, code_mark, plan
from optenv.benchmark.costs import CostCell
from optenv.benchmark.driver import Workers, run_cells
from optenv.benchmark.methods import BASELINES, CALIBRATED, Method, calibrated
from optenv.benchmark.results import Results, collect
from optenv.benchmark.store import Store
from optenv.benchmark.suites import Suite, shortened

STORE = "cells.sqlite"


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
    controllers: Sequence[Method]
    baselines: Sequence[str] = (*BASELINES, CALIBRATED)
    quick: bool = False
    device: str = "cpu"

    def run(self, store: Store, workers: Workers, *, progress: bool = True) -> list[Results]:
        """Run what the store does not hold yet, and return the results of every suite."""
        started = time.monotonic()
        suites = [shortened(suite) if self.quick else suite for suite in self.suites]
        calibration = calibration_cells(quick=self.quick, device=self.device) if self._calibrates(suites) else []
        cells = [cell for suite in suites for cell in plan(suite, self._methods(suite, None), device=self.device)]
        run_cells(by_work([*calibration, *cells]), store, workers, progress=progress)
        rate = best_rate([store.get(cell) or {} for cell in calibration]) if calibration else None
        methods = [self._methods(suite, rate) for suite in suites]
        pairs = list(zip(suites, methods, strict=True))
        cells = [cell for suite, own in pairs for cell in plan(suite, own, device=self.device)]
        run_cells(cells, store, workers, progress=progress)
        steppers = {m.name: m for own in methods for m in own if m.build is not None and not m.missing}
        # One after the other: they are timed.
        costs = [CostCell(method) for method in steppers.values()]
        run_cells(costs, store, Workers(jobs=1), progress=progress, title="step costs")
        facts = {"device": self.device, "machine": platform.machine(), "Python": platform.python_version(),
                 "torch": torch.__version__, "code": code_mark(),
                 "this call": f"{time.monotonic() - started:.0f} s"}  # fmt: skip
        return [replace(collect(suite, own, store, device=self.device), facts=facts) for suite, own in pairs]

    def _calibrates(self, suites: Sequence[Suite]) -> bool:
        return any(CALIBRATED in self._names(suite) for suite in suites)

    def _names(self, suite: Suite) -> list[str]:
        return [name for name in self.baselines if suite.methods is None or name in suite.methods]

    def _methods(self, suite: Suite, rate: float | None) -> list[Method]:
        """Return a suite's methods; without a rate, what does not depend on the calibration."""
        names = [name for name in self._names(suite) if name != CALIBRATED]
        late = [calibrated(rate)] if rate is not None and CALIBRATED in self._names(suite) else []
        # What is no controller but runs as one is a baseline of the suites that have them all.
        own = [method for method in self.controllers if method.role == "controller" or suite.methods is None]
        return [*(BASELINES[name] for name in names), *late, *own]


def open_store(folder: Path) -> Store:
    """Open the store of a benchmark's folder, or make it."""
    return Store(folder / STORE)
