"""A head start for reinforcement learning: imitate a plain schedule before improving on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from optenv.control.features import FEATURE_NAMES, UNKNOWN
from optenv.control.knobs import KNOBS

Array = np.ndarray
Teacher = Callable[[Array], Array]
Mean = Callable[[Any, Tensor], Tensor]
FITTING_STEPS = 2000
BATCH = 2048
RATE = 2e-3
PASSES = 50  # over few observations, in place of so many steps


def warmup_linear(observation: Array, peak: float | Array = 3.0, decisions: int = 40) -> Array:
    """Rise by `peak` nats in the first decisions, then fall linearly to 0 at the end of the budget.

    Args:
      observation: raw views of groups, [rows, features].
      peak: log of the highest scale over the first; one number, or one per row.
      decisions: control steps of a run.

    Returns:
      Relative actions of the knob `scale`, [rows, 1].
    """
    wanted = linear_decay(observation[:, FEATURE_NAMES.index("progress")], peak, decisions)
    position = observation[:, FEATURE_NAMES.index("log_scale")] * np.log(10.0)
    return np.clip((wanted - position) / KNOBS["scale"].step, -1.0, 1.0)[:, None]


def linear_decay(progress: Array, peak: float | Array, decisions: int) -> Array:
    """Return the log of the scale over the first that falls linearly from e^peak to 0, [rows]; e^peak where unknown.

    Args:
      progress: share of the budget spent, [rows]; `UNKNOWN` where the budget is.
      peak: one number, or one per row.
      decisions: control steps of a run, to whose edges the progress is rounded.
    """
    left = np.where(progress == UNKNOWN, 1.0, 1.0 - np.floor(progress * decisions + 0.5) / decisions)
    return peak + np.log(np.maximum(left, 0.01))


def imitate(model: Any, env: VecNormalize, teacher: Teacher, mean: Mean, *, decisions: int, seed: int,
            episodes: int = 1, noise: float = 0.3, views: Array | None = None) -> float:  # fmt: skip
    """Fit the mean action of an actor-critic policy to a teacher, on runs it steers and on runs recorded before.

    Args:
      model: a stable-baselines3 actor-critic model.
      env: its environment; its observation statistics take in what is seen.
      teacher: from raw observations to actions of the knob `scale`.
      mean: see `Algorithm`.
      decisions: control steps of an episode.
      seed: of the noise and the fitting batches.
      episodes: how often every environment is steered.
      noise: standard deviation of what is added to the teacher's actions, so that the policy also
        sees how to come back.
      views: raw observations of groups in other runs, [rows, features], if there are any; single ones, for
        policies without memory.

    Returns:
      Mean squared error of the last fitting step.
    """
    generator, knobs = np.random.default_rng(seed), model.action_space.shape[0]
    runs = [_steer(env, teacher, decisions, knobs, noise, generator) for _ in range(episodes)]
    seen = np.concatenate(runs, axis=1)  # [T, rows, features]
    if views is not None:
        shifted = views.astype(np.float32)
        shifted[:, FEATURE_NAMES.index("log_scale")] += generator.normal(0.0, noise, len(views))
        env.obs_rms.update(shifted)
        seen = np.concatenate([seen.reshape(-1, seen.shape[-1]), shifted])[None]
    wanted = _actions(teacher, seen.reshape(-1, seen.shape[-1]), knobs).reshape(*seen.shape[:2], knobs)
    return _fit(model.policy, mean, torch.as_tensor(env.normalize_obs(seen)), torch.as_tensor(wanted), generator)


def _steer(env: VecNormalize, teacher: Teacher, decisions: int, knobs: int, noise: float, generator: np.random.Generator
           ) -> Array:  # fmt: skip
    """Return what is observed in one episode under the teacher and noise, [T, rows, features]."""
    env.reset()
    seen = []
    for _ in range(decisions):
        seen.append(np.asarray(env.get_original_obs()))
        wanted = _actions(teacher, seen[-1], knobs)
        env.step(np.clip(wanted + generator.normal(0.0, noise, wanted.shape), -1.0, 1.0).astype(np.float32))
    return np.stack(seen)


def fitting_steps(rows: int, batch: int) -> int:
    """Return how many batches to fit to that many observations."""
    return min(FITTING_STEPS, PASSES * rows // batch + 1)


def _actions(teacher: Teacher, observation: Array, num_knobs: int) -> Array:
    """Leave every knob but the first, which is `scale`, alone."""
    action = np.zeros((len(observation), num_knobs), np.float32)
    action[:, :1] = teacher(observation)
    return action


def _fit(policy: Any, mean: Mean, seen: Tensor, wanted: Tensor, generator: np.random.Generator) -> float:
    optimizer = torch.optim.Adam(policy.parameters(), lr=RATE)
    loss = torch.tensor(0.0)
    steps, batch = fitting_steps(seen.shape[0] * seen.shape[1], BATCH), max(1, BATCH // len(seen))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * (1.0 - step / steps)
        rows = torch.as_tensor(generator.integers(seen.shape[1], size=batch))
        loss = (mean(policy, seen[:, rows]) - wanted[:, rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())
