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

    Args:
      groups: the base optimizer's parameter groups.
      values: knob values by name, [1, G] each.
    """
    before = [dict(group) for group in groups]
    try:
        for g, group in enumerate(groups):
            _turn(group, {name: float(value[0, g]) for name, value in values.items()})
        yield
    finally:
        for group, old in zip(groups, before, strict=True):
            group.update({name: old[name] for name in ("lr", "momentum", "betas", "alpha", "weight_decay") if name in old})


def _turn(group: ParamGroup, values: dict[str, float]) -> None:
    factor = values.get("scale", 1.0) * (1.0 - values.get("dampen", 0.0))
    if factor != 1.0:
        group["lr"] = group["lr"] * factor
    for knob in ("momentum", "beta2", "weight_decay"):
        if values.get(knob, 0.0) != 0.0:
            _shift(group, knob, values[knob])


def _shift(group: ParamGroup, knob: str, shift: float) -> None:
    """Move one of the base optimizer's own values; a knob the optimizer does not have does nothing."""

    def move(base: float) -> float:
        return float(shifted(knob, float(base), np.asarray(shift)))

    if knob in ("momentum", "beta2") and "betas" in group:
        place = 0 if knob == "momentum" else 1
        group["betas"] = tuple(move(b) if i == place else b for i, b in enumerate(group["betas"]))
        return
    name = {"beta2": "alpha"}.get(knob, knob)
    if name in group:
        group[name] = move(group[name])


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
