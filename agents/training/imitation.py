"""Imitation, the first stage of every recipe: a policy learns to answer as a teacher does, on runs that it steers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from tqdm import tqdm

from agents.rules import auto
from optenv.control.controller import Controller, Interface
from optenv.control.features import UNKNOWN
from optenv.control.knobs import KNOBS

Array = np.ndarray
NOISE = 0.3  # standard deviation of what is added to actions, or to the log of a rate


class Twin(Protocol):
    """A policy in torch, to be fitted."""

    def parameters(self) -> Iterable[Tensor]:
        """Return what is fitted."""

    def prepare(self, seen: Array) -> Tensor:
        """Turn what was seen, [T, rows, inputs], into the network's inputs; take statistics of it where it has any."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the answers, [T, rows, outputs], to whole runs, [T, rows, inputs]."""


class Teacher(Controller):
    """Steers runs with noise, so that a policy also sees how to come back; records what it sees and should answer.

    Attributes:
      seen: what the policy sees at each decision, [rows, inputs] each.
      wanted: what it should answer, [rows, outputs] each.
    """

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Forget what was recorded."""
        self.seen: list[Array] = []
        self.wanted: list[Array] = []

    @abstractmethod
    def demonstrate(self, observation: Array) -> tuple[Array, Array, Array]:
        """Return what the policy sees, [..., inputs], what it should answer, [..., outputs], and the noisy actions."""

    def act(self, observation: Array) -> Array:
        """Return the actions, [N, G, knobs], and record."""
        seen, wanted, actions = self.demonstrate(observation)
        self.seen.append(seen.reshape(-1, seen.shape[-1]))
        self.wanted.append(wanted.reshape(-1, wanted.shape[-1]))
        return actions


class ScheduleTeacher(Teacher):
    """Follows the schedule of `auto` with the knob `scale`; other knobs as `auto` has them, or at 0."""

    def __init__(
        self,
        interface: Interface,
        generator: np.random.Generator,
        peak: Callable[[Array], Array] | None = None,
        *,
        dtype: Any = np.float64,
    ):
        """Choose the schedule.

        Args:
          interface: of the policy.
          generator: of the noise.
          peak: from groups' views, [rows, features], to the log of the highest scale over the first, [rows]; None
            for that of `auto`.
          dtype: precision of the answers.

        Raises:
          ValueError: if the control is not relative with `scale` as the first knob, from a first update's norm.
        """
        if interface.first_update_norm is None or interface.knobs[0] != "scale":
            raise ValueError(
                "imitate: expected relative control of 'scale' first, from a first update of a given norm; "
                f"received {interface!r}"
            )
        self.interface, self._generator, self._peak, self._dtype = interface, generator, peak, dtype
        self._usual = np.log(auto.PEAK / interface.first_update_norm)

    def demonstrate(self, observation: Array) -> tuple[Array, Array, Array]:
        """Return the observation, the schedule's actions and these with noise, [N, G, features or knobs]."""
        rows = observation.reshape(-1, observation.shape[-1])
        wanted = np.zeros((len(rows), len(self.interface.knobs)), self._dtype)
        wanted[:, 0] = scheduled(rows, self.interface, self._usual if self._peak is None else self._peak(rows))
        if "second_moment" in self.interface.knobs:
            wanted[:, self.interface.knobs.index("second_moment")] = -1.0
        wanted = wanted.reshape(*observation.shape[:2], -1)
        return observation, wanted, np.clip(wanted + self._generator.normal(0.0, NOISE, wanted.shape), -1.0, 1.0)


def scheduled(views: Array, interface: Interface, peak: float | Array) -> Array:
    """Return the relative actions of the knob `scale` that follow the schedule of `auto`, [rows].

    Args:
      views: of groups, as observed, [rows, features]; where the budget is unknown, the peak is held.
      interface: what the views show, and the control steps of a run.
      peak: log of the highest scale over the first; one number, or one per row.
    """
    progress, horizon, log_scale = (
        views[:, interface.features.index(name)].astype(float) for name in ("progress", "horizon", "log_scale")
    )
    known = auto.log_schedule(progress, horizon, interface.decisions)
    wanted = np.where(progress == UNKNOWN, 0.0, known) + peak - log_scale * np.log(10.0)
    return np.clip(wanted / KNOBS["scale"].step, -1.0, 1.0)


