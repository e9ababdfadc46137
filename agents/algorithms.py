"""The stable-baselines3 algorithms that train controllers, one row of data each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from torch import Tensor

from optenv.control.controller import Interface
from optenv.control.policy import MlpController, PolicyFile
from optenv.control.recurrent import LstmController
from optenv.errors import missing_extra, unknown_name

Array = np.ndarray
Tensors = dict[str, Array]


@dataclass(frozen=True)
class Algorithm:
    """One way to train a policy.

    Attributes:
      name: as in `--agent ppo`.
      module: where its class lives.
      class_name: the class.
      policy: the policy's name there.
      settings: keyword arguments of the class.
      kind: kind of the policy file it exports to.
      export: from the trained model to (tensors, settings) of a policy file.
      off_policy: whether it learns from a replay buffer.
      extra: the extra that brings it, if any.
      mean: from its policy and whole runs' normalised observations, [T, rows, features], to mean actions,
        [T, rows, knobs]; None where it cannot imitate.
      recurrent: whether the mean depends on what came before.
    """

    name: str
    module: str
    class_name: str
    policy: str
    settings: dict[str, Any]
    kind: str
    export: Callable[[Any], tuple[Tensors, dict[str, Any]]]
    off_policy: bool = False
    extra: str | None = None
    mean: Callable[[Any, Tensor], Tensor] | None = None
    recurrent: bool = False

    def load_class(self) -> Any:
        """Return the algorithm's class.

        Raises:
          ImportError: if its package is not installed.
        """
        try:
            return getattr(import_module(self.module), self.class_name)
        except ImportError:
            raise missing_extra(self.module, self.extra or "rl") from None


def _linear_layers(state: dict[str, Any], prefixes: tuple[str, ...]) -> Tensors:
    """Number the linear layers found under `prefixes`, in order."""
    names = [name.removesuffix(".weight") for prefix in prefixes for name in state
             if name.startswith(prefix) and name.endswith(".weight")]  # fmt: skip
    tensors = {}
    for i, name in enumerate(names):
        tensors[f"weight{i}"] = state[f"{name}.weight"].detach().cpu().numpy()
        tensors[f"bias{i}"] = state[f"{name}.bias"].detach().cpu().numpy()
    return tensors


def _export_actor_critic(model: Any) -> tuple[Tensors, dict[str, Any]]:
    tensors = _linear_layers(model.policy.state_dict(), ("mlp_extractor.policy_net.", "action_net"))
    return tensors, {"hidden": "tanh", "output": "identity"}


def _export_sac(model: Any) -> tuple[Tensors, dict[str, Any]]:
    tensors = _linear_layers(model.actor.state_dict(), ("latent_pi.", "mu"))
    return tensors, {"hidden": "relu", "output": "tanh"}


def _export_td3(model: Any) -> tuple[Tensors, dict[str, Any]]:
    return _linear_layers(model.actor.state_dict(), ("mu.",)), {"hidden": "relu", "output": "tanh"}


def _export_recurrent(model: Any) -> tuple[Tensors, dict[str, Any]]:
    state = model.policy.state_dict()
    tensors = _linear_layers(state, ("mlp_extractor.policy_net.", "action_net"))
    for short, name in (("lstm_input", "weight_ih_l0"), ("lstm_hidden", "weight_hh_l0"),
                        ("lstm_input_bias", "bias_ih_l0"), ("lstm_hidden_bias", "bias_hh_l0")):  # fmt: skip
        tensors[short] = state[f"lstm_actor.{name}"].detach().cpu().numpy()
    return tensors, {"hidden": "tanh", "output": "identity"}


def _mean_actor_critic(policy: Any, observations: Tensor) -> Tensor:
    mean = policy.get_distribution(observations.flatten(0, 1)).distribution.mean
    return mean.unflatten(0, observations.shape[:2])


def _mean_recurrent(policy: Any, observations: Tensor) -> Tensor:
    hidden, _ = policy.lstm_actor(observations)  # from the zero state, with which episodes begin
    return policy.action_net(policy.mlp_extractor.forward_actor(hidden))


def _linear_schedule(rate: float) -> Callable[[float], float]:
    return lambda remaining: rate * remaining + 1e-5


_ON_POLICY: dict[str, Any] = {
    "n_steps": 40, "batch_size": 1200, "n_epochs": 10, "gamma": 1.0, "gae_lambda": 0.98, "ent_coef": 0.0,
    "learning_rate": _linear_schedule(1e-3), "target_kl": 0.03,
}  # fmt: skip
_OFF_POLICY: dict[str, Any] = {
    "gamma": 1.0, "buffer_size": 200_000, "batch_size": 1024, "learning_starts": 19_200, "train_freq": (1, "step"),
    "gradient_steps": 4, "learning_rate": 5e-4,
}  # fmt: skip

_NETWORK = {"policy_kwargs": {"net_arch": [64, 64], "log_std_init": -1.5}}
_RECURRENT = {"policy_kwargs": {"net_arch": [64], "log_std_init": -0.7, "lstm_hidden_size": 32}}
_OFF_POLICY_NETWORK = {"policy_kwargs": {"net_arch": [64, 64]}}

ALGORITHMS: dict[str, Algorithm] = {
    row.name: row
    for row in (
        Algorithm("ppo", "agents.balanced", "BalancedPPO", "MlpPolicy", _ON_POLICY | _NETWORK,
                  MlpController.kind, _export_actor_critic, mean=_mean_actor_critic),
        Algorithm("recurrent_ppo", "sb3_contrib", "RecurrentPPO", "MlpLstmPolicy", _ON_POLICY | _RECURRENT,
                  LstmController.kind, _export_recurrent, extra="rl", mean=_mean_recurrent, recurrent=True),
        Algorithm("sac", "stable_baselines3", "SAC", "MlpPolicy", _OFF_POLICY | _OFF_POLICY_NETWORK,
                  MlpController.kind, _export_sac, off_policy=True),
        Algorithm("td3", "stable_baselines3", "TD3", "MlpPolicy", _OFF_POLICY | _OFF_POLICY_NETWORK,
                  MlpController.kind, _export_td3, off_policy=True),
    )
}  # fmt: skip


def get_algorithm(name: str) -> Algorithm:
    """Return the algorithm registered as `name`.

    Raises:
      ValueError: if there is none.
    """
    if name not in ALGORITHMS:
        raise unknown_name("agent", name, ALGORITHMS)
    return ALGORITHMS[name]


def export_policy(algorithm: Algorithm, model: Any, interface: Interface, notes: dict[str, Any]) -> PolicyFile:
    """Write a trained model down as a portable policy, with the observation statistics it learned under."""
    tensors, settings = algorithm.export(model)
    statistics = model.get_vec_normalize_env().obs_rms
    tensors["mean"] = statistics.mean.astype(np.float32)
    tensors["std"] = np.sqrt(statistics.var + 1e-8).astype(np.float32)
    return PolicyFile(algorithm.kind, interface, tensors, settings, notes)
