"""The policy's network in torch, to differentiate it; the same tensors as `WindowedMlpController`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from agents.policies.opt2vec.controller import WindowedMlpController
from optenv.control.policy_file import PolicyFile
from optenv.registry import Registry

ACTIVATIONS: Registry[Callable[[Tensor], Tensor]] = Registry(
    "activation",
    [
        ("tanh", torch.tanh),
        ("relu", F.relu),
        ("gelu", partial(F.gelu, approximate="tanh")),
        ("silu", F.silu),
        ("identity", lambda x: x),
    ],
)


class WindowedMlpTwin:
    """From windows of the past, [..., inputs], to actions, [..., knobs]; see `WindowedMlpController`.

    Attributes:
      weights: by the names of the policy file.
    """

    def __init__(self, file: PolicyFile):
        """Take the weights of a policy file."""
        self._file, self._activation = file, ACTIVATIONS[file.settings["activation"]]
        self.weights = {k: torch.tensor(np.asarray(v), requires_grad=True) for k, v in file.tensors.items()}

    def parameters(self) -> Iterable[Tensor]:
        """Return the weights."""
        return self.weights.values()

    def prepare(self, seen: np.ndarray) -> Tensor:
        """Turn windows into inputs: they are taken as they are."""
        return torch.as_tensor(seen)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the actions."""
        t, f = self.weights, self._activation
        hidden = f(F.linear(inputs, t["weight0"], t["bias0"]))
        embedding = f(F.linear(hidden, t["weight1"], t["bias1"]))
        return torch.tanh(F.linear(embedding, t["head_weight"], t["head_bias"]))

    def policy(self, **notes: Any) -> WindowedMlpController:
        """Return the policy as it is now, a copy, with notes for its file."""
        tensors = {name: weight.detach().numpy().copy() for name, weight in self.weights.items()}
        return WindowedMlpController(replace(self._file, tensors=tensors, notes={**self._file.notes, **notes}))
