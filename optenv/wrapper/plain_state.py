"""Plain values from tensors: at once for checkpoints, deferred for what a device has yet to compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

Result = TypeVar("Result")


def to_plain(state: Any) -> Any:
    """Copy a state into what `torch.load(weights_only=True)` reads: dicts, lists, tensors and Python numbers.

    >>> to_plain({"a": np.zeros(2), "b": (np.float64(1.5), None)})
    {'a': tensor([0., 0.], dtype=torch.float64), 'b': [1.5, None]}
    """
    if isinstance(state, Mapping):
        return {name: to_plain(value) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [to_plain(value) for value in state]
    if isinstance(state, np.ndarray):
        return torch.tensor(state)
    if isinstance(state, Tensor):
        return state.detach().cpu().clone()
    return state.item() if isinstance(state, np.generic) else state


def from_plain(state: Any) -> Any:
    """Copy back what `to_plain` returned, with numpy arrays for tensors.

    >>> from_plain({"a": torch.ones(2), "b": [1.5, None]})
    {'a': array([1., 1.], dtype=float32), 'b': [1.5, None]}
    """
    if isinstance(state, Mapping):
        return {name: from_plain(value) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [from_plain(value) for value in state]
    return state.detach().cpu().numpy().copy() if isinstance(state, Tensor) else state


class DeferredResult(Generic[Result]):
    """A result of numbers that are on their way from a device to the host; reading it at once synchronises."""

    def __init__(self, vector: Tensor, finish: Callable[[np.ndarray], Result]):
        """Start to copy the numbers to the host, behind the work that was queued before.

        Args:
          vector: the numbers, on any device.
          finish: from the numbers, float64, to the result.
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
