"""Numbers on their way from a device to the host, so that nobody waits for a step that has just begun."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

Result = TypeVar("Result")


class Transfer(Generic[Result]):
    """One vector, copied to the host behind the work that was queued before it; `read` waits for the copy alone."""

    def __init__(self, vector: Tensor, finish: Callable[[np.ndarray], Result]):
        """Start the copy.

        Args:
          vector: what is moved, on any device.
          finish: from its numbers, float64, to the result.
        """
        self._finish, self._event = finish, None
        if vector.device.type == "cuda":
            self._host = torch.empty(vector.shape, dtype=vector.dtype, pin_memory=True)
            self._host.copy_(vector, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._host = vector

    def read(self) -> Result:
        """Wait for the numbers and return the result."""
        if self._event is not None:
            self._event.synchronize()
        return self._finish(self._host.cpu().numpy().astype(np.float64))
