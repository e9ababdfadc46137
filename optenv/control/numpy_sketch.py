"""Sketches without torch: how many coordinates of a group are read, and the inner products of those that were."""

from __future__ import annotations

import numpy as np

from optenv.control.signals import Products

Array = np.ndarray
MAX_COORDINATES = 1024
TOTAL_COORDINATES = 3072
MIN_COORDINATES = 16


def coordinates_per_group(num_groups: int) -> int:
    """Return how many coordinates of each group are kept, so that their sum stays bounded.

    >>> coordinates_per_group(1), coordinates_per_group(47), coordinates_per_group(1000)
    (1024, 65, 16)
    """
    return max(MIN_COORDINATES, min(MAX_COORDINATES, TOTAL_COORDINATES // max(1, num_groups)))


def stride(size: int, coordinates: int) -> int:
    """Return the stride that leaves at most `coordinates` of `size` values.

    >>> stride(10, 4), stride(4, 4), stride(0, 4)
    (3, 1, 1)
    """
    return max(1, -(-size // coordinates))


def to_products(sums: Array) -> Products:
    """Return the products that `SketchMemory.sums` computed, [10, N, G] float64."""
    gg, dd, gg_last, dd_last, g_g_last, d_d_last, g_d, ww, g, d = sums
    return Products(gg * g * g, gg_last, g_g_last * g, g_d * g * d, dd * d * d, dd_last, d_d_last * d, ww)


class NumpySketchMemory:
    """`optenv.control.sketch.SketchMemory` of one run whose weights are not known.

    Attributes:
      directions: of the last control step's gradient and displacement, [2, G, S] float16, in units of each group's
        largest entry; NaN before the first.
    """

    def __init__(self, num_groups: int, coordinates: int):
        """Begin a run."""
        self.directions = np.full((2, num_groups, coordinates), np.nan, np.float16)

    def advance(self, gradient: Array, displacement: Array) -> Products:
        """Take the sketches at the end of a control step and return their inner products, [1, G] each.

        Args:
          gradient: sketch of the last inner step's gradient, [G, S].
          displacement: sketch of how far the weights moved in the control step, [G, S], in any unit.

        Returns:
          The products; those of the weights are NaN.
        """
        with np.errstate(all="ignore"):
            both = np.stack([gradient, displacement]).astype(float)
            size = np.maximum(np.abs(both).max(axis=-1), np.finfo(np.float32).tiny)  # [2, G]
            new, last = both / size[..., None], self.directions.astype(float)
            dots = [(a * b).sum(axis=-1) for a, b in ((new, new), (last, last), (new, last), (new[:1], new[1:]))]
            self.directions = new.astype(np.float16)
            unknown = np.full_like(size[:1], np.nan)
            return to_products(np.concatenate([*dots, unknown, size])[:, None])
