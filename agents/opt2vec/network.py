"""The policy's network in torch, to differentiate it; the same tensors as `HistoryController`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": F.relu,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "identity": lambda x: x,
}


def actions(tensors: Mapping[str, Tensor], activation: str, inputs: Tensor) -> Tensor:
    """Return the actions, [..., knobs], for windows of the past, [..., inputs]; see `HistoryController`."""
    f = ACTIVATIONS[activation]
    hidden = f(F.linear(inputs, tensors["weight0"], tensors["bias0"]))
    embedding = f(F.linear(hidden, tensors["weight1"], tensors["bias1"]))
    return torch.tanh(F.linear(embedding, tensors["head_weight"], tensors["head_bias"]))
