"""Comparing methods on a case: paired seeds, and a fairly tuned reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optenv import tasks
from optenv.benchmark.run import Outcome, Schedule, make_trainer, run_controller, run_schedule, warmup_cosine
from optenv.benchmark.suites import Case, Suite
from optenv.control.controller import Controller
from optenv.inner.trainer import BatchedTrainer

Array = np.ndarray
Method = Controller | Schedule
TUNING_RATES = tuple(np.logspace(-4.5, 0.0, 15))
TUNING_SEEDS = (10_001, 10_002)
REFERENCE = "tuned"


@dataclass(frozen=True)
class Row:
    """One finished run: final validation loss, infinite if it diverged."""

    task: str
    method: str
    rate: float
    seed: int
    loss: float


def run_method(trainer: BatchedTrainer, method: Method, seeds: Array, rates: Array, total: int) -> Outcome:
    """Run a controller or a schedule, one run per seed."""
    run = run_controller if isinstance(method, Controller) else run_schedule
    return run(trainer, method, seeds, rates, total)  # type: ignore[arg-type]


def tune(trainer: BatchedTrainer, method: Method, total: int) -> float:
    """Return the base rate with the least final loss, geometric mean over the tuning seeds.

    The 15 rates span 4.5 decades; while the best lies at an end, the grid moves that way.
    """
    rates = np.array(TUNING_RATES)
    best = rates[0]
    for _ in range(4):
        seeds = np.tile(TUNING_SEEDS, len(rates))
        loss = run_method(trainer, method, seeds, np.repeat(rates, len(TUNING_SEEDS)), total).loss
        score = np.log(np.maximum(loss, 1e-30)).reshape(len(rates), -1).mean(axis=1)
        place = int(np.argmin(score))
        best = rates[place]
        if 0 < place < len(rates) - 1:
            break
        rates = rates * (rates[0] / rates[-2] if place == 0 else rates[-1] / rates[1])
    return float(best)


def compare(case: Case, methods: Mapping[str, Method], suite: Suite) -> list[Row]:
    """Run every method at every base rate of the suite, and the tuned reference, on the same seeds."""
    task = tasks.get(case.task)
    assert isinstance(task, tasks.Task)
    trainer = make_trainer(task, case.optimizer, case.grouping)
    seeds = np.arange(suite.num_seeds)
    best = tune(trainer, warmup_cosine, case.total)
    rows = _rows(case, REFERENCE, trainer, warmup_cosine, seeds, (best,))
    for name, method in methods.items():
        rows += _rows(case, name, trainer, method, seeds, suite.rates)
    return rows


def _rows(
    case: Case, name: str, trainer: BatchedTrainer, method: Method, seeds: Array, rates: tuple[float, ...]
) -> list[Row]:
    every_seed, every_rate = np.tile(seeds, len(rates)), np.repeat(rates, len(seeds))
    loss = run_method(trainer, method, every_seed, every_rate, case.total).loss
    return [
        Row(case.task, name, float(r), int(s), float(x)) for r, s, x in zip(every_rate, every_seed, loss, strict=True)
    ]


def ratios(rows: list[Row], method: str) -> dict[str, dict[float, float]]:
    """Return final loss over the tuned reference's on the same seed, geometric mean over seeds, by task and rate."""
    reference = {(row.task, row.seed): row.loss for row in rows if row.method == REFERENCE}
    logs: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        if row.method == method:
            log = np.log(max(row.loss, 1e-30) / max(reference[row.task, row.seed], 1e-30))
            logs.setdefault(row.task, {}).setdefault(row.rate, []).append(log)
    return {task: {rate: float(np.exp(np.mean(v))) for rate, v in rates.items()} for task, rates in logs.items()}


def geometric_mean(values: Array) -> float:
    """Return exp(mean(log(values)))."""
    return float(np.exp(np.mean(np.log(values))))
