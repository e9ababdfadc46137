"""Models of stable-baselines3 as policy files, whether trained on the per-group view or on the plain environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from agents.policies.feed_forward import torch_twin as feed_forward
from agents.policies.feed_forward.controller import FlatMlpController, MlpController
from agents.policies.feed_forward.torch_twin import Tensors, linear_layers
from agents.policies.recurrent import torch_twin as recurrent
from agents.policies.recurrent.controller import LstmController
from optenv.control.controller import Interface
from optenv.control.features import num_run_features
from optenv.control.policy_file import PolicyFile

Array = np.ndarray
CLIP = 10.0  # of normalised observations, here and in stable-baselines3's VecNormalize by default
ACTIVATIONS: dict[type[nn.Module], str] = {nn.Tanh: "tanh", nn.ReLU: "relu", nn.GELU: "gelu", nn.SiLU: "silu"}


def export_sac(model: Any) -> tuple[Tensors, dict[str, Any]]:
    """Return tensors and settings of a policy file, from a trained model of SAC."""
    tensors = linear_layers(model.actor.state_dict(), ("latent_pi.", "mu"))
    return tensors, {"hidden": "relu", "output": "tanh"}


def export_td3(model: Any) -> tuple[Tensors, dict[str, Any]]:
    """Return tensors and settings of a policy file, from a trained model of TD3 or DDPG."""
    return linear_layers(model.actor.state_dict(), ("mu.",)), {"hidden": "relu", "output": "tanh"}


@dataclass(frozen=True)
class ModelKind:
    """How the models of an algorithm are exported.

    Attributes:
      export: from the model to (tensors, settings) of a policy file.
      per_group: kind of the file where it saw one group at a time.
      plain: kind where it saw all groups of the plain environment at once; None where there is none.
    """

    export: Callable[[Any], tuple[Tensors, dict[str, Any]]]
    per_group: str = MlpController.kind
    plain: str | None = FlatMlpController.kind


# By the name of the algorithm's class; a subclass counts as what it is derived from.
KINDS = {
    "RecurrentPPO": ModelKind(recurrent.export, LstmController.kind, None),
    "PPO": ModelKind(feed_forward.export),
    "A2C": ModelKind(feed_forward.export),
    "SAC": ModelKind(export_sac),
    "TD3": ModelKind(export_td3),
}


def export(model: Any, path: str | Path) -> Path:
    """Write a trained model of stable-baselines3 down as a controller file, which executes nothing when it is read.

    A model trained on the per-group view (`agents.training.group_env.GroupVecEnv`) steers any number of parameter
    groups; one trained on `OptControl-v0` itself steers runs of just as many as it was trained on.

    Args:
      model: PPO, A2C, RecurrentPPO, SAC, TD3 or DDPG with its environment, which says what it observed and turned;
        the statistics of a `VecNormalize` around that are exported too. What it deploys is its mean action.
      path: where to, ending in `.safetensors`.

    Returns:
      The path, for `agents.load` or `ControlledOptimizer`.

    Raises:
      ValueError: if the path ends otherwise, or the model is of a kind that no controller of ours computes.
    """
    if (path := Path(path)).suffix != ".safetensors":
        raise ValueError(f"path: expected one that ends in .safetensors; received {str(path)!r}")
    policy_of(model).write(path)
    return path


def policy_of(model: Any) -> PolicyFile:
    """Return the policy of a trained model; see `export`.

    Raises:
      ValueError: if it is of a kind that no controller of ours computes.
    """
    kind = _kind(model)
    interface, groups = _seen(model)
    tensors, settings = kind.export(model)
    name = kind.per_group
    if groups is not None:
        if kind.plain is None:
            raise ValueError(
                f"model: expected {type(model).__name__} trained on the per-group view, GroupVecEnv; "
                "received one trained on the plain environment"
            )
        name, settings = kind.plain, settings | {"groups": groups}
    settings["hidden"] = _activation(model)
    notes = {"agent": type(model).__name__, "timesteps": int(model.num_timesteps)}
    return PolicyFile(name, interface, tensors | _statistics(model), settings, notes)


def _kind(model: Any) -> ModelKind:
    names = [cls.__name__ for cls in type(model).__mro__]
    kind = next((KINDS[name] for name in names if name in KINDS), None)
    if kind is None or not hasattr(model, "policy"):
        raise ValueError(f"model: expected one of {', '.join(KINDS)} of stable-baselines3; received {names[0]}")
    owner = getattr(model, "actor", None) or model.policy
    extractor = type(getattr(owner, "features_extractor", None) or model.policy.features_extractor).__name__
    if extractor != "FlattenExtractor":
        raise ValueError(f"model: expected a FlattenExtractor, which changes nothing; received {extractor}")
    return kind


def _activation(model: Any) -> str:
    function = model.policy.activation_fn
    if function not in ACTIVATIONS:
        known = ", ".join(cls.__name__ for cls in ACTIVATIONS)
        raise ValueError(f"model: expected an activation_fn of {known}; received {function.__name__}")
    return ACTIVATIONS[function]


def _seen(model: Any) -> tuple[Interface, int | None]:
    """Return what the model observed and turned, and of how many groups at once; None of one, whichever it was."""
    env = model.get_env()
    if env is None:
        raise ValueError("model: expected one with its environment; received none. Load it with env=, or call set_env")
    try:
        return env.get_attr("interface")[0], None
    except AttributeError:
        pass
    try:
        settings = env.get_attr("settings")[0]
        interface = settings.interface
    except AttributeError as error:
        raise ValueError("model: expected one trained on OptControl-v0 or GroupVecEnv; received another") from error
    budget = settings.num_inner_steps if isinstance(settings.num_inner_steps, int) else settings.num_inner_steps[1]
    run, (size,) = num_run_features(interface.features), model.observation_space.shape
    groups = (size - run) // (len(interface.features) - run)
    if model.action_space.shape != (groups * len(interface.knobs),):
        raise ValueError(
            f"model: expected observations and actions of the environment itself; received {size} observed numbers "
            f"and actions of shape {model.action_space.shape}"
        )
    return replace(interface, decisions=max(1, round(budget / settings.steps_per_action))), groups


def _statistics(model: Any) -> Tensors:
    """Return mean and standard deviation of the observations, 0 and 1 where they were not normalised."""
    env = model.get_vec_normalize_env()
    if env is None or not env.norm_obs:
        (size,) = model.observation_space.shape
        return {"mean": np.zeros(size, np.float32), "std": np.ones(size, np.float32)}
    if env.clip_obs != CLIP:
        raise ValueError(f"VecNormalize: expected clip_obs={CLIP:g}; received {env.clip_obs:g}")
    deviation = np.sqrt(env.obs_rms.var + env.epsilon)
    return {"mean": env.obs_rms.mean.astype(np.float32), "std": deviation.astype(np.float32)}
