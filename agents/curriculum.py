"""What a controller is trained on: rows of settings, drawn anew for every episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optenv import tasks

BUDGETS = (160, 240, 320, 480, 640, 800)
FAMILIES = (
    "synthetic_classification",
    "synthetic_regression",
    "teacher_student",
    "synthetic_autoencoder",
    "quadratic",
    "synthetic_sequence",
)


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """A distribution over environment settings.

    Attributes:
      tasks: names of tasks, families, or members.
      optimizers: base optimizers.
      budgets: inner steps of a run.
      groupings: "layer", "model", or both.
      decisions: control steps of a run; budgets are multiples of it.
      settings: what all environments have in common.
    """

    tasks: Sequence[str]
    optimizers: Sequence[str] = ("adamw",)
    budgets: Sequence[int] = BUDGETS
    groupings: Sequence[str] = ("layer", "layer", "layer", "model")
    decisions: int = 40
    settings: dict[str, Any]

    def draw(self, generator: np.random.Generator) -> dict[str, Any]:
        """Draw the settings of one vector environment."""
        task = tasks.get(self.tasks[int(generator.integers(len(self.tasks)))])
        if isinstance(task, tasks.Family):
            task = task.member(int(generator.integers(task.num_members)))
        budget = int(generator.choice(np.array(self.budgets), p=self._shares()))
        return self.settings | {
            "task": task,
            "optimizer": str(generator.choice(np.array(self.optimizers))),
            "groups": str(generator.choice(np.array(self.groupings))),
            "num_inner_steps": budget,
            "steps_per_action": max(1, budget // self.decisions),
        }

    def _shares(self) -> np.ndarray:
        """Favour short runs: a budget's share of the draws falls with its cost."""
        weight = np.asarray(self.budgets, float) ** -0.5
        return weight / weight.sum()
