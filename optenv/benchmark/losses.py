"""Final losses on one scale: logarithms within bounds that the run's own first loss sets.

A geometric mean breaks where a loss is zero (its logarithm is unbounded, and one run that lands on exactly 0 decides a
table) or not finite. Both ends are therefore bounded relative to the loss that the run began with, measured above the
task's lower bound:

- floor: float32's machine epsilon, 2^-23, times the first loss. Below it, a loss differs from its bound by less than
  the rounding of the loss the run began with; two runs below it count as equal.
- ceiling: 1000 times the first loss, which is where the environment calls a run diverged; a diverged run counts as
  that.

Where no lower bound is known (log likelihoods), the loss itself, in units of the first one's magnitude, takes the
logarithm's place, as in the rewards; a difference of logarithms then is a difference in those units.
"""

from __future__ import annotations

import numpy as np

from optenv.env.episodes import DIVERGENCE_FACTOR

Array = np.ndarray
EPSILON = 2.0**-23


def log_loss(loss: Array | float, first: Array | float, lower_bound: float = 0.0) -> Array:
    """Return log(loss - lower_bound), within the bounds above; diverged losses give the ceiling.

    Args:
      loss: losses in the end, in units of the task's loss; not finite where the run diverged.
      first: losses before the first step, of a shape that broadcasts against it.
      lower_bound: greatest known lower bound of the task's loss; -inf where none is known.

    Returns:
      Finite numbers of the same shape.

    >>> log_loss([0.0, 1e-3, np.inf], 1.0).round(2).tolist()
    [-15.94, -6.91, 6.91]
    """
    loss, first = np.asarray(loss, float), np.asarray(first, float)
    if not np.isfinite(lower_bound):
        units = np.where(np.isfinite(loss), loss, np.inf) / (np.abs(first) + np.finfo(float).tiny)
        return np.clip(units, -np.log(DIVERGENCE_FACTOR), np.log(DIVERGENCE_FACTOR))
    start = np.maximum(first - lower_bound, np.finfo(float).tiny)
    above = np.where(np.isfinite(loss), loss - lower_bound, np.inf)
    return np.log(np.clip(above, EPSILON * start, DIVERGENCE_FACTOR * start))


def diverged(loss: Array | float, first: Array | float, lower_bound: float = 0.0) -> Array:
    """Tell which runs are lost, bool: not finite, or above 1000 times the first loss, measured above the bound."""
    loss, first = np.asarray(loss, float), np.asarray(first, float)
    bound = lower_bound if np.isfinite(lower_bound) else first - np.abs(first)
    with np.errstate(invalid="ignore"):
        return ~np.isfinite(loss) | (loss - bound > DIVERGENCE_FACTOR * np.abs(first - bound))
