"""Rewards: what a controller is paid for one control step, one row of data each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optenv.registry import by_name

Array = np.ndarray
_TINY = 1e-30


@dataclass(frozen=True)
class LossTrace:
    """Losses of N runs on the probe, which stands for the validation set, around one control step, [N] each.

    Attributes:
      first: at the start of the run.
      previous: before this control step.
      current: after it.
      best: least value up to and including `previous`.
      twin_previous: of the uncontrolled twin before this step; NaN where none is run.
      twin_current: of the twin after it; NaN where none is run.
      progress: share of the budget spent after this step, in (0, 1].
      share: share of the budget this step took.
      lower_bound: greatest known lower bound of the loss, a number or [N]; -inf where none is known:
        log L then stands for L / |L_0|.
    """

    first: Array
    previous: Array
    current: Array
    best: Array
    twin_previous: Array
    twin_current: Array
    progress: Array
    share: Array
    lower_bound: Array | float


@dataclass(frozen=True)
class Reward:
    """One way to pay.

    Attributes:
      name: as in `reward="log_loss_decrease"`.
      why: one line on what it asks for.
      function: from a trace to the reward, [N].
      needs_twin: whether an uncontrolled twin must be run beside each run.
    """

    name: str
    why: str
    function: Callable[[LossTrace], Array]
    needs_twin: bool = False


def _log(trace: LossTrace, loss: Array) -> Array:
    """Return the log of a loss above its lower bound; where none is known, its rise in units of the first loss."""
    above = np.log(np.maximum(loss - trace.lower_bound, _TINY))
    return np.where(np.isfinite(trace.lower_bound), above, (loss - trace.first) / _unit(trace))


def _unit(trace: LossTrace) -> Array:
    """Return the first loss above the lower bound, or its magnitude where no bound is known; 1 where that is 0."""
    unit = np.abs(np.where(np.isfinite(trace.lower_bound), trace.first - trace.lower_bound, trace.first))
    return np.where(unit < _TINY, 1.0, unit)


def log_loss_decrease(trace: LossTrace) -> Array:
    """Return log L_{t-1} - log L_t in nats, above the lower bound; an episode sums to log L_0 - log L_T.

    Args:
      trace: the losses of N runs around one control step.
    """
    return _log(trace, trace.previous) - _log(trace, trace.current)


def tempered_decrease(trace: LossTrace) -> Array:
    """Return the increase of sign(x) log(1 + |x|), x = log L_0 - log L_t.

    It telescopes like `log_loss_decrease`, but nats beyond the first count less and less, so that
    tasks whose loss falls by many decades do not outweigh all others.

    Args:
      trace: the losses of N runs around one control step.
    """

    def temper(loss: Array) -> Array:
        fall = _log(trace, trace.first) - _log(trace, loss)
        return np.sign(fall) * np.log1p(np.abs(fall))

    return temper(trace.current) - temper(trace.previous)


def loss_decrease(trace: LossTrace) -> Array:
    """Return (L_{t-1} - L_t) / |L_0 - bound|: the share of the first loss that was removed.

    Args:
      trace: the losses of N runs around one control step.
    """
    return (trace.previous - trace.current) / _unit(trace)


def best_improvement(trace: LossTrace) -> Array:
    """Return by how many nats the best loss so far was beaten, else 0; an episode sums to log L_0 - log min L_t.

    Args:
      trace: the losses of N runs around one control step.
    """
    return np.maximum(_log(trace, trace.best) - _log(trace, trace.current), 0.0)


def final_loss(trace: LossTrace) -> Array:
    """Return log L_0 - log L_T at the end of the budget, 0 before.

    Args:
      trace: the losses of N runs around one control step.
    """
    return np.where(trace.progress >= 1.0, _log(trace, trace.first) - _log(trace, trace.current), 0.0)


def area_under_curve(trace: LossTrace) -> Array:
    """Return (log L_0 - log L_t) times the step's share of the budget: the mean height won over the run.

    Args:
      trace: the losses of N runs around one control step.
    """
    return (_log(trace, trace.first) - _log(trace, trace.current)) * trace.share


def twin_advantage(trace: LossTrace) -> Array:
    """Return by how many nats more than the uncontrolled twin the loss fell in this step.

    Args:
      trace: the losses of N runs around one control step.
    """
    twin = _log(trace, trace.twin_previous) - _log(trace, trace.twin_current)
    return log_loss_decrease(trace) - twin


REWARDS = by_name(
    "reward",
    (
        Reward("log_loss_decrease", "decrease of the log loss; telescopes to the final loss", log_loss_decrease),
        Reward(
            "tempered_decrease",
            "decrease of the log loss, with less and less weight on every further nat",
            tempered_decrease,
        ),
        Reward("loss_decrease", "decrease of the loss in units of the first", loss_decrease),
        Reward(
            "best_improvement",
            "pays for beating the best validation loss so far, as who keeps the best weights is paid",
            best_improvement,
        ),
        Reward("final_loss", "pays once, at the end of the budget", final_loss),
        Reward("area_under_curve", "pays for being low all along", area_under_curve),
        Reward("twin_advantage", "pays for being better than the uncontrolled twin", twin_advantage, needs_twin=True),
    ),
)


def get_reward(reward: str | Reward) -> Reward:
    """Return the reward registered under a name, or `reward` itself.

    Raises:
      ValueError: if no reward has that name.
    """
    return reward if isinstance(reward, Reward) else REWARDS[reward]


def shaped(
    reward: str | Reward, potential: Callable[[LossTrace], tuple[Array, Array]], discount: float = 1.0
) -> Reward:
    """Add potential-based shaping, which leaves the best policy unchanged (Ng, Harada and Russell 1999).

    r' = r + discount * potential(after) - potential(before).

    Args:
      reward: what is shaped.
      potential: from a trace to the potentials (before, after) the step, [N] each; the potential
        after the last step counts as 0.
      discount: the learner's discount.
    """
    base = get_reward(reward)

    def function(trace: LossTrace) -> Array:
        before, after = potential(trace)
        return base.function(trace) + discount * np.where(trace.progress >= 1.0, 0.0, after) - before

    return Reward(f"{base.name}+shaping", f"{base.why}; shaped by a potential", function, base.needs_twin)
