"""The bound: how far the weights of a run may move in one control step.

It holds whether the budget is known or not, for control steps of the length they have. While rates settle
towards the end of a known budget (`agents.optbrain.credit`) it stays as it is, or it would undo that.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

Array = np.ndarray
CAP = 0.04
FREE_ABOVE = 0.5
MOST = float(np.log(100.0))
STEPS = 10
_MOVED = 1e-6


def moved_share(displacement: Array, weights: Array, steps: int) -> Array:
    """Return how far groups moved in `steps` steps, as a share of their weights in `STEPS` of them, [1, G].

    As for a random walk the distance counts as growing with the root of the number of steps, so that control
    steps that get longer during a run are not bound ever more tightly.

    Args:
      displacement: sketch of how far the weights moved, [G, S].
      weights: sketch of the weights now, [G, S]; 0 comes back where they are all 0, or something is not finite.
      steps: optimizer steps of this control step.

    >>> moved_share(np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[0.0, 50.0], [0.0, 0.0]]), 40).tolist()
    [[0.05, 0.0]]
    """
    with np.errstate(all="ignore"):
        share = np.linalg.norm(displacement, axis=1) / np.linalg.norm(weights, axis=1) * sqrt(STEPS / steps)
    return np.where(np.isfinite(share), share, 0.0)[None]


def bounded(bound: Array, moved: Array, descent: Array) -> Array:
    """Return by how much each run's log step sizes are to be lowered from now on, in nats, [N], from 0 to `MOST`.

    A projection, not a brake: where weights moved k times `CAP`, steps become k times as short at once, and where
    they move less again they may grow as far again. That needs no evidence which builds up, so it comes before a
    rate that is far too high has memorised a small data set; descent would say that the run learns. Nothing is
    tightened from a descent of `FREE_ABOVE` on: weights drawn far too small have to grow.

    Args:
      bound: what it was so far, [N].
      moved: displacement of each group in the last control step over the norm of its weights, [N, G]; 0 where that
        is unknown, or nothing moved. Such groups are left out of the geometric mean over a run's groups.
      descent: mean over a run's groups, [N].

    >>> bounded(np.array([0.0, 0.0, 1.0]), np.array([[0.08], [0.02], [0.02]]), np.zeros(3)).round(2).tolist()
    [0.69, 0.0, 0.31]
    """
    known = moved > _MOVED
    logs = np.log(np.where(known, moved, CAP) / CAP).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    logs = np.where(descent < FREE_ABOVE, logs, np.minimum(logs, 0.0))
    return np.minimum(np.maximum(bound + logs, 0.0), MOST)
