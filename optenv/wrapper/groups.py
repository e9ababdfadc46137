"""Parameter groups of a real model: one per layer, and what control sees of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from optenv.control.sketch import coordinates_per_group, stride
from optenv.wrapper.coordinates import real_size, strided

ParamGroup = dict[str, Any]


def layer_groups(model: nn.Module) -> list[ParamGroup]:
    """Split a model's trainable parameters into one group per layer.

    A layer is a module with parameters of its own; a parameter that several modules share belongs
    to the first.

    Args:
      model: the model to be trained.

    Returns:
      Groups `{"params": [...], "name": "encoder.0"}` for any `torch.optim` optimizer.

    Raises:
      ValueError: if nothing is trainable.

    >>> [g["name"] for g in layer_groups(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))]
    ['0', '2']
    """
    seen: set[int] = set()
    groups = []
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if p.requires_grad and id(p) not in seen]
        seen.update(map(id, own))
        if own:
            groups.append({"params": own, "name": name})
    if not groups:
        raise ValueError("layer_groups: expected a model with at least one trainable parameter; received none")
    return groups


class GroupSketch:
    """Reads the sketches of torch parameter groups: the coordinates `sketch_index` names, without copying the rest.

    Attributes:
      limits: most coordinates of each group, [G].
      sizes: number of real coordinates that each group has, [G].
      mask: 1 where a coordinate of the sketch exists, [G, S].
    """

    def __init__(self, groups: Sequence[ParamGroup], limits: Sequence[int] | None = None):
        """Choose the coordinates of every group's parameters.

        Args:
          groups: the parameter groups.
          limits: most coordinates of each; by default what their number allows.
        """
        self.limits = [coordinates_per_group(len(groups))] * len(groups) if limits is None else list(limits)
        self._params = [list(group["params"]) for group in groups]
        self._parts = [_coordinates(*pair) for pair in zip(self._params, self.limits, strict=True)]
        self.sizes = [sum(map(real_size, params)) for params in self._params]
        lengths = [sum(count for *_, count in parts) for parts in self._parts]
        self.mask = torch.zeros(len(groups), max([1, *lengths]))
        for row, length in zip(self.mask, lengths, strict=True):
            row[:length] = 1.0

    def fits(self, groups: Sequence[ParamGroup]) -> bool:
        """Say whether these groups hold the very parameters that were chosen from."""
        return len(groups) == len(self._params) and all(
            map(_identical, self._params, (group["params"] for group in groups))
        )

    def followed_by(self, groups: Sequence[ParamGroup]) -> tuple[GroupSketch, np.ndarray, np.ndarray]:
        """Return the sketch of groups that follow these; those that stay as they are keep their coordinates.

        Returns:
          The sketch; for each group the index of the one before that held one of its parameters, or
          -1, [G]; and the same only where all its parameters are those of before, [G].
        """
        owner = {id(p): g for g, params in enumerate(self._params) for p in params}
        sources, same = np.full(len(groups), -1), np.full(len(groups), -1)
        for i, group in enumerate(groups):
            held = (owner.get(id(p)) for p in group["params"])
            sources[i] = next((g for g in held if g is not None and g not in sources[:i]), -1)
            if sources[i] >= 0 and _identical(self._params[sources[i]], group["params"]):
                same[i] = sources[i]
        limit = coordinates_per_group(len(groups))
        return GroupSketch(groups, [self.limits[s] if s >= 0 else limit for s in sources]), sources, same

    def weights(self) -> Tensor:
        """Return the sketch of the weights, [1, G, S]."""
        return self._read(lambda p: p)

    def gradient(self) -> Tensor:
        """Return the sketch of the gradients, [1, G, S]; 0 where a parameter has none."""
        return self._read(lambda p: p.grad)

    def has_gradient(self) -> Tensor:
        """Return which groups have a gradient at all, [G] bool."""
        return torch.tensor([any(p.grad is not None for p in params) for params in self._params], dtype=torch.bool)

    def _read(self, of: Callable[[Tensor], Tensor | None]) -> Tensor:
        sketch = torch.zeros(1, *self.mask.shape)
        with torch.no_grad():
            for row, parts in zip(sketch[0], self._parts, strict=True):
                at = 0
                for parameter, first, step, count in parts:
                    tensor = of(parameter)
                    if tensor is not None:
                        row[at : at + count] = strided(tensor, first, step)
                    at += count
        return sketch


def _identical(params: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(params) == len(others) and all(map(is_, params, others))


def _coordinates(params: Sequence[Tensor], limit: int) -> list[tuple[Tensor, int, int, int]]:
    """Return (parameter, first coordinate, stride, count): every stride-th of the group's concatenation."""
    sizes = list(map(real_size, params))
    step = stride(sum(sizes), limit)
    parts, start = [], 0
    for p, size in zip(params, sizes, strict=True):
        first = -start % step
        parts.append((p, first, step, len(range(first, size, step))))
        start += size
    return parts
