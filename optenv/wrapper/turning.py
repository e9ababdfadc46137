"""Turning the knobs of torch parameter groups for one step, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.knobs import shifted

Array = np.ndarray
ParamGroup = dict[str, Any]
MOMENTUM_SLOTS = ("momentum_buffer", "exp_avg")


@contextmanager
def turned(groups: list[ParamGroup], values: dict[str, Array]) -> Iterator[None]:
    """Set the groups' hyperparameters for the step inside, and restore them after.

    What the step itself writes into a group stays, unless the knobs had turned that very entry.

    Args:
      groups: the base optimizer's parameter groups.
      values: knob values by name, [1, G] each.
    """
    own: list[dict[str, Any]] = []
    try:
        for g, group in enumerate(groups):
            own.append(_turn(group, {name: float(value[0, g]) for name, value in values.items()}))
        yield
    finally:
        for group, old in zip(groups, own, strict=False):  # fewer where turning itself failed
            group.update(old)


def _turn(group: ParamGroup, values: dict[str, float]) -> dict[str, Any]:
    """Turn one group's hyperparameters and return the old values of those that changed."""
    turned: dict[str, Any] = {}
    factor = values.get("scale", 1.0) * (1.0 - values.get("dampen", 0.0))
    if factor != 1.0:
        turned["lr"] = group["lr"] * factor
    for knob in ("momentum", "beta2", "weight_decay"):
        if values.get(knob, 0.0) != 0.0:
            turned |= _shifted({**group, **turned}, knob, values[knob])
    old = {name: group[name] for name in turned}
    group.update(turned)
    return old


def _shifted(group: ParamGroup, knob: str, shift: float) -> ParamGroup:
    """Return one of the base optimizer's own values, moved; nothing where it has no such value."""

    def move(base: float) -> float:
        return float(shifted(knob, float(base), np.asarray(shift)))

    if knob in ("momentum", "beta2") and "betas" in group:
        place = 0 if knob == "momentum" else 1
        return {"betas": tuple(move(b) if i == place else b for i, b in enumerate(group["betas"]))}
    is_rmsprop = "alpha" in group and "centered" in group  # ASGD's alpha is no decay of squares
    name = "alpha" if knob == "beta2" and is_rmsprop else knob
    if name not in group:
        return {}
    if knob == "momentum" and is_rmsprop and group[name] == 0:
        return {}  # RMSprop makes its momentum buffer in its first step or never
    return {name: move(group[name])}


def dampen_momentum(base: Optimizer, dampen: Array) -> None:
    """Multiply the momentum that each group carries on by `1 - dampen`, [1, G]."""
    for group, d in zip(base.param_groups, dampen[0], strict=True):
        if d == 0.0:
            continue
        for p in group["params"]:
            for slot in MOMENTUM_SLOTS:
                buffer = base.state.get(p, {}).get(slot)
                if isinstance(buffer, Tensor):
                    buffer.mul_(1.0 - float(d))


@contextmanager
def clipped(groups: list[ParamGroup], factors: Array) -> Iterator[None]:
    """Let the step inside see gradients times `factors`, [G]; the user's own tensors stay as they are."""
    kept: list[tuple[Tensor, Tensor]] = []
    for group, factor in zip(groups, factors, strict=True):
        if factor == 1.0:
            continue
        for p in group["params"]:
            if p.grad is not None:
                kept.append((p, p.grad))
                p.grad = torch.mul(p.grad, float(factor))
    try:
        yield
    finally:
        for p, gradient in kept:
            p.grad = gradient
