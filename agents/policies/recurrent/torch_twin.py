"""The recurrent policy as stable-baselines3 trains it: its mean action, and its tensors for a policy file."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from agents.policies.feed_forward.torch_twin import Tensors, linear_layers


def export(model: Any) -> tuple[Tensors, dict[str, Any]]:
    """Return tensors and settings of a policy file, from a trained recurrent model."""
    state = model.policy.state_dict()
    tensors = linear_layers(state, ("mlp_extractor.policy_net.", "action_net"))
    for short, name in (
        ("lstm_input", "weight_ih_l0"),
        ("lstm_hidden", "weight_hh_l0"),
        ("lstm_input_bias", "bias_ih_l0"),
        ("lstm_hidden_bias", "bias_hh_l0"),
    ):
        tensors[short] = state[f"lstm_actor.{name}"].detach().cpu().numpy()
    return tensors, {"hidden": "tanh", "output": "identity"}


def mean_action(policy: Any, observations: Tensor) -> Tensor:
    """Return mean actions, [T, rows, knobs], for whole runs' normalised observations, [T, rows, features]."""
    hidden, _ = policy.lstm_actor(observations)  # from the zero state, with which episodes begin
    return policy.action_net(policy.mlp_extractor.forward_actor(hidden))
