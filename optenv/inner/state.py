"""Everything that changes while runs are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optenv.control.sketch import SketchMemory


@dataclass
class RunState:
    """N runs of one task; every field has the runs as its leading axis.

    Attributes:
      params: flat parameters, [N, P].
      slots: the base optimizer's state by name, [N, P] each.
      step: inner steps taken, [N] int64.
      optimizer_step: those since the base optimizer's state was fresh, [N] int64.
      passed_over: whether the next step leaves out its minibatch, [N] bool.
      seed: what each run's randomness derives from, [N] uint64.
      train: training tensors, [N, M, ...] each, or [1, M, ...] if shared.
      valid: validation tensors, likewise.
      shared: whether all runs train on the same data.
      last_loss: the newest minibatch loss, [N]; NaN before the first.
      clip_reference: slowly decaying maximum of each group's gradient norm, [N, G].
      memory: sketches of the last control step.
      alone: whether it is, for good, the state of one run, which is then trained without the axis of runs.
      leaves: `InnerStep.leaves` of `params`, once they were asked for: making them anew in every step takes longer
        than a small model's update.
      upcoming: minibatches drawn ahead, and the `step` that they begin at.
    """

    params: Tensor
    slots: dict[str, Tensor]
    step: np.ndarray
    optimizer_step: np.ndarray
    passed_over: np.ndarray
    seed: np.ndarray
    train: tuple[Tensor, ...]
    valid: tuple[Tensor, ...]
    shared: bool
    last_loss: Tensor
    clip_reference: Tensor
    memory: SketchMemory
    alone: bool = False
    leaves: dict[str, Tensor] | None = field(default=None, init=False, repr=False)
    upcoming: tuple[np.ndarray, Iterator[tuple[Tensor, ...]]] | None = field(default=None, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without the leaves, which would no longer be views of the parameters, and the iterator."""
        return {**vars(self), "leaves": None, "upcoming": None}

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.params)

    def select(self, rows: np.ndarray) -> RunState:
        """Return a copy of the runs at the indices `rows`."""
        index = torch.as_tensor(rows, device=self.params.device)
        return _combine([self], lambda ts: ts[0][index], lambda arrays: arrays[0][rows])

    def put(self, rows: np.ndarray, fresh: RunState) -> None:
        """Replace the runs at the indices `rows` by those of `fresh`, in place."""
        for mine, new in zip(self._parts(), fresh._parts(), strict=True):
            mine[rows] = new
        self.upcoming = None

    def _parts(self) -> list[Any]:
        own = () if self.shared else (*self.train, *self.valid)
        changing = (self.params, *self.slots.values(), self.last_loss, self.clip_reference, *self.memory.tensors())
        return [self.step, self.optimizer_step, self.passed_over, self.seed, *own, *changing]

    @classmethod
    def concatenate(cls, states: list[RunState]) -> RunState:
        """Return the runs of all `states`, which are of one task, in order."""
        return states[0] if len(states) == 1 else _combine(states, torch.cat, np.concatenate)


def _combine(states: list[RunState], tensors: Callable, arrays: Callable) -> RunState:
    first = states[0]
    data = (lambda ts: ts[0]) if first.shared else tensors
    return RunState(
        params=tensors([s.params for s in states]),
        slots={name: tensors([s.slots[name] for s in states]) for name in first.slots},
        step=arrays([s.step for s in states]),
        optimizer_step=arrays([s.optimizer_step for s in states]),
        passed_over=arrays([s.passed_over for s in states]),
        seed=arrays([s.seed for s in states]),
        train=tuple(map(data, zip(*(s.train for s in states), strict=True))),
        valid=tuple(map(data, zip(*(s.valid for s in states), strict=True))),
        shared=first.shared,
        last_loss=tensors([s.last_loss for s in states]),
        clip_reference=tensors([s.clip_reference for s in states]),
        memory=SketchMemory(*map(tensors, zip(*(s.memory.tensors() for s in states), strict=True))),
        alone=first.alone,
    )
