"""What a controller is trained on: rows of settings, drawn anew for every episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from optenv import tasks

# For a policy that is to hold under any: most runs are AdamW's.
BASES = ("adamw", "adamw", "adamw", "adamw", "lion", "sgd")
OPTIONS = {"sgd": {"momentum": 0.9}}
LEFT_OUT = 2
# A stacked inner step costs about as much as this many multiply-adds before it does any.
OVERHEAD = 3e6
BUDGETS = (160, 240, 320, 480, 640, 800)
FAMILIES = (
    "synthetic_classification",
    "synthetic_regression",
    "teacher_student",
    "synthetic_autoencoder",
    "quadratic",
    "synthetic_sequence",
)


def members(names: Sequence[str] = ()) -> tuple[str, ...]:
    """Spell out families as members, by default the synthetic ones of the train split.

    The last `LEFT_OUT` of each family are left to development: choices are made by them.
    """
    found: list[str] = []
    for name in names or tasks.synthetic.NAMES:
        entry = tasks.get(name)
        kept = range(entry.num_members - LEFT_OUT) if isinstance(entry, tasks.Family) else ()
        found += [f"{name}:{index}" for index in kept] or [name]
    return tuple(found)


@lru_cache(maxsize=1024)
def _size(task: tasks.Task) -> int:
    return sum(p.numel() for p in task.init(torch.Generator().manual_seed(0)).values())


def cost(settings: dict[str, Any]) -> float:
    """Estimate what an environment with these settings costs per run of its budget, in multiply-adds of one run."""
    task = tasks.get(settings["task"])
    work = _size(task) * task.batch_size if isinstance(task, tasks.Task) else 0.0
    return (OVERHEAD / 20 + work) * settings["num_inner_steps"]


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """A distribution over environment settings.

    Attributes:
      tasks: names of tasks, families, or members.
      optimizers: base optimizers; one named twice is drawn twice as often.
      options: hyperparameters of a base optimizer besides the rate, by its name.
      budgets: inner steps of a run.
      groupings: "layer", "model", or both.
      decisions: control steps of a run; budgets are multiples of it.
      validated: share of the runs that are told their validation losses.
      settings: what all environments have in common.
    """

    tasks: Sequence[str]
    optimizers: Sequence[str] = ("adamw",)
    options: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    budgets: Sequence[int] = BUDGETS
    groupings: Sequence[str] = ("layer", "layer", "layer", "model")
    decisions: int = 40
    validated: float = 0.5
    settings: dict[str, Any]

    def draw(self, generator: np.random.Generator) -> dict[str, Any]:
        """Draw the settings of one vector environment."""
        task = tasks.get(self.tasks[int(generator.integers(len(self.tasks)))])
        if isinstance(task, tasks.Family):
            task = task.member(int(generator.integers(task.num_members)))
        budget = int(generator.choice(np.array(self.budgets), p=self._shares()))
        optimizer = str(generator.choice(np.array(self.optimizers)))
        return self.settings | {
            "task": task,
            "optimizer": optimizer,
            "optimizer_options": dict(self.options.get(optimizer, {})),
            "groups": str(generator.choice(np.array(self.groupings))),
            "num_inner_steps": budget,
            "steps_per_action": max(1, budget // self.decisions),
            "reveal_validation": bool(generator.uniform() < self.validated),
        }

    def _shares(self) -> np.ndarray:
        """Favour short runs: a budget's share of the draws falls with its cost."""
        weight = np.asarray(self.budgets, float) ** -0.5
        return weight / weight.sum()
