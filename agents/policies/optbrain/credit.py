"""Credit: what the sketched gradient says of the step sizes of the control step before it; and a bound on the steps.

The inner product of the newest gradient g and the last displacement d of the weights is the derivative of
the loss with respect to the logarithm of the step size (the hypergradient: Baydin et al. 2018). Its
cosine, `descent` = -cos(g, d), is near 1 where the steps were far too short, and negative where they
overshot or where noise has the weights wander about a minimum.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray
# Blocks are those of the section "OptBrain: learning online, within one run" of docs/research.md.
# Upper set point of `descent`, a cosine: the rate rises above it. Block 1.
RAISE_ABOVE = 0.3
# Lower set point, a cosine: the rate falls below it. Block 1 tried -0.25, -0.15 and -0.05; -0.3 itself: not tuned.
LOWER_BELOW = -0.3
# The same where the budget is unknown. Block 9, the rows "budget unknown".
LOWER_BELOW_WITHOUT_BUDGET = -0.2
# Share of a known budget in which rates may rise. Block 9, "first 12 %".
RAISE_UNTIL = 0.12
# Share of a known budget from which rates settle. Block 9, "settling from 60 %".
SETTLE_FROM = 0.6
# Upper set point at the very end of the budget, a cosine: above it rates do not settle. Block 10.
SETTLED_ABOVE = 0.8
# Share of the settling after which the lower set point has arrived there. Not tuned.
SETTLED_AFTER = 0.2
# Nats of log scale in a decision per squared distance to the upper set point. Block 9, "gain 24".
GAIN = 24.0
# Most nats by which a decision raises the scale. Not tuned.
LARGEST = 1.0
# Cosine of successive gradients from which a rise counts in full. A gate came in block 3; its width: not tuned.
AGREEMENT = 0.15
# Fall of the loss over its mean one so far, a ratio: no rise below the first, a full one from the second. Block 7.
BENT_BELOW = 0.2
STRAIGHT_FROM = 0.5
# Share of the settling that is taken to be left at its end, so that the logarithm stays finite. Not tuned.
_LEAST_LEFT = 1e-3
# Displacement in a control step over the weights' norm that is allowed, a ratio. Block 11.
CAP = 0.07
# `descent`, a cosine, from which the bound is not tightened. Block 10, "not tightened above a descent of 0.5".
FREE_ABOVE = 0.5
# Most nats by which the bound lowers a scale: as far as the knob goes. Not tuned.
MOST = float(np.log(100.0))
# Ratio up to which a group counts as one that did not move. Not tuned.
_MOVED = 1e-6


def credit(descent: Array, agreement: Array, speed: Array, early: Array, progress: Array, ahead: Array) -> Array:
    """Return by how much a run's log step sizes should move, in nats, [N]; 0 where there is nothing to say.

    Following the hypergradient's sign is greedy: steep directions bounce long before flat ones have
    arrived, so at the rate that is best in the end `descent` is already negative (the short-horizon
    bias: Wu et al. 2018). Therefore nothing moves between two set points, far from 0. Below the lower
    one the rate falls: for a noisy quadratic at rest descent = -sqrt(rate * curvature) / 2, so it is
    reached where the product of rate and curvature is about 1/3; where the budget is unknown, so that
    nothing will settle, already at 1/6. Above the upper one the rate rises, with the square of the distance,
    so that clear evidence counts most. A rise also needs gradients that agree from one control step to the
    next: a displacement may contain the very gradient it is compared with, noise and all, and plain SGD
    would read its own noise as descent. It needs a loss that still falls about as fast as it did: steps that
    are far too short make a straight curve. And it needs to be early: steps that are far too short are so
    from the start; descent that appears later is mostly that of examples being memorised, while the loss on
    others already rises.

    With little of a known budget left, what is greedy is right. So the set points rise from `SETTLE_FROM` on,
    and rates fall, at most linearly to 0 at the end. They stay where nearly the whole gradient still points
    downhill, above `SETTLED_ABOVE`: less of it is shown just as well by examples that are being memorised.

    Args:
      descent: mean over a run's groups, [N].
      agreement: cosine of successive gradients, mean over the groups, [N].
      speed: fall of the loss in a control step over that in the mean one of the run so far, averaged, [N].
      early: whether rates may still rise, [N] bool.
      progress: share of the budget spent, [N]; negative where the budget is unknown.
      ahead: share of the budget until the next decision, [N].

    >>> unknown, no = np.full(4, -1.0), np.zeros(4)
    >>> descent, agreement = np.array([0.5, 0.0, -0.5, 0.5]), np.array([0.5, 0.0, 0.0, 0.0])
    >>> credit(descent, agreement, no + 1.0, no == 0.0, unknown, no).round(2).tolist()
    [0.96, 0.0, -0.3, 0.0]
    """
    left, then = left_to_settle(progress), left_to_settle(progress + ahead)
    above = 1.0 - left * (1.0 - RAISE_ABOVE)
    lower = np.where(progress < 0.0, LOWER_BELOW_WITHOUT_BUDGET, LOWER_BELOW)
    below = lower + np.minimum((1.0 - left) / SETTLED_AFTER, 1.0) * (SETTLED_ABOVE - lower)
    up = np.minimum(GAIN * np.square(np.maximum(descent - above, 0.0)), LARGEST)
    down = np.maximum(below - descent, 0.0)
    linear = np.where(left < 1.0, np.log(np.maximum(left, _LEAST_LEFT) / np.maximum(then, _LEAST_LEFT)), np.inf)
    straight = np.minimum(np.maximum((speed - BENT_BELOW) / (STRAIGHT_FROM - BENT_BELOW), 0.0), 1.0)
    agreed = np.minimum(np.maximum(agreement / AGREEMENT, 0.0), 1.0)
    return up * straight * agreed * early - np.minimum(down, linear)


def left_to_settle(progress: Array) -> Array:
    """Return what is left of the last part of the budget, [N]: 1 before it or where that is unknown, 0 at its end.

    >>> left_to_settle(np.array([-1.0, 0.1, 0.8, 1.0])).round(3).tolist()
    [1.0, 1.0, 0.5, 0.0]
    """
    return np.minimum(np.maximum(1.0 - progress, 0.0) / (1.0 - SETTLE_FROM), 1.0)


def bounded(bound: Array, moved: Array, descent: Array) -> Array:
    """Return by how much each run's log step sizes are to be lowered from now on, in nats, [N], from 0 to `MOST`.

    A projection, not a brake: where weights moved k times `CAP`, steps become k times as short at once, and where
    they move less again they may grow as far again. That needs no evidence which builds up, so it comes before a
    rate that is far too high has memorised a small data set; descent would say that the run learns. Nothing is
    tightened from a descent of `FREE_ABOVE` on: weights drawn far too small have to grow.

    It holds whether the budget is known or not, for control steps of the length they have. While rates settle
    towards the end of a known budget it stays as it is, or it would undo that.

    Args:
      bound: what it was so far, [N].
      moved: displacement of each group in the last control step over the norm of its weights, [N, G]; 0 where that
        is unknown, or nothing moved. Such groups are left out of the geometric mean over a run's groups.
      descent: mean over a run's groups, [N].

    >>> bounded(np.array([0.0, 0.0, 1.0]), np.array([[0.14], [0.035], [0.035]]), np.zeros(3)).round(2).tolist()
    [0.69, 0.0, 0.31]
    """
    known = moved > _MOVED
    logs = np.log(np.where(known, moved, CAP) / CAP).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    logs = np.where(descent < FREE_ABOVE, logs, np.minimum(logs, 0.0))
    return np.minimum(np.maximum(bound + logs, 0.0), MOST)
