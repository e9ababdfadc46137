"""Turning the knobs of torch parameter groups for one step, and back."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.knobs import shifted

Array = np.ndarray
ParamGroup = dict[str, Any]
MOMENTUM_SLOTS = ("momentum_buffer", "exp_avg")
SHIFTED_KNOBS = ("momentum", "beta2", "weight_decay")
SHIFTED_ENTRIES = ("betas", "momentum", "alpha", "weight_decay")


class Turning:
    """What knob values do to the groups' hyperparameters: worked out once, then done and undone in every step.

    A rate is multiplied as it stands at each step, so that a schedule and the control compose. Groups
    whose knobs are neutral are not touched.
    """

    def __init__(self, groups: Sequence[ParamGroup], values: dict[str, Array]):
        """Prepare to turn.

        Args:
          groups: the base optimizer's parameter groups.
          values: knob values by name, [1, G] each.
        """
        factor = values.get("scale", np.ones((1, len(groups)))) * (1.0 - values.get("dampen", 0.0))
        turned = [g for g, group in enumerate(groups) if factor[0, g] != 1.0 and "lr" in group]
        self._turned, self._factors = [groups[g] for g in turned], array("d", factor[0, turned])
        columns = {knob: values[knob][0].tolist() for knob in SHIFTED_KNOBS if knob in values and values[knob].any()}
        self._shifts = [_Shifts(group, {knob: own[g] for knob, own in columns.items()})
                        for g, group in enumerate(groups)] if columns else []  # fmt: skip
        self._own_rates: list[Any] = []
        self._own: list[dict[str, Any]] = []

    def __bool__(self) -> bool:
        """Say whether there is anything to turn."""
        return bool(self._turned or self._shifts)

    def turn(self) -> None:
        """Set the hyperparameters for the step that follows."""
        for group, factor in zip(self._turned, self._factors, strict=True):
            rate = group["lr"]
            self._own_rates.append(rate)
            group["lr"] = rate * factor
        for shifts in self._shifts:
            moved = shifts.moved()
            self._own.append({name: shifts.group[name] for name in moved})
            shifts.group.update(moved)

    def restore(self) -> None:
        """Undo `turn`; what the step itself wrote stays, unless the knobs had turned that very entry."""
        for group, rate in zip(self._turned, self._own_rates, strict=False):  # fewer where turning itself failed
            group["lr"] = rate
        for shifts, own in zip(self._shifts, self._own, strict=False):
            shifts.group.update(own)
        self._own_rates, self._own = [], []


class _Shifts:
    """One group's optional knobs; worked out again only where the base optimizer's own values have changed."""

    def __init__(self, group: ParamGroup, shifts: dict[str, float]):
        self.group, self._shifts = group, {knob: shift for knob, shift in shifts.items() if shift != 0.0}
        self._own: list[Any] = []
        self._moved: dict[str, Any] = {}

    def moved(self) -> dict[str, Any]:
        own = [self.group.get(name) for name in SHIFTED_ENTRIES]
        if not (self._own and all(map(is_, own, self._own))):
            self._own, self._moved = own, {}
            for knob, shift in self._shifts.items():
                self._moved |= _shifted({**self.group, **self._moved}, knob, shift)
        return self._moved


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


@torch.no_grad()
def dampen_momentum(base: Optimizer, dampen: Array) -> None:
    """Multiply the momentum that each group carries on by `1 - dampen`, [1, G]."""
    for group, d in zip(base.param_groups, dampen[0].tolist(), strict=True):
        if d == 0.0:
            continue
        for p in group["params"]:
            for slot in MOMENTUM_SLOTS:
                buffer = base.state.get(p, {}).get(slot)
                if isinstance(buffer, Tensor):
                    buffer.mul_(1.0 - d)


class Clipping:
    """Lets a step see smaller gradients; the user's own tensors stay as they are."""

    def __init__(self) -> None:
        """Begin with nothing replaced."""
        self._kept: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def clip(self, groups: Sequence[ParamGroup], factors: Tensor) -> None:
        """Replace the groups' gradients by themselves times `factors`, one a group, [n]."""
        on_host = factors.tolist() if factors.device.type == "cpu" else None  # elsewhere to look would be to wait
        for i, group in enumerate(groups):
            if on_host is not None and on_host[i] == 1.0:
                continue
            for p in group["params"]:
                if p.grad is not None:
                    self._kept.append((p, p.grad))
                    p.grad = torch.mul(p.grad, factors[i].to(p.grad.device) if on_host is None else on_host[i])

    def restore(self) -> None:
        """Put the user's gradients back."""
        for p, gradient in self._kept:
            p.grad = gradient
        self._kept = []
