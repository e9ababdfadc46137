"""Dealing out the environments of a rollout so that worker processes are equally busy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from optenv import tasks

# A stacked inner step costs about as much as this many multiply-adds before it does any.
OVERHEAD = 3e6


@lru_cache(maxsize=1024)
def _size(task: tasks.Task) -> int:
    return sum(p.numel() for p in task.init(torch.Generator().manual_seed(0)).values())


def cost(settings: dict[str, Any]) -> float:
    """Estimate what a slot with these settings costs per run of its budget, in multiply-adds of a single run."""
    task = tasks.get(settings["task"])
    work = _size(task) * task.batch_size if isinstance(task, tasks.Task) else 0.0
    return (OVERHEAD / 20 + work) * settings["num_inner_steps"]


def share_out(costs: Sequence[float], num_shares: int) -> list[list[int]]:
    """Divide jobs among workers, dearest first, each to the one with least to do (Graham 1969).

    Args:
      costs: of the jobs, positive.
      num_shares: workers, at most as many as jobs; each gets at least one.

    Returns:
      For each worker, the indices of its jobs.

    >>> share_out([1.0, 3.0, 1.0], 2)
    [[1], [0, 2]]
    """
    shares: list[list[int]] = [[] for _ in range(num_shares)]
    loads = [0.0] * num_shares
    for job in sorted(range(len(costs)), key=lambda job: -costs[job]):
        least = min(range(num_shares), key=lambda w: loads[w])
        shares[least].append(job)
        loads[least] += costs[job]
    return shares
