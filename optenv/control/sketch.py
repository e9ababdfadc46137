"""What control sees of a group's tensors: a few strided coordinates, and their inner products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from optenv.control.signals import Products

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


def sketch_index(sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Place every group's sketch within the concatenation of all groups.

    Args:
      sizes: number of parameters of each group, in the order of concatenation; G entries.

    Returns:
      Index into the concatenated vector, [G, S] int64, and a mask, [G, S] float32: 1 where the
      coordinate exists, 0 where a small group has fewer than S (those indices point at 0).
    """
    limit = coordinates_per_group(len(sizes))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rows = [start + np.arange(0, size, stride(size, limit)) for start, size in zip(starts, sizes, strict=True)]
    width = max(1, max(map(len, rows)))
    index = torch.zeros(len(rows), width, dtype=torch.int64)
    mask = torch.zeros(len(rows), width)
    for g, row in enumerate(rows):
        index[g, : len(row)] = torch.as_tensor(row)
        mask[g, : len(row)] = 1.0
    return index, mask


def _unit(sketch: Tensor) -> tuple[Tensor, Tensor]:
    """Divide each group's sketch, [N, G, S], by its largest entry, [N, G]: squares of small float32 would underflow."""
    size = sketch.abs().amax(-1)
    size = torch.where(torch.isfinite(size) & (size > 0.0), size, 1.0)
    return sketch / size[..., None], size


@dataclass
class SketchMemory:
    """The sketches of the last control step: all that control remembers of gradients and weights.

    Attributes:
      gradient: [N, G, S], in units of each group's largest entry; NaN before the first control step.
      weights: [N, G, S].
      displacement: [N, G, S], likewise in units of its largest entry.
    """

    gradient: Tensor
    weights: Tensor
    displacement: Tensor

    @classmethod
    def start(cls, weights: Tensor) -> SketchMemory:
        """Begin runs whose weights have the given sketch, [N, G, S]."""
        nothing = torch.full_like(weights, torch.nan)
        return cls(nothing, weights, nothing.clone())

    def regrouped(self, weights: Tensor, sources: np.ndarray) -> SketchMemory:
        """Return the memory of the same runs with other groups.

        Args:
          weights: sketch of the weights of the groups there are now, [N, G', S'].
          sources: for each group the index of the one with the same coordinates before, or -1 for a new one, [G'].
        """
        new = SketchMemory.start(weights)
        width = min(weights.shape[-1], self.weights.shape[-1])
        for fresh, old in zip(new.tensors(), self.tensors(), strict=True):
            for g, source in enumerate(sources.tolist()):
                if source >= 0:
                    fresh[:, g] = 0.0
                    fresh[:, g, :width] = old[:, source, :width]
        return new

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three sketches, in the order of the constructor."""
        return self.gradient, self.weights, self.displacement

    def advance(self, gradient: Tensor, weights: Tensor) -> Products:
        """Take the sketches at the end of a control step and return their inner products.

        Args:
          gradient: sketch of the last inner step's gradient, [N, G, S].
          weights: sketch of the weights after that step, [N, G, S].
        """
        # One transfer to the host for all products.
        return to_products(self.sums(gradient, weights).double().cpu().numpy())

    def sums(self, gradient: Tensor, weights: Tensor) -> Tensor:
        """Do the same, but leave what `to_products` reads on the device, [10, N, G]."""
        # Stacked, since with few groups what counts is the number of operations.
        new, size = _unit(torch.stack([gradient, weights - self.weights]))
        last = torch.stack([self.gradient, self.displacement])
        (gg, dd), (gg_last, dd_last), (g_g_last, d_d_last) = (
            torch.linalg.vecdot(a, b) for a, b in ((new, new), (last, last), (new, last))
        )
        g_d, ww = torch.linalg.vecdot(new[0], new[1]), torch.linalg.vecdot(weights, weights)
        self.gradient, self.weights, self.displacement = new[0], weights, new[1]
        return torch.stack([gg, gg_last, g_g_last, g_d, dd, dd_last, d_d_last, ww, *size])


def to_products(sums: np.ndarray) -> Products:
    """Return the products that `SketchMemory.sums` computed, [10, N, G] float64."""
    *dots, g_unit, d_unit = sums
    one = np.ones_like(g_unit)
    units = (g_unit**2, one, g_unit, g_unit * d_unit, d_unit**2, one, d_unit, one)
    return Products(*(dot * unit for dot, unit in zip(dots, units, strict=True)))
