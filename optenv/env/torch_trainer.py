"""The torch trainer: every run by itself, on torch parameters, under any `torch.optim` optimizer.

It is the readable reference of the batched trainer, and the way to put an obscure optimizer into
the environment; its inner steps are those of `ControlledOptimizer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from optenv.control.signals import Interval
from optenv.inner.architecture_batches import merged
from optenv.inner.layout import Layout, group_of
from optenv.inner.optimizers import OPTIMIZERS, base_values
from optenv.inner.randomness import generator, minibatch_indices
from optenv.inner.trainer import check_loss, probe_stride
from optenv.registry import Registry
from optenv.tasks.task import Batch, Family, Task, members
from optenv.wrapper.apply_knobs import hyperparameters
from optenv.wrapper.best_weights import BestWeights
from optenv.wrapper.controlled_steps import ControlledSteps
from optenv.wrapper.param_groups import ParamGroup

Array = np.ndarray
Values = dict[str, Array]
MakeOptimizer = Callable[[list[ParamGroup]], Optimizer]


def torch_optimizer(name: str, options: Mapping[str, float] | None = None) -> MakeOptimizer:
    """Return what makes the `torch.optim` namesake of a built-in optimizer.

    Args:
      name: as in `optimizer="adamw"`.
      options: its hyperparameters besides the learning rate.

    Raises:
      ValueError: if `torch.optim` has none of that name, or it has no such hyperparameter.
    """
    in_torch = Registry("optimizer of torch.optim", ((n, rule) for n, rule in OPTIMIZERS.items() if rule.torch_name))
    rule = in_torch[name]
    values: dict[str, Any] = dict(base_values(rule, options))
    if "beta1" in values:
        values["betas"] = (values.pop("beta1"), values.pop("beta2"))
    return partial(getattr(torch.optim, rule.torch_name), **values)


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
        self._valid, self._held_back = tuple(t.to(device) for t in data.valid), data.held_back
        groups = parameter_groups(self.params, grouping)
        self.optimizer, self.groups = make(groups), tuple(group["name"] for group in groups)
        if len(self.optimizer.param_groups) != len(groups):
            received = len(self.optimizer.param_groups)
            raise ValueError(
                f"optimizer: expected it to keep the {len(groups)} groups it is given; received {received}"
            )
        self._steps = ControlledSteps(self.optimizer)
        self.kept, self._passes_over = BestWeights(self.optimizer, with_state=False), False

    def run(self, rate: float, values: Values, num_steps: int) -> Interval:
        """Take inner steps at a base learning rate under knob values, [1, G] each."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self._passes_over and num_steps > 1:
            self._passes_over, self._step, num_steps = False, self._step + 1, num_steps - 1
        for _ in range(num_steps):
            self._steps.step(self.next_gradient(), values)
        return self._steps.end_interval()

    def go_back(self) -> None:
        """Return to the weights kept last, with a fresh optimizer state; the next minibatch is passed over."""
        if self.kept.restore():
            self._steps.restart(passed_over=1)
            self._passes_over = True

    def next_gradient(self) -> Tensor:
        """Draw the next minibatch, leave its gradients in the parameters, and return its loss; the caller steps."""
        loss = self._backward(self._minibatch())
        self._step += 1
        return loss

    def evaluate(self, split: str) -> float:
        """Return the loss on a split: "valid", "probe" for a part of the validation set, or "test"."""
        data = self._valid
        if split == "test":
            data = tuple(t.to(self._valid[0].device) for t in self._held_back())
        elif split == "probe":
            data = tuple(t[:: probe_stride(len(t))] for t in data)
        with torch.no_grad():
            return float(self._task.loss(dict(self.params), data))

    def first_update(self, rate: float, *, norm: bool) -> Array:
        """Return `update_ratio`, or `update_norm`, of the first update, [G]; the run does not move."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._backward(self._minibatch())
        return self._steps.first_update([rate] * len(self.groups), norm=norm)[0]

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
    """N rows, each one torch run; see `rollout.Runs`.

    Attributes:
      num_members: members of the family, 1 for a single task.
      optimizer: name of the base optimizer.
      hyperparameters: those it has.
      max_groups: groups of the widest architecture; narrower ones are padded with NaN.
    """

    def __init__(self, task: Task | Family, make: MakeOptimizer, *, grouping: str = "layer", device: str = "cpu"):
        """Prepare to train `task`, or members of a family.

        Args:
          task: what is trained.
          make: makes the base optimizer of a run from its parameter groups; called here too, to see what it makes.
          knobs: what will be set; the optimizer has to have something for each to move.
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
        optimizer = make(parameter_groups({name: nn.Parameter(value) for name, value in params.items()}, grouping))
        self.optimizer, self.hyperparameters = type(optimizer).__name__, hyperparameters(optimizer.param_groups)
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
        parts = []
        for row in range(len(rate)):
            run = self._rows[row]
            own = {knob: value[row : row + 1, : len(run.groups)] for knob, value in values.items()}
            parts.append((np.array([row]), run.run(float(rate[row]), own, num_steps)))
        return merged(parts, len(rate), self.max_groups)

    def evaluate(self, rows: Array, split: str) -> Array:
        """Return the losses of the runs in `rows`, [n], on a split, [n]."""
        return np.array([self._rows[row].evaluate(split) for row in rows.tolist()])

    def keep_weights(self, rows: Array) -> None:
        """Keep the weights of the runs in `rows`, [n], instead of those kept before."""
        for row in rows.tolist():
            self._rows[row].kept.keep()

    def restore_weights(self, rows: Array) -> None:
        """Put them back, with a fresh optimizer state; the next minibatch is passed over."""
        for row in rows.tolist():
            self._rows[row].go_back()

    def first_update(self, rate: Array, rows: Array, *, norm: bool) -> Array:
        """Return `update_ratio`, or `update_norm`, of fresh runs in `rows`, [n, max_groups]; NaN elsewhere."""
        sizes = np.full((len(rows), self.max_groups), np.nan)
        for place, row in enumerate(rows.tolist()):
            sizes[place, : len(self.group_names(row))] = self._rows[row].first_update(float(rate[row]), norm=norm)
        return sizes


def parameter_groups(params: dict[str, nn.Parameter], grouping: str) -> list[ParamGroup]:
    """Sort named parameters into groups, in their order."""
    by_group = groupby(params, key=partial(group_of, grouping=grouping))
    return [{"params": [params[name] for name in names], "name": group} for group, names in by_group]
