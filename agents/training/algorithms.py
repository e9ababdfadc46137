"""The stable-baselines3 algorithms that train controllers, one row of data each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.policies.feed_forward import torch_twin as feed_forward
from agents.policies.feed_forward.controller import MlpController
from agents.policies.recurrent import torch_twin as recurrent
from agents.policies.recurrent.controller import LstmController
from agents.policies.stable_baselines import export_sac, export_td3
from optenv.control.controller import Interface
from optenv.control.policy_file import PolicyFile
from optenv.errors import needed_for
from optenv.registry import Registry, by_name

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
      mean: from its policy and whole runs' normalised observations, [T, rows, features], to mean actions,
        [T, rows, knobs]; None where it cannot imitate.
    """

    name: str
    module: str
    class_name: str
    policy: str
    settings: dict[str, Any]
    kind: str
    export: Callable[[Any], tuple[Tensors, dict[str, Any]]]
    off_policy: bool = False
    mean: Callable[[Any, Tensor], Tensor] | None = None

    def load_class(self) -> Any:
        """Return the algorithm's class.

        Raises:
          ImportError: if its package is not installed.
        """
        with needed_for(f"training with {self.name}"):
            return getattr(import_module(self.module), self.class_name)


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

ALGORITHMS: Registry[Algorithm] = by_name(
    "agent",
    (
        Algorithm("ppo", "agents.training.group_env", "BalancedPPO", "MlpPolicy", _ON_POLICY | _NETWORK,
                  MlpController.kind, feed_forward.export, mean=feed_forward.mean_action),
        Algorithm("recurrent_ppo", "sb3_contrib", "RecurrentPPO", "MlpLstmPolicy", _ON_POLICY | _RECURRENT,
                  LstmController.kind, recurrent.export, mean=recurrent.mean_action),
        Algorithm("sac", "stable_baselines3", "SAC", "MlpPolicy", _OFF_POLICY | _OFF_POLICY_NETWORK,
                  MlpController.kind, export_sac, off_policy=True),
        Algorithm("td3", "stable_baselines3", "TD3", "MlpPolicy", _OFF_POLICY | _OFF_POLICY_NETWORK,
                  MlpController.kind, export_td3, off_policy=True),
    ),
)  # fmt: skip


class PolicyTwin:
    """An actor-critic model's policy, and its environment's observation statistics, as imitation fits it."""

    def __init__(self, algorithm: Algorithm, model: Any, env: Any):
        """Take the model; `env` has seen what it will be fitted to."""
        self._algorithm, self._policy, self._env = algorithm, model.policy, env

    def parameters(self) -> Iterable[Tensor]:
        """Return what is fitted."""
        return self._policy.parameters()

    def prepare(self, seen: Array) -> Tensor:
        """Normalise observations, [T, rows, features]."""
        return torch.as_tensor(self._env.normalize_obs(seen))

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return mean actions, [T, rows, knobs]."""
        assert self._algorithm.mean is not None
        return self._algorithm.mean(self._policy, inputs)


def export_policy(algorithm: Algorithm, model: Any, interface: Interface, notes: dict[str, Any]) -> PolicyFile:
    """Write a trained model down as a portable policy, with the observation statistics it learned under."""
    tensors, settings = algorithm.export(model)
    statistics = model.get_vec_normalize_env().obs_rms
    tensors["mean"] = statistics.mean.astype(np.float32)
    tensors["std"] = np.sqrt(statistics.var + 1e-8).astype(np.float32)
    return PolicyFile(algorithm.kind, interface, tensors, settings, notes)
