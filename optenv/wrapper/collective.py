"""Sums over the processes ("ranks") that train one model together; knows nothing of what is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

Array = np.ndarray


class Collective:
    """Adds up tensors over the ranks of a process group; every rank gets the same sums.

    Attributes:
      rank: of this process within the group.
      size: number of ranks.
    """

    def __init__(self, process_group: Any, device: torch.device):
        """Use `process_group`; tensors are added up on `device`, or on the accelerator where the backend is NCCL."""
        self._group = process_group
        self.rank, self.size = dist.get_rank(process_group), dist.get_world_size(process_group)
        wants_cuda = dist.get_backend(process_group) == "nccl" and device.type == "cpu"
        self._device = torch.device("cuda") if wants_cuda else device

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all ranks, a copy, on the device where it was added up."""
        summed = tensor.detach().to(self._device, copy=True)
        dist.all_reduce(summed, group=self._group)
        return summed

    def sum_of_groups(self, values: Tensor, sharded: Tensor) -> Tensor:
        """Add up what the ranks have of each parameter group.

        Args:
          values: [..., G].
          sharded: which groups are spread over the ranks, [G] bool; the others are the same on each and count once.

        Returns:
          The sums, of the shape, type and device of `values`.
        """
        return self.sum(self.own_share(values.double(), sharded)).to(values)

    def own_share(self, values: Tensor, sharded: Tensor) -> Tensor:
        """Return what this rank adds to a sum over groups, [..., G]: of unsharded ones all on the first rank."""
        return torch.where(sharded.to(values.device) | (self.rank == 0), values, 0.0)


def collective_of(process_group: Any, device: torch.device) -> Collective | None:
    """Return the collective of the processes that train together, or None for a process that trains alone.

    Args:
      process_group: theirs; None stands for all of torch.distributed's where that is initialised, False for none.
      device: where the parameters are.

    Raises:
      ValueError: if this process does not belong to the group.
    """
    if process_group is False or not (dist.is_available() and dist.is_initialized()):
        return None
    if dist.get_rank(process_group) < 0:
        raise ValueError("process_group: expected one that this process belongs to; received another")
    return None if dist.get_world_size(process_group) == 1 else Collective(process_group, device)
