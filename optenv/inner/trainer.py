"""The batched trainer: N runs of one task, one forward and backward pass for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from optenv.control.clipping import decayed_reference
from optenv.control.knobs import shifted
from optenv.control.signals import TRIAL_STEPS, Interval, loss_statistics, update_ratio
from optenv.control.sketch import SketchMemory
from optenv.inner.compiled import Compiled
from optenv.inner.layout import Layout
from optenv.inner.optimizers import GroupHyper, Hyper, Rule
from optenv.inner.randomness import generator, minibatch_indices
from optenv.inner.state import RunState
from optenv.inner.step import InnerStep, Turned
from optenv.tasks.task import Batch, Task

MAX_PROBE = 256
MALLOC_THRESHOLD = 30 * 2**20
Array = np.ndarray
Values = dict[str, Array]


class BatchedTrainer:
    """Trains many runs of one task at once; all that changes lives in the `RunState` it is handed.

    Attributes:
      task: what is trained.
      rule: the base optimizer.
      base: its hyperparameters besides the learning rate.
      layout: where parameters and groups lie in the flat vector.
    """

    def __init__(self, task: Task, rule: Rule, base: dict[str, float], *, grouping: str = "layer",
                 device: str = "cpu", compile: bool = False):  # fmt: skip
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
        self._step = InnerStep(task, rule, self.layout, self.device)
        self._advance = Compiled(self._step) if compile else self._step
        self._losses = Compiled(self._step.losses) if compile else self._step.losses
        _keep_freed_memory()

    @property
    def num_groups(self) -> int:
        """Number of parameter groups, G."""
        return len(self.layout.groups)

    def start(self, seeds: Array) -> RunState:
        """Begin one run per seed, [N] uint64, with fresh parameters and data."""
        params = torch.stack([self.layout.flatten(self.task.init(generator(int(s), 0))) for s in seeds])
        draws = [self.task.draw(generator(int(s), 1)) for s in (seeds[:1] if self._shared else seeds)]
        params = params.to(self.device)
        n = len(seeds)
        return RunState(
            params=params,
            slots={name: torch.zeros_like(params) for name in self.rule.slots},
            step=np.zeros(n, np.int64),
            seed=np.asarray(seeds, np.uint64),
            train=tuple(map(self._stack, zip(*(d.train for d in draws), strict=True))),
            valid=tuple(map(self._stack, zip(*(d.valid for d in draws), strict=True))),
            shared=self._shared,
            last_loss=torch.full((n,), torch.nan, device=self.device),
            clip_reference=torch.zeros(n, self.num_groups, device=self.device),
            memory=SketchMemory.start(self._step.sketch(params)),
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
        last, losses = state.last_loss, []
        index = self._minibatches(state, num_steps)
        with denormals_flushed():
            for t, turned in enumerate(self._turned(state, rate, values, num_steps)):
                loss, sketch, state.clip_reference = self._advance(
                    state.params, state.slots, self._batch(state, index[t]), turned, state.clip_reference
                )
                losses.append(loss)
        assert sketch is not None  # the last step's
        if "clip" in values:
            norm = torch.linalg.vector_norm(sketch, dim=-1)
            state.clip_reference = decayed_reference(state.clip_reference, norm, num_steps)
        state.step += num_steps
        state.last_loss = losses[-1]
        history = torch.stack(losses).double().cpu().numpy()
        mean, noise = loss_statistics(history, last.double().cpu().numpy())
        return Interval(num_steps, mean, noise, state.memory.advance(sketch, self._step.sketch(state.params)))

    def evaluate(self, state: RunState, split: str = "valid", runs: Array | None = None) -> Array:
        """Return losses on the validation set or (split "probe") the first part of it.

        Args:
          state: N runs.
          split: "valid" or "probe".
          runs: indices of those that are asked for, [n]; by default all.

        Returns:
          [n] float64.
        """
        limit = probe_size(self.task) if split == "probe" else None
        params, valid, losses = state.params, tuple(t[:, :limit] for t in state.valid), self._losses
        if runs is not None and len(runs) < len(state):
            params, valid = params[runs], valid if state.shared else tuple(t[runs] for t in valid)
            losses = self._step.losses  # a program compiled for every number of runs would not pay
        data = tuple(t.expand(len(params), *t.shape[1:]) for t in valid)
        with torch.no_grad():
            return losses(params, data).double().cpu().numpy()

    def first_update_ratio(self, state: RunState, rate: Array) -> Array:
        """Return the size of the model's update at the base rate over that of its weights, [N, G], see `update_ratio`.

        Of `TRIAL_STEPS` steps along the first gradient, on a copy, each coordinate's largest counts; `state` stays.
        """
        trial = state.select(np.arange(len(state)))
        _, gradient = self._step.gradient(trial.params, self._batch(trial, self._minibatches(trial, 1)[0]))
        moved = torch.zeros_like(trial.params)
        for turned in self._turned(trial, rate, {}, TRIAL_STEPS):
            before = trial.params.clone()
            self.rule.update(trial.params, gradient.clone(), trial.slots, turned.hyper)
            torch.maximum(moved, (trial.params - before).abs_(), out=moved)
        sketched, weights = (self._step.sketch(flat).double().cpu().numpy() for flat in (moved, state.params))
        return update_ratio(sketched, weights, self.layout.sketch[1].numpy(), self.layout.sizes)

    def _minibatches(self, state: RunState, num_steps: int) -> Tensor:
        """Return the examples of every minibatch, [k, N * B], as rows of the runs' data one after the other."""
        examples = state.train[0].shape[1] if state.train else 1
        index = minibatch_indices(state.seed, state.step, num_steps, self.task.batch_size, examples)
        if not state.shared:
            index += np.arange(len(state))[None, :, None] * examples
        return torch.from_numpy(index.reshape(num_steps, -1)).to(self.device)

    def _batch(self, state: RunState, index: Tensor) -> Batch:
        n = len(state)
        return tuple(t.flatten(0, 1).index_select(0, index).view(n, -1, *t.shape[2:]) for t in state.train)

    def _stack(self, tensors: tuple[Tensor, ...]) -> Tensor:
        # A shared data set may be a view of overlapping windows, which stacking would spell out.
        return (tensors[0][None] if self._shared else torch.stack(tensors)).to(self.device)

    def _turned(self, state: RunState, rate: Array, values: Values, num_steps: int) -> Iterator[Turned]:
        """Yield what the knobs set in each inner step."""
        factor = values.get("scale", 1.0) * (1.0 - values.get("dampen", 0.0))
        own = {**self.base, **self._shifted(values)}
        clip = self._tensor(values["clip"]) if (values.get("clip", np.ones(1)) < 1.0).any() else None
        keep = self._spread(self._tensor(1.0 - values["dampen"])) if "dampen" in values else None
        steps = state.step[:, None] + np.arange(1.0, num_steps + 1)[:, None, None]  # [k, N, 1]
        corrections = {name: self._tensor(value) for name, value in self.rule.corrections(own, steps).items()}
        for t, base_rate in enumerate(np.broadcast_to(rate, (num_steps, len(state)))):
            if t == 0 or rate.ndim == 2:
                hyper = self._hyper({**own, "lr": base_rate[:, None] * factor})
            # A compiled step is one program, with the sketch or without.
            sketched = t == num_steps - 1 or isinstance(self._advance, Compiled)
            own_hyper = hyper | {name: self._spread(value[t]) for name, value in corrections.items()}
            yield Turned(own_hyper, clip, keep, sketched)

    def _hyper(self, values: GroupHyper) -> Hyper:
        read = self.rule.coefficients(values)
        return {name: v if isinstance(v, float) else self._spread(self._tensor(v)) for name, v in read.items()}

    def _shifted(self, values: Values) -> GroupHyper:
        targets = {knob: name for knob, name in self.rule.targets.items() if knob in values}
        return {name: shifted(knob, self.base[name], values[knob]) for knob, name in targets.items()}

    def _tensor(self, value: Array) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float32, device=self.device)

    def _spread(self, value: Tensor) -> Tensor:
        """Make a number per run, [N, 1], or per group, [N, G], ready to meet the parameters, [N, P]."""
        return value if value.shape[1] == 1 else self.layout.spread(value)


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Take numbers below 1e-38 as 0 inside, on this thread, and leave the processor's setting as it was.

    The momentum of a unit that gets no gradient decays into them, and each costs the processor as much as a
    hundred others.
    """
    already = bool(torch.full((1,), 1e-38).mul_(0.1) == 0.0)  # torch tells in no other way
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


def _keep_freed_memory() -> None:
    """Teach glibc's allocator not to return blocks of up to 30 MB to the system at once.

    It learns from the largest block it has seen freed, mallopt(3). Before, the temporaries of a step
    can cost it as much in page faults as in arithmetic. Elsewhere this does nothing.
    """
    torch.empty(MALLOC_THRESHOLD, dtype=torch.uint8)


def probe_size(task: Task) -> int:
    """Return how many validation examples the probe batch holds at most."""
    return min(2 * task.batch_size, MAX_PROBE)


def check_loss(task: Task, params: dict[str, Tensor], train: tuple[Tensor, ...]) -> None:
    """Try the loss of a task.

    Raises:
      ValueError: if it is not a scalar tensor.
    """
    loss = task.loss(params, tuple(t[: task.batch_size] for t in train))
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        received = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
        raise ValueError(f"loss of task {task.name!r}: expected a scalar tensor; received {received}")
