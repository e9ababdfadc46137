"""The batched trainer: N runs of one task, one forward and backward pass for all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from optenv.control.clipping import decayed_reference
from optenv.control.numpy_sketch import to_products
from optenv.control.signals import TRIAL_STEPS, Interval, loss_statistics, update_norm, update_ratio
from optenv.control.sketch import SketchMemory
from optenv.inner.compiled import Compiled
from optenv.inner.layout import Layout
from optenv.inner.minibatches import minibatches, upcoming
from optenv.inner.optimizers import OPTIMIZERS, Rule, base_values
from optenv.inner.processor import denormals_flushed, keep_freed_memory
from optenv.inner.randomness import generator
from optenv.inner.state import RunState
from optenv.inner.step import InnerStep
from optenv.inner.step_settings import KnobSettings, Values
from optenv.tasks.task import Batch, Task

PROBE = 256
Array = np.ndarray


class BatchedTrainer:
    """Trains many runs of one task at once; all that changes lives in the `RunState` it is handed.

    Attributes:
      task: what is trained.
      rule: the base optimizer.
      base: its hyperparameters besides the learning rate.
      layout: where parameters and groups lie in the flat vector.
    """

    def __init__(
        self,
        task: Task,
        rule: Rule,
        base: dict[str, float],
        *,
        grouping: str = "layer",
        device: str = "cpu",
        compile: bool = False,
    ):
        """Prepare to train `task`.

        Args:
          task: what is trained.
          rule: the base optimizer.
          base: its hyperparameters besides the learning rate.
          grouping: "layer" or "model".
          device: where the runs are trained.
          compile: compile the inner step with `torch.compile`; slow to start, then faster.

        Raises:
          ValueError: if the task's loss is not a scalar.
        """
        self.task, self.rule, self.base, self.device = task, rule, base, torch.device(device)
        params, data = task.init(generator(0, 0)), task.draw(generator(0, 1))
        self.layout = Layout.of(params, grouping)
        self._shared = data is task.draw(generator(0, 1))
        check_loss(task, params, data.train)
        self._compiled = compile
        self._settings = KnobSettings(rule, base, self.layout, self.device, compiled=compile)
        self._steps = {alone: InnerStep(task, rule, self.layout, self.device, alone=alone) for alone in (False, True)}
        self._advance: dict[bool, Callable] = {k: Compiled(s) if compile else s for k, s in self._steps.items()}
        self._losses = {k: Compiled(s.losses) if compile else s.losses for k, s in self._steps.items()}
        self._close: Callable = Compiled(self._closing) if compile else self._closing
        keep_freed_memory()

    @property
    def num_groups(self) -> int:
        """Number of parameter groups, G."""
        return len(self.layout.groups)

    def start(self, seeds: Array, *, alone: bool = False) -> RunState:
        """Begin one run per seed, [N] uint64, with fresh parameters and data.

        Args:
          seeds: of the runs.
          alone: whether the run is the only one for good, which is faster, and equal up to rounding.
        """
        params = torch.stack([self.layout.flatten(self.task.init(generator(int(s), 0))) for s in seeds])
        draws = [self.task.draw(generator(int(s), 1)) for s in (seeds[:1] if self._shared else seeds)]
        params = params.to(self.device)
        n = len(seeds)
        return RunState(
            params=params,
            slots={name: torch.zeros_like(params) for name in self.rule.slots},
            step=np.zeros(n, np.int64),
            optimizer_step=np.zeros(n, np.int64),
            passed_over=np.zeros(n, bool),
            seed=np.asarray(seeds, np.uint64),
            train=tuple(map(self._stack, zip(*(d.train for d in draws), strict=True))),
            valid=tuple(map(self._stack, zip(*(d.valid for d in draws), strict=True))),
            shared=self._shared,
            last_loss=torch.full((n,), torch.nan, device=self.device),
            clip_reference=torch.zeros(n, self.num_groups, device=self.device),
            memory=SketchMemory.start(self._sketch(params)),
            alone=alone,
        )

    def run(self, state: RunState, rate: Array, values: Values, num_steps: int) -> Interval:
        """Take inner steps under fixed knob values, changing `state` in place.

        Args:
          state: N runs.
          rate: base learning rate of each run, [N], or of each run at each step, [k, N].
          values: knob values by name, [N, G] each; a missing knob is neutral.
          num_steps: inner steps to take, at least 1.

        Returns:
          What happened; losses and sketches as the features need them.
        """
        losses, passing = [state.last_loss], np.flatnonzero(state.passed_over)
        before = state.select(passing) if len(passing) else None
        if state.leaves is None and not self._compiled:
            state.leaves = self._steps[state.alone].leaves(state.params)
        advance = self._advance[state.alone]
        batches = upcoming(state, self.task.batch_size, num_steps)
        each = self._settings.each(state, rate, values, num_steps)
        with denormals_flushed():
            for t, (batch, settings) in enumerate(zip(batches, each, strict=True)):
                loss, sketch, state.clip_reference = advance(
                    state.params, state.slots, batch, settings, state.clip_reference, state.leaves
                )
                losses.append(loss)
                if t == 0 and before is not None:
                    state.put(passing, before)
        assert sketch is not None  # the last step's
        if "clip" in values:
            norm = torch.linalg.vector_norm(sketch, dim=-1)
            state.clip_reference = decayed_reference(state.clip_reference, norm, num_steps)
        state.step += num_steps
        state.optimizer_step += num_steps - state.passed_over
        state.passed_over[:] = False
        state.last_loss = loss
        history = torch.stack(losses).double().cpu().numpy()  # [1 + k, N]
        mean, noise = loss_statistics(history[1:], history[0])
        if len(passing) and num_steps > 1:
            mean[passing], noise[passing] = loss_statistics(history[2:, passing], history[0, passing])
        sums, *memory = self._close(*state.memory.tensors(), sketch, state.params)
        state.memory = SketchMemory(*memory)
        return Interval(num_steps, mean, noise, to_products(sums.double().cpu().numpy()))

    def evaluate(self, state: RunState, split: str = "valid", runs: Array | None = None) -> Array:
        """Return losses on a split of the data.

        Args:
          state: N runs.
          split: "valid", "probe" for a part of the validation set, or "test".
          runs: indices of those that are asked for, [n]; by default all.

        Returns:
          [n] float64.
        """
        data, params = self.split(state, split), state.params
        losses: Callable[..., Tensor] = self._losses[state.alone]
        if runs is not None and len(runs) < len(state):
            params, data = params[runs], data if state.shared else tuple(t[runs] for t in data)
            losses = self._steps[False].losses  # a program compiled for every number of runs would not pay
        elif state.leaves is not None:
            losses = partial(losses, leaves=state.leaves)
        data = tuple(t[0] if state.alone else t.expand(len(params), *t.shape[1:]) for t in data)
        with torch.no_grad():
            return losses(params, data).double().cpu().numpy()

    def split(self, state: RunState, name: str) -> Batch:
        """Return a split of the data, see `evaluate`, shaped as `RunState.valid`; "test" is drawn in every call."""
        if name == "test":
            seeds = state.seed[:1] if self._shared else state.seed
            drawn = {seed: self.task.draw(generator(seed, 1)).held_back() for seed in set(seeds.tolist())}
            return tuple(map(self._stack, zip(*(drawn[seed] for seed in seeds.tolist()), strict=True)))
        return tuple(t[:, :: probe_stride(t.shape[1])] for t in state.valid) if name == "probe" else state.valid

    def go_on_from(self, state: RunState, rows: Array, params: Tensor) -> None:
        """Put the runs at the indices `rows`, [n], back to weights they had, [n, P], with a fresh optimizer state.

        Their next minibatch is passed over: in a deployed optimizer its gradient is that of the weights given up.
        """
        state.params[rows] = params
        for slot in state.slots.values():
            slot[rows] = 0.0
        for mine, fresh in zip(state.memory.tensors(), SketchMemory.start(self._sketch(params)).tensors(), strict=True):
            mine[rows] = fresh
        state.last_loss[rows], state.optimizer_step[rows], state.passed_over[rows] = torch.nan, 0, True

    def first_update(self, state: RunState, rate: Array, *, norm: bool = False) -> Array:
        """Return how large the whole model's update is at the base rate, over its weights or as a norm.

        It takes `TRIAL_STEPS` steps along the first gradient on a copy: each coordinate's largest move is what
        `update_ratio` sees, the last one what `update_norm` does.

        Returns:
          [N, G], the same for every group.
        """
        trial = state.select(np.arange(len(state)))
        inner = self._steps[trial.alone]
        _, gradient = inner.gradient(trial.params, next(minibatches(trial, self.task.batch_size)))
        moved = torch.zeros_like(trial.params)
        for settings in self._settings.each(trial, rate, {}, TRIAL_STEPS):
            before = trial.params.clone()
            inner.update(trial.params, gradient.clone(), trial.slots, settings)
            step = (trial.params - before).abs_()
            if norm:  # every step from where the weights are: not that of weight decay on where a large rate led
                moved = step
                trial.params.copy_(before)
            else:
                torch.maximum(moved, step, out=moved)
        sketched, weights = (self._sketch(flat).double().cpu().numpy() for flat in (moved, state.params))
        mask, sizes = self.layout.sketch[1].numpy(), self.layout.sizes
        if norm:
            moving = (self._sketch(gradient) != 0.0).cpu().numpy()
            return update_norm(sketched, moving, mask, sizes, self.rule.name)
        return update_ratio(sketched, weights, mask, sizes)

    def _closing(self, directions: Tensor, weights: Tensor, gradient: Tensor, params: Tensor) -> tuple[Tensor, ...]:
        """Return `SketchMemory.sums` at the end of a control step, and the tensors of the memory after it."""
        memory = SketchMemory(directions, weights)
        return memory.sums(gradient, self._sketch(params)), *memory.tensors()

    def _sketch(self, flat: Tensor) -> Tensor:
        return self._steps[False].sketch(flat)

    def _stack(self, tensors: tuple[Tensor, ...]) -> Tensor:
        # A shared data set may be a view of overlapping windows, which stacking would spell out.
        return (tensors[0][None] if self._shared else torch.stack(tensors)).to(self.device)


def make_trainer(
    task: Task,
    optimizer: str | Rule = "adamw",
    grouping: str = "layer",
    *,
    device: str = "cpu",
    compile: bool = False,
    **options: float,
) -> BatchedTrainer:
    """Build a batched trainer of `task` under a base optimizer.

    Args:
      task: what is trained.
      optimizer: a registered name, or a rule of one's own.
      grouping: "layer" or "model".
      device: where the runs are trained.
      compile: compile the inner step with `torch.compile`.
      **options: hyperparameters besides the learning rate, by name.
    """
    rule = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    return BatchedTrainer(task, rule, base_values(rule, options), grouping=grouping, device=device, compile=compile)


def probe_stride(num_examples: int) -> int:
    """Return k where every k-th validation example makes the probe: 256 to 511 of them, or all of fewer than 512.

    docs/research.md has how well fewer or more stand for the whole set, and what they cost.
    """
    return max(1, num_examples // PROBE)


def check_loss(task: Task, params: dict[str, Tensor], train: tuple[Tensor, ...]) -> None:
    """Try the loss of a task.

    Raises:
      ValueError: if it is not a scalar tensor.
    """
    loss = task.loss(params, tuple(t[: task.batch_size] for t in train))
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        received = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
        raise ValueError(f"loss of task {task.name!r}: expected a scalar tensor; received {received}")
