"""What a controller that only knows known budgets is held to where the budget is unknown: one schedule for any length.

The scale rises from the controller's own first to the one at which the first updates have `PEAK` of the weights'
size, and falls as one over the time: it has soon come further than a constant rate, and is below it from then on.

    scale_t / scale_0 = (PEAK / first_update)^min(t / RISE, 1) / (1 + t / FALL)

The constants are from docs/research.md, "Without a budget".
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

PEAK = 0.12
RISE, FALL = 40.0, 200.0  # steps
FEATURES_NEEDED = ("progress", "age")


def log_scale(first_update: float, observation: Array, features: list[int]) -> tuple[Array, Array]:
    """Return the log of the scale over the first, and where it holds.

    Args:
      first_update: of the controller's interface.
      observation: of the runs, [N, features].
      features: where the `FEATURES_NEEDED` are in it.

    Returns:
      The natural logarithm, [N], and which budgets are unknown, [N] bool.
    """
    progress, age = (observation[:, i].astype(float) for i in features)
    steps = np.power(10.0, 5.0 * age) - 1.0
    peak = np.log(PEAK / first_update)
    return peak * np.minimum(steps / RISE, 1.0) - np.log1p(steps / FALL), progress < 0.0
