"""The settings of the pages that train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agents.playground.fields import VIEWS, Settings, controller_names, named, ranged
from agents.playground.optimizers import OPTIMIZERS
from agents.playground.validation import InvalidSetting, one_of
from optenv import tasks
from optenv.figures.picture import COLOR_MAPS
from optenv.inner.layout import GROUPINGS
from optenv.inner.optimizers import OPTIMIZERS as BATCHED

DECISIONS = 20
"""Control steps of a run under a controller that is trained on the page."""
LEARNED_KNOBS = ("scale", "clip", "dampen")


def task_names() -> list[str]:
    """List the tasks and families, those that people train first; none that reads files of its user's choice."""
    return [*tasks.names("held_out"), *tasks.names("train")]


def base_names() -> list[str]:
    """List the base optimizers of training runs: the environment's own, then the playground's others."""
    others = [name for name, row in OPTIMIZERS.items() if name not in BATCHED and not row.second_order]
    return [*BATCHED, *others]


def check_task(task: str) -> None:
    """Check that there is such a task.

    Raises:
      ValueError: if it is unknown, or a family.
    """
    one_of("task", str(task).partition(":")[0], task_names())
    if not isinstance(tasks.get(task), tasks.Task):
        raise InvalidSetting("{task} is a family of tasks: choose a member, such as {task}:0.", task=task)


@dataclass(frozen=True, kw_only=True)
class RunSettings(Settings):
    """What the pages that train have in common.

    Attributes:
      task: a registered task, or a member of a family ("synthetic_sequence:3").
      optimizer: the base optimizer.
      controllers: those compared; "neutral" is the base optimizer alone.
      steps: budget of each run in inner steps.
      groups: "layer" or "model".
    """

    task: str = "digits_mlp"
    optimizer: str = named("adamw", "optimizer", base_names)
    controllers: tuple[str, ...] = named(("neutral", "cosine", "ppo"), "controller", controller_names)
    steps: int = ranged(200, 1, 5000)
    groups: str = named("layer", "groups", lambda: GROUPINGS)

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        check_task(self.task)

    def methods(self) -> tuple[str, ...]:
        """List the controllers to run.

        Raises:
          InvalidSetting: if there are none.
        """
        if not self.controllers:
            raise InvalidSetting(
                "Nothing to run yet: choose at least one controller. “neutral” leaves the optimizer alone."
            )
        return self.controllers


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(RunSettings):
    """Settings of the page that trains.

    Attributes:
      lr: base learning rate.
      shown: the controller whose knobs are drawn.
    """

    page: ClassVar[str] = "training"
    lr: float = ranged(1e-3, 1e-8, 100.0)
    shown: str = named("", "controller", lambda: ("", *controller_names()))


@dataclass(frozen=True, kw_only=True)
class SweepSettings(RunSettings):
    """Settings of the page of learning rates.

    Attributes:
      low: least base learning rate.
      high: greatest.
      count: how many, evenly in the logarithm.
      num_seeds: paired runs at each.
    """

    page: ClassVar[str] = "learning_rate"
    low: float = ranged(1e-5, 1e-8, 100.0)
    high: float = ranged(1e-1, 1e-8, 100.0)
    count: int = ranged(9, 2, 41)
    num_seeds: int = ranged(2, 1, 10)

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        if self.low >= self.high:
            template = "The least learning rate, {low:g}, has to be below the greatest, {high:g}."
            raise InvalidSetting(template, low=self.low, high=self.high)

    def rates(self) -> list[float]:
        """List the base learning rates."""
        step = (self.high / self.low) ** (1 / (self.count - 1))
        return [self.low * step**k for k in range(self.count - 1)] + [self.high]


@dataclass(frozen=True, kw_only=True)
class PlaneSettings(RunSettings):
    """Settings of the page that shows a net's loss around its path.

    Attributes:
      lr: base learning rate.
      view: "contour" or "surface".
      colors: of the contours and the surface.
    """

    page: ClassVar[str] = "plane"
    optimizer: str = named("adamw", "optimizer", lambda: BATCHED)
    lr: float = ranged(1e-3, 1e-8, 100.0)
    view: str = named("contour", "view", lambda: VIEWS)
    colors: str = named("cividis", "colors", lambda: COLOR_MAPS)


@dataclass(frozen=True, kw_only=True)
class LearnSettings(Settings):
    """Settings of the page that trains a controller.

    Attributes:
      task: a registered task, or a member of a family.
      optimizer: the base optimizer.
      knobs: what the controller turns.
      steps: budget of each run in inner steps.
      lr: base learning rate.
      rollouts: rounds of runs that PPO learns from.
    """

    page: ClassVar[str] = "controller"
    task: str = "digits_mlp"
    optimizer: str = named("adamw", "optimizer", lambda: BATCHED)
    knobs: tuple[str, ...] = named(("scale",), "knob", lambda: LEARNED_KNOBS)
    steps: int = ranged(200, 20, 5000)
    lr: float = ranged(1e-3, 1e-8, 100.0)
    rollouts: int = ranged(20, 1, 500)

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        check_task(self.task)
        if self.steps % DECISIONS:
            template = "The number of inner steps, {steps}, has to be a multiple of {decisions}."
            raise InvalidSetting(template, steps=self.steps, decisions=DECISIONS)
        if not self.knobs:
            raise InvalidSetting("A controller needs something to turn: choose at least one knob.")

    def methods(self) -> tuple[str, ...]:
        """List what runs: the controller that learns."""
        return ("ppo",)
