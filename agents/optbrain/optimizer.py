"""OptBrain around a torch optimizer."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.optbrain.bound import moved_share
from agents.optbrain.core import OptBrain
from agents.optbrain.file import flattened, nested
from agents.optbrain.sense import coordinates
from optenv.wrapper.coordinates import real_size
from optenv.wrapper.hooks import with_own_hooks
from optenv.wrapper.shell import OptimizerShell

Array = np.ndarray
_STATE = "brain"
MOMENTUM_SLOTS = ("momentum_buffer", "exp_avg")
CLIP_DECAY = 0.99
RUN = 16
Piece = tuple[Tensor, int, int, int, int]


class OptBrainOptimizer(OptBrain, OptimizerShell):
    """A torch optimizer that a brain steers; see `OptBrain`, which makes it.

    Between looks it does nothing but keep the loss. Learning rates are
    multiplied for the step alone and restored after it, so that schedulers compose.

    A step whose loss is not finite is not taken, nor one whose gradient shows a number that is not
    finite where and when the brain looks; `guard=True` looks at every gradient in every step.
    """

    def __init__(self, base_optimizer: Any, n_groups: int | None = None, *arguments: Any, guard: bool = False,
                 **keywords: Any):  # fmt: skip
        """Put a brain on top of an optimizer.

        Args:
          base_optimizer: anything with `step()` and `param_groups`.
          n_groups: if given, the number of its groups.
          *arguments: see `OptBrain`.
          guard: whether to read every gradient in every step and leave out steps where one is not finite.
          **keywords: see `OptBrain`.

        Raises:
          TypeError: if `base_optimizer` is no optimizer.
          ValueError: if there are not `n_groups` groups, or another argument is out of range.
        """
        OptimizerShell.__init__(self, base_optimizer)
        groups = len(self.param_groups)
        if n_groups not in (None, groups):
            raise ValueError(f"n_groups: expected the optimizer's {groups} parameter groups; received {n_groups!r}")
        self._guard = guard
        OptBrain.__init__(self, base_optimizer, groups, *arguments, **keywords)

    def _start_sketch(self) -> None:
        self._plan: list[Piece] = []
        self._planned = (-1, 0)
        self._weights: Array | None = None
        self._clip_reference = [0.0] * self.num_groups

    @with_own_hooks
    def step(self, closure: Callable[[], Any] | None = None, *, loss: Tensor | float | None = None) -> Any:
        """Take one step.

        Args:
          closure: recomputes the loss and its gradients; it runs once, first.
          loss: this step's training loss; may be left out where `closure` returns it.

        Returns:
          What `closure` returned, else None.

        Raises:
          ValueError: if there is no loss.
        """
        returned = None
        if closure is not None:
            with torch.enable_grad():
                returned = closure()
            loss = returned if loss is None else loss
        if loss is None:
            raise ValueError("step: expected loss=..., or a closure that returns it; received neither")
        if type(loss) is not float:
            loss = float(loss.detach() if isinstance(loss, Tensor) else loss)
        # Inline, since after a large model's step every line of code touched is a miss of the cache.
        if isfinite(loss) and not (self._guard and self._broken()):
            self._sense.hear(loss)
            if self._since_look or self._look():
                if self._neutral:
                    self.base.step()
                else:
                    self._turned_step()
                self._count()
        return returned

    def _turned_step(self) -> None:
        groups = self.base.param_groups
        if len(groups) != self.num_groups:
            self._follow_groups()
        kept = self._clip() if self._clips_now else ()
        own = []
        try:
            for group, factor in zip(groups, self._factors, strict=True):
                own.append(group["lr"])
                group["lr"] = own[-1] * factor
            self.base.step()
        finally:
            for group, rate in zip(groups, own, strict=False):  # fewer where a rate could not be turned
                group["lr"] = rate
            for p, gradient in kept:
                p.grad = gradient
        if self._dampens_now:
            self._dampen()

    def _obey(self, actions: Array) -> None:
        super()._obey(actions)
        self._clips_now, self._dampens_now = min(self._clips) < 1.0, any(self._dampens)

    @torch.no_grad()
    def _look(self) -> bool:
        """Let the brain learn and decide; say whether the gradient it saw is finite."""
        self._follow_groups()
        gradient, weights = self._read(gradient=True), self._read(gradient=False)
        if not np.isfinite(gradient).all():
            return False
        moved = np.zeros_like(weights) if self._weights is None else weights - self._weights
        self._weights = weights
        self._decide(self._sense.look(gradient, moved), moved_share(moved, weights, self._wait))
        return True

    def _follow_groups(self) -> None:
        """Go on with the groups and parameters that the base optimizer has now."""
        groups = self.base.param_groups
        now = (len(groups), sum(len(group["params"]) for group in groups))
        if now == self._planned:
            return
        if len(groups) != self.num_groups:
            self._regroup(len(groups))
        self._planned, self._plan, self._weights = now, [], None
        self._width = coordinates(len(groups))
        for g, group in enumerate(groups):
            self._plan += _chosen(group["params"], self._width, g * self._width)

    def _regroup(self, num_groups: int) -> None:
        sources = np.array([g if g < self.num_groups else -1 for g in range(num_groups)])
        self._brain.regroup(sources)
        common = min(num_groups, self.num_groups)
        self.num_groups = num_groups
        actions = np.zeros((num_groups, self._actions.shape[1]))  # a new group is neutral until the brain looks again
        actions[:common] = self._actions[:common]
        self._obey(actions)
        self._sense.regroup(num_groups)
        self._clip_reference = [0.0] * num_groups

    def _read(self, gradient: bool) -> Array:
        """Return the sketch of gradients, or of weights, [G, S]; 0 where there is none."""
        sketch = np.zeros((self.num_groups, self._width), np.float32)
        flat = sketch.reshape(-1)
        for parameter, rows, length, width, place in self._plan:
            tensor = parameter.grad if gradient else parameter.data
            if tensor is not None:
                flat[place : place + rows * width] = _numbers(tensor, rows, length, width).reshape(-1)
        return sketch

    def _broken(self) -> bool:
        gradients = [p.grad for group in self.base.param_groups for p in group["params"] if p.grad is not None]
        dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
        return any(not isfinite(float(norm)) for norm in torch._foreach_norm(dense, float("inf"))) if dense else False

    def _clip(self) -> list[tuple[Tensor, Tensor]]:
        """Put scaled copies in the place of the gradients of groups that clip; return what was there."""
        kept = []
        for g, group in enumerate(self.base.param_groups):
            if self._clips[g] >= 1.0:
                continue
            params = [p for p in group["params"] if p.grad is not None and not p.grad.is_sparse]
            norm = float(torch.stack([p.grad.norm().cpu() for p in params]).norm()) if params else 0.0
            if not isfinite(norm):
                continue
            self._clip_reference[g] = max(CLIP_DECAY * self._clip_reference[g], norm)
            threshold = self._clips[g] * self._clip_reference[g]
            if norm > threshold:
                kept += [(p, p.grad) for p in params]
                for p in params:
                    p.grad = p.grad * (threshold / norm)
        return kept

    @torch.no_grad()
    def _dampen(self) -> None:
        for group, dampen in zip(self.base.param_groups, self._dampens, strict=True):
            for p in group["params"] if dampen else ():
                for slot in MOMENTUM_SLOTS:
                    buffer = self.state.get(p, {}).get(slot)
                    if isinstance(buffer, Tensor):
                        buffer.mul_(1.0 - dampen)

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state, where it has one, and the brain's under "brain", as tensors by name."""
        base = self.base.state_dict() if hasattr(self.base, "state_dict") else {}
        return {**base, _STATE: {k: torch.tensor(np.asarray(v)) for k, v in flattened(self._state()).items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; from a base optimizer's own, the brain goes on as it is.

        Raises:
          ValueError: if it is the state of another number of groups.
        """
        brain = state_dict.get(_STATE)
        if brain is not None:
            self._restore(nested({name: np.asarray(value) for name, value in brain.items()}), "load_state_dict")
        if hasattr(self.base, "load_state_dict"):
            self.base.load_state_dict({name: value for name, value in state_dict.items() if name != _STATE})

    def _sketch_state(self) -> dict[str, Any]:
        weights = np.zeros((self.num_groups, 0), np.float32) if self._weights is None else self._weights
        return {"weights": weights, "clip_reference": np.array(self._clip_reference)}

    def _restore_sketch(self, state: dict[str, Any]) -> None:
        if "weights" not in state:  # saved without torch, which knows no weights
            return self._start_sketch()
        weights = np.array(state["weights"], np.float32)
        self._follow_groups()
        self._weights = weights if weights.shape == (self.num_groups, self._width) else None
        self._clip_reference = np.asarray(state["clip_reference"], float).tolist()

    def get_decisions(self, loss: float) -> Any:
        """Refuse: around an optimizer the brain decides within `step`.

        Raises:
          TypeError: always.
        """
        raise TypeError("get_decisions: around an optimizer use step(loss=...); expected OptBrain(None, n_groups=...)")

    record_grads = finish_step = get_decisions  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Say what it steers, and how far it is from neutral."""
        low, high = min(self._factors), max(self._factors)
        return f"OptBrain({type(self.base).__name__}, step {self.step_count}, scale {low:.3g} to {high:.3g})"


def _chosen(params: list[Tensor], limit: int, place: int) -> list[Piece]:
    """Choose at most `limit` coordinates of a group, in runs of `RUN` neighbours evenly spread over each parameter.

    Neighbours share a line of the cache: of a large model single numbers would cost a miss each.

    Returns:
      (parameter, rows, length, width, place) each: of the parameter cut into `rows` rows of `length`, the
      first `width` of each row, at `place` in the sketch.
    """
    stride = max(1, -(-sum(map(real_size, params)) // limit))
    chosen, end = [], place + limit
    for p in params:
        size = real_size(p)
        rows = size // (stride * RUN)
        length, width = (stride * RUN, RUN) if rows else (size, -(-size // stride))
        if stride == 1:
            rows, length, width = 1, size, size
        rows = min(max(rows, 1), (end - place) // max(width, 1))
        if rows and width:
            chosen.append((p, rows, length, width, place))
        place += rows * width
    return chosen


def _numbers(tensor: Tensor, rows: int, length: int, width: int) -> Array:
    """Return the chosen coordinates of one tensor, [rows, width]."""
    if tensor.dtype is torch.float32 and tensor.layout is torch.strided and not tensor.is_cuda:
        return tensor.numpy().reshape(-1)[: rows * length].reshape(rows, length)[:, :width]  # faster than in torch
    dense = tensor.to_dense() if tensor.is_sparse else tensor
    real = torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense
    return real.reshape(-1)[: rows * length].view(rows, length)[:, :width].float().cpu().numpy()
