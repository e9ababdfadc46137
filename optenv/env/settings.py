"""What `gymnasium.make("OptControl-v0", ...)` accepts, checked in one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optenv import tasks
from optenv.control.controller import Interface
from optenv.control.features import FEATURE_NAMES, check_features
from optenv.control.knobs import check_knobs
from optenv.env.checks import check_whole, is_number, is_whole
from optenv.env.torch_trainer import MakeOptimizer
from optenv.env.trainers import TRAINERS, MakeRuns
from optenv.errors import unknown_name
from optenv.inner.layout import GROUPINGS
from optenv.rewards import Reward, get_reward

Range = float | tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class EnvSettings:
    """Settings of an environment.

    Attributes:
      task: a registered name, a `Task` or a `Family`; a family draws a member anew each episode.
      trainer: "batched" trains all runs at once; "torch" trains each by itself under `torch.optim`.
      optimizer: the base optimizer's name; with the torch trainer also a function that makes one
        from its parameter groups, whose learning rates are then set to those of the episode.
      optimizer_options: its hyperparameters besides the learning rate, by name.
      lr: base learning rate, or a range it is drawn from log-uniformly each episode.
      num_inner_steps: budget of a run, or a range it is drawn from log-uniformly; rounded up to
        whole control steps.
      steps_per_action: inner steps per control step.
      features: what is observed, in order, those of the run before those of each group.
      knobs: what an action sets, in order; the base optimizer has to have something for each to move.
      control: "absolute" or "relative".
      first_update: size of the whole model's first updates over that of its weights, see `update_ratio`, which
        the first scales are set to give; None starts from the base rate.
      first_update_norm: the norm of those updates that they are set to give instead, see `update_norm`.
      reveal_validation: whether features of validation tell it; otherwise they say that there is none.
      reward: a registered name or a `Reward`.
      groups: "layer" or "model": what a parameter group is.
      device: where the inner runs are trained.
      compile: compile the batched trainer's inner step with `torch.compile`.
    """

    task: str | tasks.Task | tasks.Family = "synthetic_classification"
    trainer: str = "batched"
    optimizer: str | MakeOptimizer = "adamw"
    optimizer_options: Mapping[str, float] | None = None
    lr: Range = 1e-3
    num_inner_steps: int | tuple[int, int] = 200
    steps_per_action: int = 5
    features: Sequence[str] = FEATURE_NAMES
    knobs: Sequence[str] = ("scale", "clip", "dampen")
    control: str = "absolute"
    first_update: float | None = None
    first_update_norm: float | None = None
    reveal_validation: bool = True
    reward: str | Reward = "log_loss_decrease"
    groups: str = "layer"
    device: str = "cpu"
    compile: bool = False

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          ValueError: if a name is unknown or a number out of range.
        """
        tasks.get(self.task)
        self.prepare_runs()
        get_reward(self.reward)
        if self.groups not in GROUPINGS:
            raise unknown_name("groups", self.groups, GROUPINGS)
        _check_range("lr", self.lr, is_number, "a positive number")
        _check_range("num_inner_steps", self.num_inner_steps, is_whole, "a whole number of at least 1")
        object.__setattr__(self, "steps_per_action", check_whole("steps_per_action", self.steps_per_action))
        _ = self.interface

    def prepare_runs(self) -> MakeRuns:
        """Return what makes the runs of a task under these settings.

        Raises:
          ValueError: if the trainer has no such optimizer, or that no such hyperparameter.
        """
        return TRAINERS[self.trainer](self)

    @cached_property
    def interface(self) -> Interface:
        """What a controller of this environment observes and turns."""
        features, knobs = check_features(self.features), check_knobs(self.knobs)
        return Interface(features, knobs, self.control, self.first_update, self.first_update_norm)


def as_range(value: Range) -> tuple[float, float]:
    """Return a range, or a number as a range of its own, as Python's numbers: numpy's small ones overflow."""
    low, high = value if isinstance(value, Sequence) else (value, value)
    return float(low), float(high)


def _check_range(name: str, value: Any, is_kind: Callable[[Any], bool], expected: str) -> None:
    several = isinstance(value, Sequence) and not isinstance(value, str)
    numbers: list[Any] = list(value) if several else [value]
    good = all(is_kind(v) and 0 < v < math.inf for v in numbers)
    if len(numbers) != 1 + several or not good or numbers[0] > numbers[-1]:
        raise ValueError(
            f"{name}: expected {expected}, or a range (low, high) of such with low at most high; received {value!r}"
        )


def make_settings(settings: Mapping[str, Any]) -> EnvSettings:
    """Build the settings from keyword arguments.

    Raises:
      ValueError: if a keyword is unknown or a value out of range.
    """
    check_names(settings)
    return EnvSettings(**settings)


def check_names(names: Iterable[str]) -> None:
    """Check that there are settings of these names.

    Raises:
      ValueError: if there is none of one of them.
    """
    for name in names:
        if name not in EnvSettings.__dataclass_fields__:
            raise unknown_name("environment setting", name, EnvSettings.__dataclass_fields__)
