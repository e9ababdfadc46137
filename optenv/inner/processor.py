"""Two habits of the processor and the allocator that cost a step more than its arithmetic, and what ends them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALLEST = sys.float_info.min  # half of it is a denormal
MALLOC_THRESHOLD = 30 * 2**20


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Take numbers below 1e-38 as 0 inside, on this thread, and leave the processor's setting as it was.

    The momentum of a unit that gets no gradient decays into them, and each costs the processor as much as a
    hundred others.
    """
    already = SMALLEST * 0.5 == 0.0  # torch tells in no other way
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


def keep_freed_memory() -> None:
    """Teach glibc's allocator not to return blocks of up to 30 MB to the system at once.

    It learns from the largest block it has seen freed, mallopt(3). Before, the temporaries of a step
    can cost it as much in page faults as in arithmetic. Elsewhere this does nothing.
    """
    torch.empty(MALLOC_THRESHOLD, dtype=torch.uint8)
