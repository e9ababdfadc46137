"""Parameter groups of a real model: one per layer, and what control sees of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from optenv.control.sketch import coordinates_per_group, stride

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
      mask: 1 where a coordinate exists, [G, S].
    """

    def __init__(self, groups: Sequence[ParamGroup]):
        """Choose the coordinates of every group's parameters."""
        limit = coordinates_per_group(len(groups))
        self._parts: list[list[tuple[Tensor, int, int, int]]] = [
            _coordinates(group["params"], limit) for group in groups
        ]
        lengths = [sum(count for *_, count in parts) for parts in self._parts]
        self.mask = torch.zeros(len(groups), max([1, *lengths]))
        for row, length in zip(self.mask, lengths, strict=True):
            row[:length] = 1.0

    def weights(self) -> Tensor:
        """Return the sketch of the weights, [1, G, S]."""
        return self._read(lambda p: p)

    def gradient(self) -> Tensor:
        """Return the sketch of the gradients, [1, G, S]; 0 where a parameter has none."""
        return self._read(lambda p: p.grad)

    def _read(self, of: Callable[[Tensor], Tensor | None]) -> Tensor:
        sketch = torch.zeros(1, *self.mask.shape)
        with torch.no_grad():
            for row, parts in zip(sketch[0], self._parts, strict=True):
                at = 0
                for parameter, first, step, count in parts:
                    tensor = of(parameter)
                    if tensor is not None:
                        row[at : at + count] = tensor.reshape(-1)[first::step]
                    at += count
        return sketch


def _coordinates(params: Sequence[Tensor], limit: int) -> list[tuple[Tensor, int, int, int]]:
    """Return (parameter, first coordinate, stride, count): every stride-th of the group's concatenation."""
    step = stride(sum(p.numel() for p in params), limit)
    parts, start = [], 0
    for p in params:
        first = -start % step
        parts.append((p, first, step, len(range(first, p.numel(), step))))
        start += p.numel()
    return parts
