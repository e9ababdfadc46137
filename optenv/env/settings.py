"""What `gymnasium.make("OptControl-v0", ...)` accepts, checked in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optenv import tasks
from optenv.control.controller import Interface
from optenv.errors import unknown_name
from optenv.inner.layout import GROUPINGS
from optenv.inner.optimizers import base_values, get_rule
from optenv.rewards import Reward, get_reward

Range = float | tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class EnvSettings:
    """Settings of an environment.

    Attributes:
      task: a registered name, a `Task` or a `Family`; a family draws a member anew each episode.
      optimizer: the base optimizer's name.
      optimizer_options: its hyperparameters besides the learning rate, by name.
      lr: base learning rate, or a range it is drawn from log-uniformly each episode.
      num_inner_steps: budget of a run, or a range it is drawn from log-uniformly; rounded up to
        whole control steps.
      steps_per_action: inner steps per control step.
      knobs: what an action turns, in order.
      control: "absolute" or "relative".
      first_update: norm of each group's first update over that of its weights, which the first
        scales are set to give; None starts from the base rate.
      reward: a registered name or a `Reward`.
      groups: "layer" or "model": what a parameter group is.
      device: where the inner runs are trained.
      compile: compile the inner step with `torch.compile`.
    """

    task: str | tasks.Task | tasks.Family = "synthetic_classification"
    optimizer: str = "adamw"
    optimizer_options: Mapping[str, float] | None = None
    lr: Range = 1e-3
    num_inner_steps: int | tuple[int, int] = 200
    steps_per_action: int = 5
    knobs: Sequence[str] = ("scale", "clip", "dampen")
    control: str = "absolute"
    first_update: float | None = None
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
        base_values(get_rule(self.optimizer), dict(self.optimizer_options or {}))
        get_reward(self.reward)
        if self.groups not in GROUPINGS:
            raise unknown_name("groups", self.groups, GROUPINGS)
        _check_range("lr", self.lr)
        _check_range("num_inner_steps", self.num_inner_steps)
        if not isinstance(self.steps_per_action, int) or self.steps_per_action < 1:
            raise ValueError(f"steps_per_action: expected a whole number of at least 1; received {self.steps_per_action!r}")
        _ = self.interface

    @property
    def interface(self) -> Interface:
        """What a controller of this environment observes and turns."""
        return Interface(knobs=tuple(self.knobs), control=self.control, first_update=self.first_update)


def as_range(value: Range) -> tuple[float, float]:
    """Return a number as a range of its own."""
    return (value[0], value[1]) if isinstance(value, Sequence) else (value, value)


def _check_range(name: str, value: Range) -> None:
    expected = f"{name}: expected a positive number, or a range (low, high) of such"
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if len(numbers) not in (1, 2) or not all(isinstance(v, (int, float)) and 0 < v < math.inf for v in numbers):
        raise ValueError(f"{expected}; received {value!r}")
    if numbers[0] > numbers[-1]:
        raise ValueError(f"{expected} with low at most high; received {value!r}")
