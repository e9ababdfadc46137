"""Comparing methods on a case: paired seeds, and a fairly tuned reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from optenv import tasks
from optenv.benchmark.losses import log_loss
from optenv.benchmark.run import Outcome, Schedule, make_trainer, run_controller, run_schedule, warmup_cosine
from optenv.benchmark.suites import Case, Suite
from optenv.control.controller import Controller
from optenv.errors import unknown_name
from optenv.inner.layout import GROUPINGS
from optenv.inner.optimizers import get_rule
from optenv.inner.trainer import BatchedTrainer

Array = np.ndarray
TUNING_RATES = tuple(np.logspace(-4.5, 0.0, 15))
TUNING_SEEDS = (10_001, 10_002)
REFERENCE = "tuned"


@dataclass(frozen=True)
class Row:
    """One finished run.

    Attributes:
      task: the task's name.
      method: the method's.
      rate: base learning rate.
      seed: of the run.
      loss: final validation loss, infinite if it diverged.
      first: validation loss before the first step.
      lower_bound: greatest known lower bound of the task's loss.
    """

    task: str
    method: str
    rate: float
    seed: int
    loss: float
    first: float = 1.0
    lower_bound: float = 0.0


@runtime_checkable
class Fitted(Protocol):
    """A controller in hindsight: it is fitted to a task, base rate and budget before it is run on them."""

    def fit(self, trainer: BatchedTrainer, rate: float, total: int) -> Controller:
        """Return the controller that is run; only the tuning seeds may be used."""


Method = Controller | Schedule | Fitted


def run_method(
    trainer: BatchedTrainer, method: Method, seeds: Array, rates: Array, total: int, *, samples: int = 0
) -> Outcome:
    """Run a controller or a schedule, one run per seed; for `samples` see `run_schedule`."""
    run = run_controller if isinstance(method, Controller) else run_schedule
    return run(trainer, method, seeds, rates, total, samples=samples)  # type: ignore[arg-type]


def tuning_losses(trainer: BatchedTrainer, method: Method, rates: Array, total: int) -> Array:
    """Return the final losses at each of the base rates on the tuning seeds, [R, S]."""
    return _tuning_outcome(trainer, method, rates, total)[0]


def _tuning_outcome(trainer: BatchedTrainer, method: Method, rates: Array, total: int) -> tuple[Array, Array]:
    seeds = np.tile(TUNING_SEEDS, len(rates))
    outcome = run_method(trainer, method, seeds, np.repeat(rates, len(TUNING_SEEDS)), total)
    return outcome.loss.reshape(len(rates), -1), outcome.first.reshape(len(rates), -1)


def tune(trainer: BatchedTrainer, method: Method, total: int) -> float:
    """Return the base rate with the least final loss, geometric mean over the tuning seeds.

    The 15 rates span 4.5 decades; while the best lies at an end, the grid moves that way.
    """
    rates = np.array(TUNING_RATES)
    best = rates[0]
    for _ in range(4):
        losses, first = _tuning_outcome(trainer, method, rates, total)
        place = int(np.argmin(log_loss(losses, first, trainer.task.lower_bound).mean(axis=1)))
        best = rates[place]
        if 0 < place < len(rates) - 1:
            break
        rates = rates * (rates[0] / rates[-2] if place == 0 else rates[-1] / rates[1])
    return float(best)


def compare(case: Case, methods: Mapping[str, Method], suite: Suite) -> list[Row]:
    """Run every method at every base rate of the suite, and the tuned reference, on the same seeds."""
    rows = run_reference(case, suite)
    for name, method in methods.items():
        rows += run_case(case, name, method, suite)
    return rows


def run_case(case: Case, name: str, method: Method, suite: Suite) -> list[Row]:
    """Run a method at every base rate and seed of the suite; equal seeds have equal weights and minibatches."""
    trainer = _trainer(case)
    if not isinstance(method, Fitted):
        return _rows(case, name, trainer, method, suite, suite.rates)
    fitted = [method.fit(trainer, rate, case.total) for rate in suite.rates]
    pairs = zip(suite.rates, fitted, strict=True)
    return [row for rate, controller in pairs for row in _rows(case, name, trainer, controller, suite, (rate,))]


def run_reference(case: Case, suite: Suite) -> list[Row]:
    """Run the base optimizer with warm-up and cosine, its rate tuned for this case, on the suite's seeds."""
    trainer = _trainer(case)
    return _rows(case, REFERENCE, trainer, warmup_cosine, suite, (tune(trainer, warmup_cosine, case.total),))


def check_case(case: Case) -> tasks.Task:
    """Return the task of a case.

    Raises:
      ValueError: if its task, optimizer or grouping is unknown, or the task a whole family.
    """
    task = tasks.get(case.task)
    if not isinstance(task, tasks.Task):
        raise ValueError(f"task: expected a single task, such as '{case.task}:0'; received the family {case.task!r}")
    get_rule(case.optimizer)
    if case.grouping not in GROUPINGS:
        raise unknown_name("groups", case.grouping, GROUPINGS)
    return task


def _trainer(case: Case) -> BatchedTrainer:
    return make_trainer(check_case(case), case.optimizer, case.grouping, **dict[str, Any](case.options))


def _rows(
    case: Case, name: str, trainer: BatchedTrainer, method: Method, suite: Suite, rates: Sequence[float]
) -> list[Row]:
    every_seed, every_rate = np.tile(np.arange(suite.num_seeds), len(rates)), np.repeat(rates, suite.num_seeds)
    outcome = run_method(trainer, method, every_seed, every_rate, case.total)
    runs = zip(every_rate.tolist(), every_seed.tolist(), outcome.loss.tolist(), outcome.first.tolist(), strict=True)
    return [Row(case.task, name, *run, trainer.task.lower_bound) for run in runs]


def ratios(rows: Sequence[Row], method: str, reference: str = REFERENCE) -> dict[str, dict[float, float]]:
    """Return final loss over the reference's on the same seed, geometric mean over seeds, by task and rate.

    Args:
      rows: finished runs.
      method: whose losses are judged.
      reference: the method they are divided by: the tuned one, or another run at the same base rates.

    Returns:
      Infinite where a run of the method diverged, NaN where only the reference's did.
    """
    # The tuned reference has a single rate, its own, and is paired by task and seed alone.
    at_rate = reference != REFERENCE
    losses = {(row.task, row.seed, row.rate * at_rate): row.loss for row in rows if row.method == reference}
    logs: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        if row.method == method:
            log = _log_ratio(row, losses[row.task, row.seed, row.rate * at_rate])
            logs.setdefault(row.task, {}).setdefault(row.rate, []).append(log)
    return {task: {rate: float(np.exp(np.mean(v))) for rate, v in rates.items()} for task, rates in logs.items()}


def _log_ratio(row: Row, reference: float) -> float:
    if not np.isfinite(row.loss) or not np.isfinite(reference):
        return np.inf if not np.isfinite(row.loss) else np.nan
    own, other = (log_loss(loss, row.first, row.lower_bound) for loss in (row.loss, reference))
    return float(own - other)


def geometric_mean(values: Array) -> float:
    """Return exp(mean(log(values)))."""
    return float(np.exp(np.mean(np.log(values))))
