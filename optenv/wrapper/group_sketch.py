"""The sketch of real parameter groups: a few strided coordinates of each, whatever the kind of its tensors.

Tensors may be dense or sparse, real or complex, and whole or sharded over several processes (`DTensor`, as
`fully_shard` makes them).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optenv.control.numpy_sketch import coordinates_per_group, stride
from optenv.wrapper.param_groups import ParamGroup, matched


class GroupSketch:
    """Reads the sketches of torch parameter groups: the coordinates `sketch_index` names, without copying the rest.

    Attributes:
      limits: most coordinates of each group, [G].
      lengths: coordinates in each group's sketch, [G].
      width: the longest of them, S, at least 1.
      sharded: which groups are spread over several processes, so that this one reads but a part of them, [G] bool.
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
          The sketch, and what `matched` returns.
        """
        sources, same = matched([self._held(g) for g in range(len(self.lengths))], groups)
        limit = coordinates_per_group(len(groups))
        return GroupSketch(groups, [self.limits[s] if s >= 0 else limit for s in sources]), sources, same

    def weights(self) -> Tensor:
        """Return the sketch of the weights, [1, G, S], a copy, on their device."""
        return self._read(lambda p: p)

    def gradient(self, groups: Sequence[int] | None = None, held: set[int] | None = None) -> Tensor:
        """Return the sketch of the gradients, [1, G, S], or of some groups' alone; 0 where a parameter has none.

        Args:
          groups: indices of those; None for all.
          held: the `parameters` of the moment; one that is not among them counts as one without a gradient.
        """
        return self._read(lambda p: p.grad if held is None or id(p) in held else None, groups)

    def without_gradient(self, held: set[int] | None = None) -> list[int]:
        """Return the indices of the groups that have no gradient at all; for `held` see `gradient`."""
        starts = self._starts
        seen = [p.grad is not None and (held is None or id(p) in held) for p in self._params]
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
            tensor = _local(tensor)
        piece = strided(tensor, self._first[i], self._step[group], self._count[i])
        return piece if self._one_device else piece.to(self._nothing.device)


def parameters(groups: Iterable[ParamGroup]) -> set[int]:
    """Return the identities of the parameters that groups hold."""
    return {id(p) for group in groups for p in group["params"]}


def _coordinates(params: Sequence[Tensor], sizes: Sequence[int], step: int) -> list[tuple[int, int]]:
    """Return each parameter's (first coordinate, count): every `step`-th of the group's concatenation.

    Of sharded parameters those that this process holds: all processes together read the same as one would.
    """
    mesh = next((p.device_mesh for p in params if is_sharded(p)), None)  # type: ignore[attr-defined]
    parts, start = [], 0
    for p, size in zip(params, sizes, strict=True):
        offset, held = (0, size) if mesh is None else _part_to_read(p, mesh)
        first = -(start + offset) % step
        parts.append((first, len(range(first, held, step))))
        start += size
    return parts


def real_size(tensor: Tensor) -> int:
    """Return the number of real coordinates; a complex number has two.

    >>> real_size(torch.zeros(3)), real_size(torch.zeros(3, dtype=torch.complex64))
    (3, 6)
    """
    return tensor.numel() * (2 if tensor.is_complex() else 1)


def strided(tensor: Tensor, first: int, step: int, count: int) -> Tensor:
    """Return `count` real coordinates of the flattened tensor, every `step`-th from `first` on, without densifying it.

    >>> strided(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, 2, 2).tolist()
    [2.0, 4.0]
    >>> strided(torch.tensor([[0.0, 0.0], [3.0, 4.0]]).to_sparse(), 1, 2, 2).tolist()
    [0.0, 4.0]
    """
    if tensor.is_sparse:
        wanted = torch.arange(first, first + step * count, step, device=tensor.device)
        return _strided_of_sparse(tensor.coalesce(), wanted)
    if tensor.is_contiguous() and not tensor.is_complex():
        return tensor.as_strided((count,), (step,), tensor.storage_offset() + first)  # the cheapest view
    return _real(tensor).reshape(-1)[first::step]


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _strided_of_sparse(tensor: Tensor, wanted: Tensor) -> Tensor:
    values, sparse = _real(tensor.values()), tensor.shape[: tensor.sparse_dim()]
    if not len(values):
        return torch.zeros(len(wanted), dtype=values.dtype, device=values.device)
    width = real_size(tensor) // math.prod(sparse)
    # The stored blocks' places among all blocks; ascending, since the tensor is coalesced.
    places = torch.zeros_like(tensor.indices()[0])
    for index, size in zip(tensor.indices(), sparse, strict=True):
        places = places * size + index
    block = torch.searchsorted(places, wanted // width).clamp(max=len(places) - 1)
    found = places[block] == wanted // width
    return torch.where(found, values.reshape(len(places), width)[block, wanted % width], 0)


def is_sharded(tensor: Tensor) -> bool:
    """Say whether this process holds but a part of the tensor.

    >>> is_sharded(torch.zeros(2))
    False
    """
    return any(not placement.is_replicate() for placement in getattr(tensor, "placements", ()))


def _local(tensor: Any) -> Any:
    """Return what this process holds of a sharded tensor. Unsharded values are returned unchanged."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


@torch.no_grad()
def _part_to_read(parameter: Any, mesh: Any) -> tuple[int, int]:
    """Return which real coordinates of a parameter this process reads, so that each is read by one.

    Args:
      parameter: of a group of which at least one parameter is sharded.
      mesh: the processes that parameter is sharded over.

    Returns:
      The place of the first within the whole, flattened parameter, and their number. Where a parameter is not
      split along its first dimension they do not follow each other in the whole; their number is right.
    """
    if not hasattr(parameter, "placements"):
        return 0, real_size(parameter) if not any(mesh.get_coordinate()) else 0
    places = zip(parameter.placements, parameter.device_mesh.get_coordinate(), strict=True)
    if any(place > 0 for placement, place in places if placement.is_replicate()):
        return 0, 0
    (chunk,) = parameter.__create_chunk_list__()
    widths = torch.tensor([1, *reversed(parameter.shape[1:])]).cumprod(0).flip(0).tolist()
    first = sum(offset * width for offset, width in zip(chunk.offsets, widths, strict=False))
    return first * (2 if parameter.is_complex() else 1), real_size(_local(parameter))
