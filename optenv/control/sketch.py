"""What control sees of a group's tensors: a few strided coordinates, and their inner products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from optenv.control.numpy_sketch import coordinates_per_group, stride, to_products
from optenv.control.signals import Products


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
    """Divide each group's sketch, [..., S], by its largest entry, [...]: squares of small float32 would underflow."""
    size = sketch.abs().amax(dim=-1).clamp_(min=torch.finfo(sketch.dtype).tiny)  # many times as fast as a norm
    return sketch / size[..., None], size  # what is not finite stays so, or turns into NaN


@dataclass
class SketchMemory:
    """The sketches of the last control step: all that control remembers of gradients and weights.

    Attributes:
      directions: of the gradient and of the displacement, [N, 2, G, S], in units of each group's largest entry; NaN
        before the first control step. Cosines are all they serve for, so half the precision of the weights will do.
      weights: [N, G, S].
    """

    directions: Tensor
    weights: Tensor

    @classmethod
    def start(cls, weights: Tensor) -> SketchMemory:
        """Begin runs whose weights have the given sketch, [N, G, S]."""
        shape = len(weights), 2, *weights.shape[1:]
        return cls(torch.full(shape, torch.nan, dtype=torch.float16, device=weights.device), weights)

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
                    fresh[..., g, :] = 0.0
                    fresh[..., g, :width] = old[..., source, :width]
        return new

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return directions and weights."""
        return self.directions, self.weights

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
        # Gradient and displacement together, since with few groups what counts is the number of operations.
        new, size = _unit(torch.stack([gradient, weights - self.weights]))
        last, dot = self.directions.to(new).transpose(0, 1), torch.linalg.vecdot
        products = [dot(new, new), dot(last, last), dot(new, last), dot(new[:1], new[1:]), dot(weights, weights)[None]]
        self.directions, self.weights = new.transpose(0, 1).to(self.directions), weights
        return torch.cat([*products, size])
