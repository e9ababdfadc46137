"""Parameter groups of a real model: one per layer, and what control sees of each."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
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
      sizes: number of real coordinates that each group has, [G].
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
        self.limits = [coordinates_per_group(len(groups))] * len(groups) if limits is None else list(limits)
        self._params = [list(group["params"]) for group in groups]
        self.sharded = torch.tensor([any(map(is_sharded, params)) for params in self._params], dtype=torch.bool)
        self._any_sharded = bool(self.sharded.any())
        parts = [_coordinates(*pair) for pair in zip(self._params, self.limits, strict=True)]
        self.sizes = [sum(map(real_size, params)) for params in self._params]
        self.lengths = [sum(count for *_, count in part) for part in parts]
        self.width = max([1, *self.lengths])
        # By parameter, in packed arrays: as objects they would weigh more than the sketch itself.
        flat = [part[1:] for own in parts for part in own]
        self._first, self._step, self._count = (array("q", [part[i] for part in flat]) for i in range(3))
        first = next((p for params in self._params for p in params), torch.zeros(()))
        self._nothing = torch.zeros(self.width, device=first.device)

    @property
    def mask(self) -> Tensor:
        """1 where a coordinate of the sketch exists, [G, S]."""
        return (torch.arange(self.width) < torch.tensor(self.lengths, dtype=torch.int64)[:, None]).float()

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
        """Return the sketch of the weights, [1, G, S], a copy, on their device."""
        return self._read(lambda p: p)

    def gradient(self, groups: Sequence[int] | None = None) -> Tensor:
        """Return the sketch of the gradients, [1, G, S], or of some groups' alone; 0 where a parameter has none."""
        return self._read(lambda p: p.grad, groups)

    def without_gradient(self) -> list[int]:
        """Return the indices of the groups that have no gradient at all."""
        return [g for g, params in enumerate(self._params) if all(p.grad is None for p in params)]

    @torch.no_grad()
    def _read(self, of: Callable[[Tensor], Tensor | None], groups: Sequence[int] | None = None) -> Tensor:
        chosen = range(len(self._params)) if groups is None else groups
        pieces: list[Tensor] = []
        device = self._nothing.device
        starts = None if groups is None else list(accumulate(map(len, self._params), initial=0))
        at = 0
        for g in chosen:
            at = at if starts is None else starts[g]
            for p in self._params[g]:
                first, step, count = self._first[at], self._step[at], self._count[at]
                at += 1
                if count:
                    tensor = local(of(p)) if self._any_sharded else of(p)
                    piece = self._nothing[:count] if tensor is None else strided(tensor, first, step)
                    pieces.append(piece if piece.device == device else piece.to(device))
            if self.lengths[g] < self.width:
                pieces.append(self._nothing[: self.width - self.lengths[g]])
        flat = torch.cat(pieces) if pieces else self._nothing[:0]
        return flat.float().view(1, len(chosen), self.width)


def _identical(params: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(params) == len(others) and all(map(is_, params, others))


def _coordinates(params: Sequence[Tensor], limit: int) -> list[tuple[Tensor, int, int, int]]:
    """Return (parameter, first coordinate, stride, count): every stride-th of the group's concatenation.

    Of sharded parameters those that this process holds: all processes together read the same as one would.
    """
    sizes = list(map(real_size, params))
    step = stride(sum(sizes), limit)
    mesh = next((p.device_mesh for p in params if is_sharded(p)), None)  # type: ignore[attr-defined]
    parts, start = [], 0
    for p, size in zip(params, sizes, strict=True):
        offset, held = (0, size) if mesh is None else part_to_read(p, mesh)
        first = -(start + offset) % step
        parts.append((p, first, step, len(range(first, held, step))))
        start += size
    return parts
