"""Parameter groups of a real model: one per layer, and what control sees of each."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from optenv.control.sketch import coordinates_per_group, stride
from optenv.wrapper.coordinates import real_size, strided
from optenv.wrapper.shards import is_sharded, local, part_to_read

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
      lengths: coordinates in each group's sketch, [G].
      width: the longest of them, S, at least 1.
      sharded: which groups are spread over several processes, so that the coordinates here are but a part, [G] bool.
    """

    def __init__(self, groups: Sequence[ParamGroup], limits: Sequence[int] | None = None):
        """Choose the coordinates of every group's parameters.

        Args:
          groups: the parameter groups.
          limits: most coordinates of each; by default what their number allows.
        """
        chosen = [coordinates_per_group(len(groups))] * len(groups) if limits is None else limits
        self.limits = array("i", chosen)  # packed, as is all that follows: objects would weigh more than the sketch
        held = [group["params"] for group in groups]
        self._params = [p for params in held for p in params]
        self.sharded = torch.tensor([any(map(is_sharded, params)) for params in held], dtype=torch.bool)
        self._any_sharded = bool(self.sharded.any())
        sizes = [list(map(real_size, params)) for params in held]
        self._step = array("q", map(stride, map(sum, sizes), self.limits))
        parts = [_coordinates(*own) for own in zip(held, sizes, self._step, strict=True)]
        self.lengths = array("i", [sum(count for _, count in part) for part in parts])
        self.width = max([1, *self.lengths])
        self._starts = array("i", accumulate(map(len, held), initial=0))
        self._first = array("q", [first for part in parts for first, _ in part])
        self._count = array("i", [count for part in parts for _, count in part])
        device = self._params[0].device if self._params else None
        self._one_device = all(p.device == device for p in self._params)
        self._nothing = torch.zeros(self.width, device=device)

    @property
    def sizes(self) -> list[int]:
        """Number of real coordinates that each group has, [G]."""
        return [sum(map(real_size, self._held(g))) for g in range(len(self.lengths))]

    def _held(self, group: int) -> list[Tensor]:
        return self._params[self._starts[group] : self._starts[group + 1]]

    @property
    def mask(self) -> Tensor:
        """1 where a coordinate of the sketch exists, [G, S]."""
        return (torch.arange(self.width) < torch.tensor(self.lengths)[:, None]).float()

    def fits(self, groups: Sequence[ParamGroup]) -> bool:
        """Say whether these groups hold the very parameters that were chosen from."""
        held = [group["params"] for group in groups]
        starts = array("i", accumulate(map(len, held), initial=0))
        return starts == self._starts and all(map(is_, self._params, chain.from_iterable(held)))

    def followed_by(self, groups: Sequence[ParamGroup]) -> tuple[GroupSketch, np.ndarray, np.ndarray]:
        """Return the sketch of groups that follow these; those that stay as they are keep their coordinates.

        Returns:
          The sketch; for each group the index of the one before that held one of its parameters, or
          -1, [G]; and the same only where all its parameters are those of before, [G].
        """
        owner = {id(p): g for g in range(len(self.lengths)) for p in self._held(g)}
        sources, same = np.full(len(groups), -1), np.full(len(groups), -1)
        for i, group in enumerate(groups):
            held = (owner.get(id(p)) for p in group["params"])
            sources[i] = next((g for g in held if g is not None and g not in sources[:i]), -1)
            if sources[i] >= 0 and _identical(self._held(sources[i]), group["params"]):
                same[i] = sources[i]
        limit = coordinates_per_group(len(groups))
        return GroupSketch(groups, [self.limits[s] if s >= 0 else limit for s in sources]), sources, same

    def weights(self) -> Tensor:
        """Return the sketch of the weights, [1, G, S], a copy, on their device."""
        return self._read(lambda p: p)

    def gradient(self, groups: Sequence[int] | None = None) -> Tensor:
        """Return the sketch of the gradients, [1, G, S], or of some groups' alone; 0 where a parameter has none."""
        return self._read(lambda p: p.grad, groups)

    def without_gradient(self) -> list[int]:
        """Return the indices of the groups that have no gradient at all."""
        seen, starts = [p.grad is not None for p in self._params], self._starts
        return [g for g in range(len(self.lengths)) if not any(seen[starts[g] : starts[g + 1]])]

    @torch.no_grad()
    def _read(self, of: Callable[[Tensor], Tensor | None], groups: Sequence[int] | None = None) -> Tensor:
        chosen = range(len(self.lengths)) if groups is None else groups
        pieces: list[Tensor] = []
        for g in chosen:
            for i in range(self._starts[g], self._starts[g + 1]):
                if self._count[i]:
                    tensor = of(self._params[i])
                    pieces.append(self._nothing[: self._count[i]] if tensor is None else self._piece(tensor, g, i))
            if self.lengths[g] < self.width:
                pieces.append(self._nothing[: self.width - self.lengths[g]])
        flat = torch.cat(pieces) if pieces else self._nothing[:0]
        return flat.float().view(1, len(chosen), self.width)

    def _piece(self, tensor: Tensor, group: int, i: int) -> Tensor:
        if self._any_sharded:
            tensor = local(tensor)
        piece = strided(tensor, self._first[i], self._step[group], self._count[i])
        return piece if self._one_device else piece.to(self._nothing.device)


def _identical(params: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(params) == len(others) and all(map(is_, params, others))


def _coordinates(params: Sequence[Tensor], sizes: Sequence[int], step: int) -> list[tuple[int, int]]:
    """Return each parameter's (first coordinate, count): every `step`-th of the group's concatenation.

    Of sharded parameters those that this process holds: all processes together read the same as one would.
    """
    mesh = next((p.device_mesh for p in params if is_sharded(p)), None)  # type: ignore[attr-defined]
    parts, start = [], 0
    for p, size in zip(params, sizes, strict=True):
        offset, held = (0, size) if mesh is None else part_to_read(p, mesh)
        first = -(start + offset) % step
        parts.append((first, len(range(first, held, step))))
        start += size
    return parts
