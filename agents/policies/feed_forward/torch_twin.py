"""The feed-forward policy as stable-baselines3 trains it: its mean action, and its tensors for a policy file."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

Array = np.ndarray
Tensors = dict[str, Array]


def linear_layers(state: dict[str, Any], prefixes: tuple[str, ...]) -> Tensors:
    """Number the linear layers found under `prefixes`, in order."""
    names = [
        name.removesuffix(".weight")
        for prefix in prefixes
        for name in state
        if name.startswith(prefix) and name.endswith(".weight")
    ]
    tensors = {}
    for i, name in enumerate(names):
        tensors[f"weight{i}"] = state[f"{name}.weight"].detach().cpu().numpy()
        tensors[f"bias{i}"] = state[f"{name}.bias"].detach().cpu().numpy()
    return tensors


def export(model: Any) -> tuple[Tensors, dict[str, Any]]:
    """Return tensors and settings of a policy file, from a trained actor-critic model."""
    tensors = linear_layers(model.policy.state_dict(), ("mlp_extractor.policy_net.", "action_net"))
    return tensors, {"hidden": "tanh", "output": "identity"}


def mean_action(policy: Any, observations: Tensor) -> Tensor:
    """Return mean actions, [T, rows, knobs], for whole runs' normalised observations, [T, rows, features]."""
    mean = policy.get_distribution(observations.flatten(0, 1)).distribution.mean
    return mean.unflatten(0, observations.shape[:2])
