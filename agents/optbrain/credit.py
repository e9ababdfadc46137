"""Credit: what the sketched gradient says of the step sizes of the control step before it.

The inner product of the newest gradient g and the last displacement d of the weights is the derivative of
the loss with respect to the logarithm of the step size (the hypergradient: Baydin et al. 2018). Its
cosine, `descent` = -cos(g, d), is near 1 where the steps were far too short, and negative where they
overshot or where noise has the weights wander about a minimum.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray
RAISE_ABOVE = 0.3
LOWER_BELOW = -0.3
LOWER_BELOW_UNTOLD = -0.2
RAISE_UNTIL = 0.12
SETTLE_FROM = 0.6
SETTLED_ABOVE = 0.8
BY_THEN = 0.2
GAIN = 24.0
LARGEST = 1.0
AGREEMENT = 0.15
BENT_BELOW = 0.2
STRAIGHT_FROM = 0.5
_LEAST_LEFT = 1e-3


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
    lower = np.where(progress < 0.0, LOWER_BELOW_UNTOLD, LOWER_BELOW)
    below = lower + np.minimum((1.0 - left) / BY_THEN, 1.0) * (SETTLED_ABOVE - lower)
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
