"""The batched trainer: N runs of one task, one forward and backward pass for all of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optenv.control.knobs import shifted
from optenv.control.signals import Interval, loss_statistics, update_ratio
from optenv.control.sketch import SketchMemory
from optenv.inner.layout import Layout
from optenv.inner.optimizers import DECAYS, Hyper, Rule
from optenv.inner.randomness import generator, minibatch_indices
from optenv.inner.state import RunState
from optenv.tasks.task import Task

CLIP_DECAY = 0.99
MAX_PROBE = 256
Values = dict[str, np.ndarray]


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
        self._index, self._mask = (t.to(self.device) for t in self.layout.sketch)
        self._owner = self.layout.owner.to(self.device)
        self._losses = torch.func.vmap(task.loss)
        self._step = torch.compile(self._inner_step) if compile else self._inner_step

    @property
    def num_groups(self) -> int:
        """Number of parameter groups, G."""
        return len(self.layout.groups)

    def start(self, seeds: np.ndarray) -> RunState:
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
            memory=SketchMemory.start(self._sketch(params)),
        )

    def run(self, state: RunState, rate: np.ndarray, values: Values, num_steps: int) -> Interval:
        """Take inner steps under fixed knob values, changing `state` in place.

        Args:
          state: N runs.
          rate: base learning rate of each run, [N], or of each run at each step, [k, N].
          values: knob values by name, [N, G] each; a missing knob is neutral.
          num_steps: inner steps to take, at least 1.

        Returns:
          What happened; losses and sketches as the features need them.
        """
        clip, dampen = self._per_group(values, "clip"), self._dampen(values)
        hyper = self._hyper(rate[0] if rate.ndim == 2 else rate, values)
        losses = []
        last = state.last_loss
        for i, batch in enumerate(self._batches(state, num_steps)):
            state.step += 1
            if rate.ndim == 2 and i > 0:
                hyper = self._hyper(rate[i], values)
            loss, gradient = self._step(state.params, batch)
            if i == num_steps - 1:
                seen = self._sketch(gradient)  # before clipping, as the wrapper sees it
            if clip is not None:
                self._clip(state, gradient, clip)
            t = torch.as_tensor(state.step, device=self.device, dtype=torch.float64)[:, None]
            self.rule.update(state.params, gradient, state.slots, hyper, t)
            if dampen is not None:
                state.slots[self.rule.momentum_slot].mul_(dampen)
            losses.append(loss)
        state.last_loss = losses[-1]
        history = torch.stack(losses).double().cpu().numpy()
        mean, noise = loss_statistics(history, last.double().cpu().numpy())
        return Interval(num_steps, mean, noise, state.memory.advance(seen, self._sketch(state.params)))

    def evaluate(self, state: RunState, split: str = "valid") -> np.ndarray:
        """Return the loss of every run, [N] float64, on its validation set or (split "probe") the first part of it."""
        limit = probe_size(self.task) if split == "probe" else None
        data = tuple(t[:, :limit].expand(len(state), *t[:, :limit].shape[1:]) for t in state.valid)
        with torch.no_grad():
            return self._losses(self.layout.views(state.params), data).double().cpu().numpy()

    def first_update_ratio(self, state: RunState, rate: np.ndarray) -> np.ndarray:
        """Return the norm of the model's first update at the base rate over that of its weights, [N, G].

        The first step is taken on a copy; `state` does not change.
        """
        trial = state.select(np.arange(len(state)))
        _, gradient = self._inner_step(trial.params, self._batches(trial, 1)[0])
        t = torch.ones(len(state), 1, device=self.device, dtype=torch.float64)
        self.rule.update(trial.params, gradient, trial.slots, self._hyper(rate, {}), t)
        before, after = self._sketch(state.params).double(), self._sketch(trial.params).double()
        return update_ratio((after - before).cpu().numpy(), before.cpu().numpy(), self._mask.cpu().numpy(), self.layout.sizes)

    def _inner_step(self, params: Tensor, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return every run's loss, [N], and gradient, [N, P]."""
        views = {name: view.detach().requires_grad_() for name, view in self.layout.views(params).items()}
        with torch.enable_grad():
            loss = self._losses(views, batch)
            # Runs do not share parameters, so the gradient of the sum holds each run's own.
            gradients = torch.autograd.grad(loss.sum(), tuple(views.values()))
        return loss.detach(), torch.cat([g.reshape(len(params), -1) for g in gradients], dim=1)

    def _batches(self, state: RunState, num_steps: int) -> list[tuple[Tensor, ...]]:
        if not state.train:
            return [()] * num_steps
        n, examples = len(state), state.train[0].shape[1]
        index = minibatch_indices(state.seed, state.step, num_steps, self.task.batch_size, examples)
        if not state.shared:
            index += np.arange(n)[None, :, None] * examples
        flat = torch.from_numpy(index.reshape(num_steps, -1)).to(self.device)
        return [tuple(_rows(t, rows, n) for t in state.train) for rows in flat]

    def _stack(self, tensors: tuple[Tensor, ...]) -> Tensor:
        # A shared data set may be a view of overlapping windows, which stacking would spell out.
        return (tensors[0][None] if self._shared else torch.stack(tensors)).to(self.device)

    def _sketch(self, flat: Tensor) -> Tensor:
        return flat[:, self._index] * self._mask

    def _expand(self, value: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
        """Spread per-group values, [N, G], over the flat parameters, [N, P]."""
        return torch.tensor(value, dtype=dtype, device=self.device)[:, self._owner]

    def _hyper(self, rate: np.ndarray, values: Values) -> Hyper:
        factor = values.get("scale", 1.0) * (1.0 - values.get("dampen", 0.0))
        group_rate = np.broadcast_to(rate[:, None] * factor, (len(rate), self.num_groups))
        return {"lr": self._expand(group_rate), **self.base, **self._optional(values)}

    def _optional(self, values: Values) -> Hyper:
        hyper: Hyper = {}
        for knob, name in self.rule.targets.items():
            if knob in values:
                moved = shifted(knob, self.base[name], values[knob])
                hyper[name] = self._expand(moved, torch.float64 if name in DECAYS else torch.float32)
        return hyper

    def _per_group(self, values: Values, knob: str) -> Tensor | None:
        return torch.as_tensor(values[knob], dtype=torch.float32, device=self.device) if knob in values else None

    def _dampen(self, values: Values) -> Tensor | None:
        if self.rule.momentum_slot is None or "dampen" not in values or not values["dampen"].any():
            return None
        return self._expand(1.0 - values["dampen"])

    def _clip(self, state: RunState, gradient: Tensor, clip: Tensor) -> None:
        norm = self._sketch(gradient).square().sum(-1).sqrt()
        # A non-finite norm must not stay in the reference.
        state.clip_reference = torch.maximum(state.clip_reference * CLIP_DECAY, norm.nan_to_num(0.0, 0.0, 0.0))
        threshold = clip * state.clip_reference
        factor = torch.where(norm > threshold, threshold / norm, 1.0)
        if bool((factor < 1.0).any()):
            gradient.mul_(factor[:, self._owner])


def _rows(tensor: Tensor, index: Tensor, num_runs: int) -> Tensor:
    """Gather each run's minibatch, [N, B, ...], from [N or 1, M, ...]."""
    return tensor.flatten(0, 1).index_select(0, index).view(num_runs, -1, *tensor.shape[2:])


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
