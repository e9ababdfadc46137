"""How large the base optimizer's first updates are, tried on the sketch alone: what the first scale is set by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.signals import TRIAL_RATE, TRIAL_STEPS, update_norm, update_ratio
from optenv.wrapper.collective import Collective
from optenv.wrapper.group_sketch import GroupSketch

_PLAIN = {"fused": None, "foreach": False, "capturable": False, "differentiable": False}


def first_update(
    base: Optimizer,
    sketch: GroupSketch,
    rates: Sequence[float],
    collective: Collective | None = None,
    *,
    norm: bool = False,
) -> np.ndarray:
    """Return how large the whole model's first updates are, over its weights or as a norm, [1, G].

    A second optimizer of the same class takes `TRIAL_STEPS` steps along the first gradient on the sketched
    coordinates: each coordinate's largest move is what `update_ratio` sees, the last one what `update_norm` does.
    That is exact for every optimizer that treats coordinates alike. One that refuses such steps is taken to move each
    coordinate by its learning rate, as Adam does. Groups without gradients take no part.

    Args:
      base: the base optimizer, before its first step, with gradients.
      sketch: of its parameter groups.
      rates: of the groups, [G]; not those of the moment, which a warm-up may hold near 0. Steps are taken at rates in
        the same proportions, the largest of them `TRIAL_RATE`.
      collective: of the ranks that train together, which then find the same size; None alone.
      norm: whether `update_norm` is asked for.
    """
    none, mask = sketch.without_gradient(), sketch.mask.numpy()
    sizes = [0 if g in none else size for g, size in enumerate(sketch.sizes)]
    weights, gradient = sketch.weights().cpu(), sketch.gradient().cpu()
    largest = max(rates, default=0.0) or TRIAL_RATE
    rates = [TRIAL_RATE * (rate / largest) for rate in rates]
    try:
        moved = _trial_steps(base, weights, gradient, rates, last=norm)
    except Exception:  # noqa: BLE001 - whatever a foreign optimizer raises on a one-dimensional copy
        moved = torch.tensor(rates)[None, :, None] * sketch.mask
    displacement = moved.double().numpy() * mask
    own = (gradient != 0.0).double().numpy() if norm else weights.double().numpy()
    if collective is not None:
        displacement, own, mask = _pooled(collective, sketch.sharded, displacement, own, mask)
    if norm:
        size = update_norm(displacement, own, mask, sizes, type(base).__name__)
    else:
        size = update_ratio(displacement, own, mask, sizes)
    return size * (largest / TRIAL_RATE)


def _trial_steps(base: Optimizer, weights: Tensor, gradient: Tensor, rates: Sequence[float], *, last: bool) -> Tensor:
    copies = [w.double().clone().requires_grad_() for w in weights[0]]
    groups: list[dict[str, Any]] = []
    for copy, g, group, rate in zip(copies, gradient[0], base.param_groups, rates, strict=True):
        copy.grad = g.double()
        options = {name: _PLAIN.get(name, value) for name, value in group.items() if name != "params"}
        options = deepcopy(options)  # some optimizers write to tensors in their groups
        groups.append({"params": [copy], **options, "lr": rate})
    required: dict[str, Any] = {"lr": 1.0} if "lr" in base.defaults else {}
    trial = type(base)(groups, **required)
    step = _without_global_hooks(type(trial).step)
    moved = torch.zeros_like(weights, dtype=torch.float64)
    for _ in range(TRIAL_STEPS):
        before = [copy.detach().clone() for copy in copies]
        step(trial)
        moves = torch.stack([(copy.detach() - then).abs() for copy, then in zip(copies, before, strict=True)])
        moved = moves[None] if last else torch.maximum(moved, moves)
        if last:  # every step from where the weights are: not that of weight decay on where a large rate led
            torch._foreach_copy_([copy.detach() for copy in copies], before)
    return moved


def _without_global_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a class's step without what torch put around it: the hooks of all optimizers, and the profiler's."""
    return step.__wrapped__ if getattr(step, "hooked", False) else step  # type: ignore[attr-defined]


def _pooled(
    collective: Collective, sharded: Tensor, displacement: np.ndarray, weights: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return sketches of one coordinate, [1, G, 1], with the sizes that those of all ranks have together, and mask."""
    sums = np.stack([np.square(displacement[0]).sum(-1), np.abs(weights[0]).sum(-1), mask.sum(-1)])
    moved, size, count = collective.sum_of_groups(torch.from_numpy(sums), sharded).numpy()
    return np.sqrt(moved)[None, :, None], size[None, :, None], count[:, None]
