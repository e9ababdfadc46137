"""One AdamW for everything: the learning rate that is best on the train split, where the controllers learned too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from optenv import tasks
from optenv.benchmark.cells import Cell, by_work
from optenv.benchmark.compare import TUNING_RATES, TUNING_SEEDS
from optenv.benchmark.losses import log_loss
from optenv.benchmark.methods import BASELINES
from optenv.benchmark.suites import Case

MEMBERS, STEPS = 4, 400
QUICK_MEMBERS, QUICK_STEPS = 1, 80


def calibration_cells(*, quick: bool = False, device: str = "cpu") -> list[Cell]:
    """List the cells that calibrate: members of every training family, warm-up and cosine at 15 log-uniform rates."""
    members, steps = (QUICK_MEMBERS, QUICK_STEPS) if quick else (MEMBERS, STEPS)
    names = [f"{family}:{index}" for family in tasks.names("train") for index in range(members)]
    method = replace(BASELINES["cosine"], rates=TUNING_RATES)
    return by_work(Cell(Case(name, steps), method, TUNING_RATES, TUNING_SEEDS, device) for name in names)


def best_rate(results: Sequence[dict[str, Any]]) -> float:
    """Return the one rate that is best in the geometric mean over tasks and seeds.

    Args:
      results: of the calibration's cells, all at the same rates.
    """
    logs = [log_loss(r["loss"], r["first"], r["bound"]).mean(axis=1) for r in results]  # [R] each
    return float(results[0]["rates"][int(np.argmin(np.mean(logs, axis=0)))])
