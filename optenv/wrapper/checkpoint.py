"""From numpy state to what `torch.load(weights_only=True)` reads, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def to_plain(state: Any) -> Any:
    """Copy a state into dicts, lists, tensors and Python numbers.

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