def warmup_linear(views: Array, peak: Array, interface: Interface) -> Array:
    """Rise by `peak` nats in the first decisions, then fall linearly to 0 at the end of the budget.

    Args:
      views: of groups, as observed, [rows, features].
      peak: log of the highest scale over the first, [rows].
      interface: what the views show, and the control steps of a run.

    Returns:
      Relative actions of the knob `scale`, [rows].
    """
    progress, log_scale = (views[:, interface.features.index(name)] for name in ("progress", "log_scale"))
    wanted = linear_decay(progress, peak, interface.decisions) - log_scale * np.log(10.0)
    return np.clip(wanted / KNOBS["scale"].step, -1.0, 1.0)


def linear_decay(progress: Array, peak: float | Array, decisions: int) -> Array:
    """Return the log of the scale over the first that falls linearly from e^peak to 0, [rows]; e^peak where unknown.

    Args:
      progress: share of the budget spent, [rows]; `UNKNOWN` where the budget is.
      peak: one number, or one per row.
      decisions: control steps of a run, to whose edges the progress is rounded.
    """
    left = np.where(progress == UNKNOWN, 1.0, 1.0 - np.floor(progress * decisions + 0.5) / decisions)
    return peak + np.log(np.maximum(left, 0.01))


def linear_to_zero(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Let a rate fall linearly to 0."""
    return LambdaLR(optimizer, lambda step: 1.0 - step / steps)


def imitate(
    twin: Twin,
    teacher: Teacher,
    episodes: Iterable[Callable[[Controller], Any]],
    generator: np.random.Generator,
    *,
    rate: float,
    steps: int,
    batch: int | None = None,
    whole_runs: bool = True,
    decay: Callable[[Optimizer, int], LRScheduler] = linear_to_zero,
    progress: bool = False,
) -> float:
    """Fit a policy to a teacher, by Adam on the squared error.

    Args:
      twin: the policy.
      teacher: steers the runs.
      episodes: each lets a controller steer runs from their beginning to their end, all in as many decisions.
      generator: of the batches.
      rate: Adam's.
      steps: batches.
      batch: decisions in a batch; None for all.
      whole_runs: whether a batch holds whole runs, in order, or single decisions.
      decay: of the rate.
      progress: whether to show progress bars.

    Returns:
      The mean squared error of the last batch.
    """
    bar = partial(tqdm, disable=not progress)
    played = bar(episodes, desc="teacher", unit="episode")
    parts = [_recorded(teacher, episode, whole_runs) for episode in played]
    seen, wanted = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))  # [T, rows, ...]
    inputs, answers = twin.prepare(seen), torch.as_tensor(wanted, dtype=torch.float32)
    length, rows = inputs.shape[:2]
    optimizer = torch.optim.Adam(twin.parameters(), lr=rate)
    schedule = decay(optimizer, steps)
    for _ in bar(range(steps), desc="imitation", unit="batch"):
        chosen: Any = slice(None)
        if batch is not None:
            chosen = torch.as_tensor(generator.integers(rows, size=max(1, batch // length)))
        loss = (twin(inputs[:, chosen]) - answers[:, chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return float(loss.detach())


def _recorded(teacher: Teacher, episode: Callable[[Controller], Any], whole_runs: bool) -> tuple[Array, Array]:
    """Return what one episode records, [T, rows, ...], or [1, T rows, ...]."""
    episode(teacher)
    seen, wanted = np.stack(teacher.seen), np.stack(teacher.wanted)
    return (seen, wanted) if whole_runs else (np.concatenate(seen)[None], np.concatenate(wanted)[None])
