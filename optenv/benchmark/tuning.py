"""Tuning: the base rates that are best for a case, found on seeds that nothing is judged on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Protocol, runtime_checkable

import numpy as np

from optenv.benchmark.losses import log_loss
from optenv.benchmark.run import SAMPLES, Outcome, Schedule, run_controller, run_schedule
from optenv.benchmark.scores import SCORES
from optenv.control.controller import Controller
from optenv.inner.trainer import BatchedTrainer

Array = np.ndarray
TUNING_RATES = tuple(np.logspace(-4.5, 0.0, 15))
TUNING_SEEDS = (10_001, 10_002)


@runtime_checkable
class Fitted(Protocol):
    """A controller in hindsight: it is fitted to a task, base rate and budget before it is run on them."""

    def fit(self, trainer: BatchedTrainer, rate: float, total: int) -> Controller:
        """Return the controller that is run; only the tuning seeds may be used."""


Runnable = Controller | Schedule


def run_method(
    trainer: BatchedTrainer,
    method: Runnable,
    seeds: Array,
    rates: Array,
    total: int,
    *,
    samples: int = 0,
    test: bool = False,
) -> Outcome:
    """Run a controller or a schedule, one run per seed; for `samples` and `test` see `run_schedule`."""
    run = run_controller if isinstance(method, Controller) else run_schedule
    return run(trainer, method, seeds, rates, total, samples=samples, test=test)  # type: ignore[arg-type]


def tuning_losses(trainer: BatchedTrainer, method: Runnable, rates: Array, total: int) -> Array:
    """Return the final losses at each of the base rates on the tuning seeds, [R, S]."""
    return _tuning_outcome(trainer, method, rates, total).loss.reshape(len(rates), -1)


def _tuning_outcome(trainer: BatchedTrainer, method: Runnable, rates: Array, total: int, samples: int = 0) -> Outcome:
    seeds = np.tile(TUNING_SEEDS, len(rates))
    return run_method(trainer, method, seeds, np.repeat(rates, len(TUNING_SEEDS)), total, samples=samples)


def tune(trainer: BatchedTrainer, method: Runnable, total: int) -> dict[str, float]:
    """Return the best base rate by every score, by its name.

    It has the least validation loss of the delivered weights, geometric mean over the tuning seeds.
    """
    bound = trainer.task.lower_bound

    @cache
    def logs(rates: tuple[float, ...]) -> dict[str, Array]:
        outcome = _tuning_outcome(trainer, method, np.array(rates), total, SAMPLES)
        losses = {name: log_loss(outcome.validation(score), outcome.first, bound) for name, score in SCORES.items()}
        return {name: loss.reshape(len(rates), -1).mean(axis=1) for name, loss in losses.items()}

    def losses_by(name: str, rates: Array) -> Array:
        return logs(tuple(rates.tolist()))[name]

    return {name: _best_rate(partial(losses_by, name)) for name in SCORES}


def _best_rate(losses: Callable[[Array], Array]) -> float:
    """Return the rate of the least loss, from rates, [R], to losses, [R].

    The 15 rates span 4.5 decades; while the best lies at an end, the grid moves that way.
    """
    rates = np.array(TUNING_RATES)
    for _ in range(4):
        place = int(np.argmin(losses(rates)))
        best = float(rates[place])
        if 0 < place < len(rates) - 1:
            break
        rates = rates * (rates[0] / rates[-2] if place == 0 else rates[-1] / rates[1])
    return best
