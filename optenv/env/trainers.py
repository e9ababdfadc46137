"""What can train the inner runs of an environment, one row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from optenv.control.signals import Interval
from optenv.env.cohorts import Cohorts
from optenv.env.torch_trainer import TorchRuns, torch_optimizer
from optenv.inner.optimizers import base_values, get_rule
from optenv.inner.trainer import BatchedTrainer
from optenv.tasks.task import Family, Task

if TYPE_CHECKING:
    from optenv.env.settings import EnvSettings

Array = np.ndarray


class Runs(Protocol):
    """N training runs side by side; see `Cohorts` for what the methods do."""

    num_members: int
    max_groups: int

    def start(self, rows: Array, members: Array, seeds: Array) -> None:
        """Begin fresh runs in `rows`."""

    def num_groups(self, num_rows: int) -> Array:
        """Return the number of groups of each row's run, [N]."""

    def group_names(self, row: int) -> tuple[str, ...]:
        """Return the names of the groups of one row's run."""

    def run(self, rate: Array, values: dict[str, Array], num_steps: int) -> Interval:
        """Take `num_steps` inner steps in every row."""

    def evaluate(self, rows: Array, split: str) -> Array:
        """Return the losses of the runs in `rows`, [n] ascending, on a split, [n]."""

    def first_update_ratio(self, rate: Array, rows: Array) -> Array:
        """Return the ratios of first updates to weights for fresh runs in `rows`, [n, max_groups]."""


MakeRuns = Callable[[Task | Family], Runs]


def _batched(s: EnvSettings) -> MakeRuns:
    if not isinstance(s.optimizer, str):
        raise ValueError(f"optimizer: expected a name, or trainer='torch'; received {s.optimizer!r}")
    rule = get_rule(s.optimizer)
    base = base_values(rule, dict(s.optimizer_options or {}))

    def build(task: Task) -> BatchedTrainer:
        return BatchedTrainer(task, rule, base, grouping=s.groups, device=s.device, compile=s.compile)

    return lambda task: Cohorts(task, build)


def _torch(s: EnvSettings) -> MakeRuns:
    if s.compile:
        raise ValueError("compile: expected trainer='batched'; received trainer='torch'")
    if isinstance(s.optimizer, str):
        make = torch_optimizer(s.optimizer, dict(s.optimizer_options or {}))
    elif s.optimizer_options is None:
        make = s.optimizer
    else:
        raise ValueError("optimizer_options: expected None beside an optimizer of your own, which sets them itself")
    return lambda task: TorchRuns(task, make, grouping=s.groups, device=s.device)


TRAINERS: dict[str, Callable[[EnvSettings], MakeRuns]] = {"batched": _batched, "torch": _torch}
