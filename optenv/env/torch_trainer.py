"""The torch trainer: every run by itself, on torch parameters, under any `torch.optim` optimizer.

It is the readable reference of the batched trainer, and the way to put an obscure optimizer into
the environment; its inner steps are those of `ControlledOptimizer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from optenv.control.signals import Interval, Products
from optenv.errors import unknown_name
from optenv.inner.layout import Layout, group_of
from optenv.inner.optimizers import base_values, get_rule
from optenv.inner.randomness import generator, minibatch_indices
from optenv.inner.trainer import check_loss, probe_size
from optenv.tasks.task import Batch, Family, Task, members
from optenv.wrapper.groups import ParamGroup
from optenv.wrapper.stepper import Stepper

Array = np.ndarray
Values = dict[str, Array]
MakeOptimizer = Callable[[list[ParamGroup]], Optimizer]

TORCH_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}


def torch_optimizer(name: str, options: dict[str, float] | None = None) -> MakeOptimizer:
    """Return what makes the `torch.optim` namesake of a built-in optimizer.

    Args:
      name: as in `optimizer="adamw"`.
      options: its hyperparameters besides the learning rate.

    Raises:
      ValueError: if `torch.optim` has none of that name, or it has no such hyperparameter.
    """
    if name not in TORCH_OPTIMIZERS:
        raise unknown_name("optimizer of torch.optim", name, TORCH_OPTIMIZERS)
    values: dict[str, Any] = dict(base_values(get_rule(name), options))
    if "beta1" in values:
        values["betas"] = (values.pop("beta1"), values.pop("beta2"))
    if "nesterov" in values:
        values["nesterov"] = bool(values["nesterov"])
    return lambda groups: TORCH_OPTIMIZERS[name](groups, **values)


class TorchRun:
    """One training run of a task.

    Attributes:
      params: its parameters by name.
      optimizer: its base optimizer.
      groups: names of its parameter groups.
    """

    def __init__(self, task: Task, make: MakeOptimizer, seed: int, *, grouping: str, device: str):
        """Begin a run from `seed`, with the weights, data and minibatches of the batched trainer.

        Raises:
          ValueError: if the optimizer has other groups than it was given.
        """
        self._task, self._seed, self._step = task, seed, 0
        fresh, data = task.init(generator(seed, 0)), task.draw(generator(seed, 1))
        self.params = {name: nn.Parameter(value.to(device)) for name, value in fresh.items()}
        self._train = tuple(t.to(device) for t in data.train)
        self._valid = tuple(t.to(device) for t in data.valid)
        groups = parameter_groups(self.params, grouping)
        self.optimizer, self.groups = make(groups), tuple(group["name"] for group in groups)
        if len(self.optimizer.param_groups) != len(groups):
            received = len(self.optimizer.param_groups)
            raise ValueError(
                f"optimizer: expected it to keep the {len(groups)} groups it is given; received {received}"
            )
        self._stepper = Stepper(self.optimizer)

    def run(self, rate: float, values: Values, num_steps: int) -> Interval:
        """Take inner steps at a base learning rate under knob values, [1, G] each."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for _ in range(num_steps):
            self._stepper.step(self.next_gradient(), values)
        return self._stepper.end_interval()

    def next_gradient(self) -> Tensor:
        """Draw the next minibatch, leave its gradients in the parameters, and return its loss; the caller steps."""
        loss = self._backward(self._minibatch())
        self._step += 1
        return loss

    def evaluate(self, split: str) -> float:
        """Return the loss on the validation set or (split "probe") the first part of it."""
        limit = probe_size(self._task) if split == "probe" else None
        with torch.no_grad():
            return float(self._task.loss(dict(self.params), tuple(t[:limit] for t in self._valid)))

    def first_update_ratio(self, rate: float) -> Array:
        """Return the norm of the model's first update over that of its weights, [G]; the run does not move."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._backward(self._minibatch())
        return self._stepper.first_update_ratio()[0]

    def _minibatch(self) -> Batch:
        if not self._train:
            return ()
        seed, step = np.array([self._seed], np.uint64), np.array([self._step])
        index = minibatch_indices(seed, step, 1, self._task.batch_size, len(self._train[0]))[0, 0]
        return tuple(t[torch.from_numpy(index).to(t.device)] for t in self._train)

    def _backward(self, batch: Batch) -> Tensor:
        self.optimizer.zero_grad()
        loss = self._task.loss(dict(self.params), batch)
        loss.backward()
        return loss.detach()


class TorchRuns:
    """N rows, each one torch run; to the environment the same as `Cohorts`.

    Attributes:
      num_members: members of the family, 1 for a single task.
      max_groups: groups of the widest architecture; narrower ones are padded with NaN.
    """

    def __init__(self, task: Task | Family, make: MakeOptimizer, *, grouping: str = "layer", device: str = "cpu"):
        """Prepare to train `task`, or members of a family.

        Args:
          task: what is trained.
          make: makes the base optimizer of a run from its parameter groups.
          grouping: "layer" or "model".
          device: where the runs are trained.

        Raises:
          ValueError: if a task's loss is not a scalar.
        """
        self._tasks = members(task)
        groups = []
        for member in self._tasks:
            params = member.init(generator(0, 0))
            check_loss(member, params, member.draw(generator(0, 1)).train)
            groups.append(Layout.of(params, grouping).groups)
        self.num_members, self.max_groups = len(self._tasks), max(map(len, groups))
        self._start = partial(TorchRun, grouping=grouping, device=device)
        self._make = make
        self._rows: dict[int, TorchRun] = {}

    def start(self, rows: Array, members: Array, seeds: Array) -> None:
        """Begin fresh runs in `rows`, [n], of the given members, [n], from the given seeds, [n] uint64."""
        for row, member, seed in zip(rows.tolist(), members.tolist(), seeds.tolist(), strict=True):
            self._rows[row] = self._start(self._tasks[member], self._make, seed)

    def num_groups(self, num_rows: int) -> Array:
        """Return the number of groups of each row's run, [N]."""
        return np.array([len(self.group_names(row)) for row in range(num_rows)])

    def group_names(self, row: int) -> tuple[str, ...]:
        """Return the names of the groups of one row's run."""
        return self._rows[row].groups

    def run(self, rate: Array, values: Values, num_steps: int) -> Interval:
        """Take `num_steps` inner steps in every row.

        Args:
          rate: base learning rates, [N].
          values: knob values by name, [N, max_groups] each.
          num_steps: inner steps, the same for all rows.
        """
        intervals = []
        for row in range(len(rate)):
            run = self._rows[row]
            own = {knob: value[row : row + 1, : len(run.groups)] for knob, value in values.items()}
            intervals.append(run.run(float(rate[row]), own, num_steps))
        return _merge(intervals, self.max_groups)

    def evaluate(self, rows: Array, split: str) -> Array:
        """Return the losses of the runs in `rows`, [n], on a split, [n]."""
        return np.array([self._rows[row].evaluate(split) for row in rows.tolist()])

    def first_update_ratio(self, rate: Array, rows: Array) -> Array:
        """Return the ratios of first updates to weights for fresh runs in `rows`, [n, max_groups]; NaN elsewhere."""
        return np.stack([_padded(self._rows[r].first_update_ratio(float(rate[r])), self.max_groups) for r in rows])


def parameter_groups(params: dict[str, nn.Parameter], grouping: str) -> list[ParamGroup]:
    """Sort named parameters into groups, in their order."""
    by_group = groupby(params, key=partial(group_of, grouping=grouping))
    return [{"params": [params[name] for name in names], "name": group} for group, names in by_group]


def _padded(values: Array, length: int) -> Array:
    return np.pad(values, (0, length - len(values)), constant_values=np.nan)


def _merge(intervals: Sequence[Interval], num_groups: int) -> Interval:
    products = {
        f.name: np.stack([_padded(getattr(i.products, f.name)[0], num_groups) for i in intervals])
        for f in fields(Products)
    }
    loss, noise = (np.concatenate([getattr(i, name) for i in intervals]) for name in ("loss", "noise"))
    return Interval(intervals[0].steps, loss, noise, Products(**products))
