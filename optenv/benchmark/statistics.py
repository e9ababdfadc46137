"""Statistics of losses over a reference's: arrays of log ratios, [T, R, S] = tasks, base rates, seeds.

Run s of a method is divided by run s of the reference, which began with the same weights and drew the same
minibatches. Means are of logarithms, so a ratio of 2 and one of 1/2 cancel; losses are bounded as in `losses`.
The choice of statistics follows Agarwal et al. (2021), "Deep RL at the edge of the statistical precipice".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Statistic = Callable[[Array], Array]
RESAMPLES = 2000


def geometric_mean(log_ratios: Array) -> Array:
    """Return exp(mean) over the last three axes, every task weighing the same; [..., T, R, S] to [...]."""
    return np.exp(log_ratios.mean(axis=(-3, -2, -1)))


def interquartile_mean(log_ratios: Array) -> Array:
    """Return the geometric mean of the middle half of all runs; [..., T, R, S] to [...]."""
    runs = log_ratios.reshape(*log_ratios.shape[:-3], -1)
    cut = int(0.25 * runs.shape[-1])  # left out at either end, as scipy.stats.trim_mean does
    middle = np.partition(runs, (cut, runs.shape[-1] - cut - 1), axis=-1)[..., cut : runs.shape[-1] - cut]
    return np.exp(middle.mean(axis=-1))


def by_task(log_ratios: Array) -> Array:
    """Return each task's geometric mean over base rates and seeds; [..., T, R, S] to [..., T]."""
    return np.exp(log_ratios.mean(axis=(-2, -1)))


def worst_task(log_ratios: Array) -> Array:
    """Return the greatest of the tasks' geometric means; [..., T, R, S] to [...]."""
    return by_task(log_ratios).max(axis=-1)


def spread(log_ratios: Array) -> Array:
    """Return each task's worst over its best base rate, geometric means over seeds; [T, R, S] to [T]."""
    at_rate = log_ratios.mean(axis=-1)
    return np.exp(at_rate.max(axis=-1) - at_rate.min(axis=-1))


@dataclass(frozen=True)
class ConfidenceInterval:
    """A statistic and the ends of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def interval(
    log_ratios: Array, statistic: Statistic, generator: np.random.Generator, resamples: int = RESAMPLES
) -> ConfidenceInterval:
    """Return a statistic with its stratified bootstrap interval, 2.5 to 97.5 percent.

    The tasks are the strata: each keeps its place, and its seeds are drawn anew, with replacement. A seed comes with
    its runs at all base rates, which share weights and minibatches and so are not independent.

    Args:
      log_ratios: [T, R, S].
      statistic: from [..., T, R, S] to [...].
      generator: source of randomness.
      resamples: number of resamples, B.
    """
    tasks, _, seeds = log_ratios.shape
    drawn = generator.integers(seeds, size=(resamples, tasks, seeds))
    resampled = np.take_along_axis(log_ratios[None], drawn[:, :, None, :], axis=-1)  # [B, T, R, S]
    low, high = np.percentile(statistic(resampled), [2.5, 97.5])
    return ConfidenceInterval(float(statistic(log_ratios)), float(low), float(high))


def performance_profile(log_ratios: Array, thresholds: Array) -> Array:
    """Return the share of runs whose ratio is at most each threshold; every task weighs the same.

    Args:
      log_ratios: [T, R, S].
      thresholds: ratios, [K].

    Returns:
      Shares in [0, 1], [K].
    """
    below = log_ratios[None] <= np.log(thresholds)[:, None, None, None] + 1e-12
    return below.mean(axis=(1, 2, 3))


def profile_area(log_ratios: Array, low: float = 0.5, high: float = 4.0) -> float:
    """Return the mean height of the performance profile over thresholds from `low` to `high`, in logarithms."""
    return float(performance_profile(log_ratios, np.geomspace(low, high, 200)).mean())


def probability_of_improvement(log_ratios: Array, others: Array) -> float:
    """Return the chance that a run beats another method's run on the same task and seed; ties count half.

    Args:
      log_ratios: of the method, [T, R, S]; its base rates are as likely as one another.
      others: of the other, [T, Q, S].
    """
    first, second = log_ratios[:, :, None, :], others[:, None, :, :]
    wins = (first < second) + 0.5 * (first == second)
    return float(wins.mean())


def steps_to_target(steps: Array, valid: Array, target: Array) -> Array:
    """Return when the validation loss first reached a target, as a share of the budget; infinite where it never did.

    Args:
      steps: inner steps after which it was measured, [V]; the last is the budget.
      valid: the losses then, [V, R, S].
      target: losses to be reached, the reference's final ones, [R, S], or [1, S] where it has one base rate.

    Returns:
      [R, S].
    """
    reached = valid <= target
    first = np.argmax(reached, axis=0)
    return np.where(reached.any(axis=0), np.asarray(steps)[first] / steps[-1], np.inf)
