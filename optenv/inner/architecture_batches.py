"""Runs of different architectures side by side: equal architectures are stacked and trained together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from optenv.control.signals import Interval, Products
from optenv.inner.state import RunState
from optenv.inner.trainer import BatchedTrainer

Array = np.ndarray
Values = dict[str, Array]
Batch = tuple[Array, RunState]


class ArchitectureBatches:
    """N rows, each one run; rows of the same architecture form a batch with one stacked state; see `rollout.Runs`.

    Attributes:
      trainers: one for each member of a family, a single one for a single task.
      states: by member, the rows of its runs, [n], and their state; members without runs are left out.
      num_members: how many there are.
      optimizer: name of the base optimizer.
      hyperparameters: those it has.
      max_groups: groups of the widest architecture; narrower ones are padded with NaN.
    """

    def __init__(self, trainers: Sequence[BatchedTrainer]):
        """Prepare to train the members of a family, or a single task."""
        self.trainers = trainers
        self.states: dict[int, Batch] = {}
        self._kept: dict[int, Tensor] = {}  # weights by row
        self._num_rows = 0
        self._only: int | None = None  # the member of all runs, where the batch has them in the order of the rows
        self.num_members = len(trainers)
        self.optimizer, self.hyperparameters = trainers[0].rule.name, trainers[0].rule.hyperparameters
        self.max_groups = max(trainer.num_groups for trainer in trainers)

    def start(self, rows: Array, members: Array, seeds: Array) -> None:
        """Begin fresh runs in `rows`, [n], of the given members, [n], from the given seeds, [n] uint64."""
        self._num_rows = self._num_rows or len(rows)  # the first time all of them begin
        for row in rows.tolist():
            self._kept.pop(row, None)
        for member in sorted({*self.states, *members.tolist()}):
            new = members == member
            self._replace(member, rows, rows[new], seeds[new])
        ordered = [np.array_equal(own, np.arange(len(own))) for own, _ in self.states.values()]
        self._only = next(iter(self.states)) if ordered == [True] else None

    def _replace(self, member: int, leaving: Array, joining: Array, seeds: Array) -> None:
        """End the runs of a batch that are in the rows `leaving`, and begin new ones in the rows `joining`."""
        own, state = self.states.pop(member, (np.zeros(0, int), None))
        fresh = self.trainers[member].start(seeds, alone=self._num_rows == 1) if len(joining) else None
        left = np.flatnonzero(np.isin(own, leaving))
        if state is None or len(left) == len(own):
            own, state = joining, fresh
        elif len(left) or len(joining):
            own, state = _refilled(own, state, left, joining, fresh)
        if state is not None:
            self.states[member] = (own, state)

    def num_groups(self, num_rows: int) -> Array:
        """Return the number of groups of each row's run, [N]."""
        counts = np.zeros(num_rows, int)
        for member, (rows, _) in self.states.items():
            counts[rows] = self.trainers[member].num_groups
        return counts

    def group_names(self, row: int) -> tuple[str, ...]:
        """Return the names of the groups of one row's run."""
        return next(self.trainers[m].layout.groups for m, (rows, _) in self.states.items() if row in rows)

    def run(self, rate: Array, values: Values, num_steps: int) -> Interval:
        """Take `num_steps` inner steps in every row.

        Args:
          rate: base learning rates, [N], or of each inner step, [k, N].
          values: knob values by name, [N, max_groups] each; a missing knob is neutral.
          num_steps: inner steps, the same for all rows.
        """
        if self._only is not None and self.trainers[self._only].num_groups == self.max_groups:
            return self.trainers[self._only].run(self.states[self._only][1], rate, values, num_steps)
        parts = []
        for member, (rows, state) in self.states.items():
            trainer = self.trainers[member]
            own = {knob: value[rows, : trainer.num_groups] for knob, value in values.items()}
            parts.append((rows, trainer.run(state, rate[..., rows], own, num_steps)))
        return merged(parts, rate.shape[-1], self.max_groups)

    def evaluate(self, rows: Array, split: str) -> Array:
        """Return the losses of the runs in `rows`, [n] ascending, on a split, [n]."""
        if self._only is not None:
            return self.trainers[self._only].evaluate(self.states[self._only][1], split, rows)
        result = np.full(len(rows), np.nan)
        for member, (own, state) in self.states.items():
            asked = np.flatnonzero(np.isin(own, rows))
            if len(asked):
                losses = self.trainers[member].evaluate(state, split, asked)
                result[np.searchsorted(rows, own[asked])] = losses
        return result

    def keep_weights(self, rows: Array) -> None:
        """Keep the weights of the runs in `rows`, [n], instead of those kept before."""
        for own, state in self.states.values():
            for place in np.flatnonzero(np.isin(own, rows)).tolist():
                self._kept[own[place]] = state.params[place].clone()

    def restore_weights(self, rows: Array) -> None:
        """Put them back, with a fresh optimizer state; the next minibatch is passed over."""
        kept = [row for row in rows.tolist() if row in self._kept]
        for member, (own, state) in self.states.items():
            places = np.flatnonzero(np.isin(own, kept))
            if len(places):
                self.trainers[member].go_on_from(state, places, torch.stack([self._kept[row] for row in own[places]]))

    def first_update(self, rate: Array, rows: Array, *, norm: bool) -> Array:
        """Return `update_ratio`, or `update_norm`, of fresh runs in `rows`, [n, max_groups]; NaN elsewhere."""
        ratios = np.full((len(rate), self.max_groups), np.nan)
        for member, (own, state) in self.states.items():
            fresh = np.flatnonzero(np.isin(own, rows))
            if len(fresh):
                trainer = self.trainers[member]
                part = state.select(fresh)
                ratios[own[fresh], : trainer.num_groups] = trainer.first_update(part, rate[own[fresh]], norm=norm)
        return ratios[rows]


def _refilled(own: Array, state: RunState, left: Array, joining: Array, fresh: RunState | None) -> Batch:
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


def merged(parts: Sequence[tuple[Array, Interval]], num_rows: int, num_groups: int) -> Interval:
    """Return what happened in all rows.

    Args:
      parts: rows, [n], and what happened in them.
      num_rows: N.
      num_groups: groups of the widest run; NaN pads the others.
    """
    loss, noise = np.full(num_rows, np.nan), np.full(num_rows, np.nan)
    products = {f.name: np.full((num_rows, num_groups), np.nan) for f in fields(Products)}
    for rows, interval in parts:
        loss[rows], noise[rows] = interval.loss, interval.noise
        for name, target in products.items():
            own = getattr(interval.products, name)
            target[rows, : own.shape[1]] = own
    return Interval(parts[0][1].steps, loss, noise, Products(**products))
