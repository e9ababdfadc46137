"""Runs of different architectures side by side: equal architectures are stacked and trained together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

import numpy as np

from optenv.control.signals import Interval, Products
from optenv.inner.state import RunState
from optenv.inner.trainer import BatchedTrainer
from optenv.tasks.task import Family, Task

Array = np.ndarray
Values = dict[str, Array]


class Cohorts:
    """N rows, each one run; rows of the same architecture form a cohort with one stacked state.

    Attributes:
      max_groups: groups of the widest architecture; narrower ones are padded with NaN.
    """

    def __init__(self, task: Task | Family, build: Callable[[Task], BatchedTrainer]):
        """Prepare to train `task`, or members of a family, with trainers made by `build`."""
        self._task, self._build = task, build
        self._trainers: dict[int, BatchedTrainer] = {}
        self._states: dict[int, tuple[Array, RunState]] = {}
        self.num_members = task.num_members if isinstance(task, Family) else 1
        self.max_groups = max(self.trainer(m).num_groups for m in range(self.num_members))

    def trainer(self, member: int) -> BatchedTrainer:
        """Return the trainer of a family's member (0 for a single task)."""
        if member not in self._trainers:
            task = self._task.member(member) if isinstance(self._task, Family) else self._task
            self._trainers[member] = self._build(task)
        return self._trainers[member]

    def start(self, rows: Array, members: Array, seeds: Array) -> None:
        """Begin fresh runs in `rows`, [n], of the given members, [n], from the given seeds, [n] uint64."""
        for member, (old, state) in list(self._states.items()):
            kept = np.flatnonzero(~np.isin(old, rows))
            if len(kept) == len(old):
                continue
            del self._states[member]
            if len(kept):
                self._states[member] = (old[kept], state.select(kept))
        for member in np.unique(members):
            new = members == member
            self._join(int(member), rows[new], self.trainer(int(member)).start(seeds[new]))

    def _join(self, member: int, rows: Array, state: RunState) -> None:
        if member in self._states:
            old, before = self._states[member]
            rows, state = np.concatenate([old, rows]), RunState.concatenate([before, state])
        self._states[member] = (rows, state)

    def num_groups(self, num_rows: int) -> Array:
        """Return the number of groups of each row's run, [N]."""
        return self._gather(num_rows, lambda trainer, rows, state: np.full(len(rows), float(trainer.num_groups))).astype(int)

    def group_names(self, row: int) -> tuple[str, ...]:
        """Return the names of the groups of one row's run."""
        return next(self.trainer(m).layout.groups for m, (rows, _) in self._states.items() if row in rows)

    def run(self, rate: Array, values: Values, num_steps: int) -> Interval:
        """Take `num_steps` inner steps in every row.

        Args:
          rate: base learning rates, [N].
          values: knob values by name, [N, max_groups] each.
          num_steps: inner steps, the same for all rows.
        """
        parts = []
        for member, (rows, state) in self._states.items():
            trainer = self.trainer(member)
            own = {knob: value[rows, : trainer.num_groups] for knob, value in values.items()}
            parts.append((rows, trainer.run(state, rate[rows], own, num_steps)))
        return _merge(parts, len(rate), self.max_groups, num_steps)

    def evaluate(self, num_rows: int, split: str) -> Array:
        """Return every row's loss on a split, [N]."""
        return self._gather(num_rows, lambda trainer, rows, state: trainer.evaluate(state, split))

    def first_update_ratio(self, rate: Array, rows: Array) -> Array:
        """Return the ratios of first updates to weights for fresh runs in `rows`, [n, max_groups]; NaN elsewhere."""
        ratios = np.full((len(rate), self.max_groups), np.nan)
        for member, (own, state) in self._states.items():
            fresh = np.flatnonzero(np.isin(own, rows))
            if len(fresh):
                trainer = self.trainer(member)
                part = state.select(fresh)
                ratios[own[fresh], : trainer.num_groups] = trainer.first_update_ratio(part, rate[own[fresh]])
        return ratios[rows]

    def _gather(self, num_rows: int, function: Callable[[BatchedTrainer, Array, RunState], Array]) -> Array:
        result = np.full(num_rows, np.nan)
        for member, (rows, state) in self._states.items():
            result[rows] = function(self.trainer(member), rows, state)
        return result


def _merge(parts: Sequence[tuple[Array, Interval]], num_rows: int, num_groups: int, steps: int) -> Interval:
    loss, noise = np.full(num_rows, np.nan), np.full(num_rows, np.nan)
    products = {f.name: np.full((num_rows, num_groups), np.nan) for f in fields(Products)}
    for rows, interval in parts:
        loss[rows], noise[rows] = interval.loss, interval.noise
        for name, target in products.items():
            own = getattr(interval.products, name)
            target[rows, : own.shape[1]] = own
    return Interval(steps, loss, noise, Products(**products))
