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
Cohort = tuple[Array, RunState]


class Cohorts:
    """N rows, each one run; rows of the same architecture form a cohort with one stacked state.

    Attributes:
      max_groups: groups of the widest architecture; narrower ones are padded with NaN.
    """

    def __init__(self, task: Task | Family, build: Callable[[Task], BatchedTrainer]):
        """Prepare to train `task`, or members of a family, with trainers made by `build`."""
        self._task, self._build = task, build
        self._trainers: dict[int, BatchedTrainer] = {}
        self._states: dict[int, Cohort] = {}
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
        for member in sorted({*self._states, *members.tolist()}):
            new = members == member
            self._replace(member, rows, rows[new], seeds[new])

    def _replace(self, member: int, leaving: Array, joining: Array, seeds: Array) -> None:
        """End the runs of a cohort that are in the rows `leaving`, and begin new ones in the rows `joining`."""
        own, state = self._states.pop(member, (np.zeros(0, int), None))
        fresh = self.trainer(member).start(seeds) if len(joining) else None
        left = np.flatnonzero(np.isin(own, leaving))
        if state is None or len(left) == len(own):
            own, state = joining, fresh
        elif len(left) or len(joining):
            own, state = _refilled(own, state, left, joining, fresh)
        if state is not None:
            self._states[member] = (own, state)

    def num_groups(self, num_rows: int) -> Array:
        """Return the number of groups of each row's run, [N]."""
        counts = self._gather(num_rows, lambda trainer, rows, state: np.full(len(rows), float(trainer.num_groups)))
        return counts.astype(int)

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

    def evaluate(self, rows: Array, split: str) -> Array:
        """Return the losses of the runs in `rows`, [n] ascending, on a split, [n]."""
        result = np.full(len(rows), np.nan)
        for member, (own, state) in self._states.items():
            asked = np.flatnonzero(np.isin(own, rows))
            if len(asked):
                losses = self.trainer(member).evaluate(state, split, asked)
                result[np.searchsorted(rows, own[asked])] = losses
        return result

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


def _refilled(own: Array, state: RunState, left: Array, joining: Array, fresh: RunState | None) -> Cohort:
    """Put fresh runs into the places that are left; the stack is only copied where it must grow or shrink."""
    reused = min(len(left), len(joining))
    if fresh is not None and reused:
        own[left[:reused]] = joining[:reused]
        state.put(left[:reused], fresh.select(np.arange(reused)))
    if len(left) > reused:
        kept = np.delete(np.arange(len(own)), left[reused:])
        own, state = own[kept], state.select(kept)
    if fresh is not None and len(joining) > reused:
        added = fresh.select(np.arange(reused, len(joining)))
        own, state = np.concatenate([own, joining[reused:]]), RunState.concatenate([state, added])
    return own, state


def _merge(parts: Sequence[tuple[Array, Interval]], num_rows: int, num_groups: int, steps: int) -> Interval:
    loss, noise = np.full(num_rows, np.nan), np.full(num_rows, np.nan)
    products = {f.name: np.full((num_rows, num_groups), np.nan) for f in fields(Products)}
    for rows, interval in parts:
        loss[rows], noise[rows] = interval.loss, interval.noise
        for name, target in products.items():
            own = getattr(interval.products, name)
            target[rows, : own.shape[1]] = own
    return Interval(steps, loss, noise, Products(**products))
