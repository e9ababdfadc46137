"""The schedule of runs whose budget is unknown, for controllers that set their own first scale: one for any length.

The scale rises from the controller's own first to the one at which the first updates have the size of `PEAKS`, and
falls as one over the time: it has soon come further than a constant rate, and is below it from then on.

    scale_t / scale_0 = (peak / first)^min(t / RISE, 1) / (1 + t / FALL)

The constants are from docs/research.md, "Without a budget".
"""

from __future__ import annotations

import numpy as np

from optenv.control.controller import Interface

Array = np.ndarray

PEAKS = {"first_update": 0.12, "first_update_norm": 1.4}  # by what the controller's interface gives
RISE, FALL = 40.0, 200.0  # steps
STEPS_PER_ACTION = 10  # of a controlled optimizer, unless the user has another number
FEATURES_NEEDED = ("progress", "age")


def peak(interface: Interface) -> float:
    """Return the size of the first updates at the peak over their size at the controller's first scale."""
    (found,) = (size / own for name, size in PEAKS.items() if (own := getattr(interface, name)) is not None)
    return float(found)


def log_scale(interface: Interface, age: Array) -> Array:
    """Return the natural logarithm of the scale over the first, [...].

    Args:
      interface: of the controller, which sets its own first scale.
      age: the feature, [...].
    """
    steps = np.power(10.0, 5.0 * age) - 1.0
    return np.log(peak(interface)) * np.minimum(steps / RISE, 1.0) - np.log1p(steps / FALL)
