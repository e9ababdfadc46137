"""A few strided coordinates of one tensor, whatever its kind: dense or sparse, real or complex."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
