"""Parameters spread over several processes (`DTensor`, as `fully_shard` makes them), seen from one of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from optenv.wrapper.coordinates import real_size


def is_sharded(tensor: Tensor) -> bool:
    """Say whether this process holds but a part of the tensor.

    >>> is_sharded(torch.zeros(2))
    False
    """
    return any(not placement.is_replicate() for placement in getattr(tensor, "placements", ()))


def local(tensor: Any) -> Any:
    """Return what this process holds of a tensor; anything that is not spread as it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


@torch.no_grad()
def part_to_read(parameter: Any, mesh: Any) -> tuple[int, int]:
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
    return first * (2 if parameter.is_complex() else 1), real_size(local(parameter))
