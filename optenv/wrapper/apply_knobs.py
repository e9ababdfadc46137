"""What knobs do to torch parameter groups: hyperparameters, momentum and gradients, for one step."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.knobs import KNOBS, RATE, rate_factor
from optenv.wrapper.param_groups import ParamGroup, is_number

Array = np.ndarray
Place = tuple[str, int | None]
BETAS = ("beta1", "beta2")
NAMES = (*BETAS, "second_moment")
MOMENTUM_SLOTS = ("momentum_buffer", "exp_avg")


def place(group: ParamGroup, name: str) -> Place | None:
    """Return where a group has a hyperparameter that is a number.

    Args:
      group: a parameter group.
      name: as in `Knob.moves`.

    Returns:
      The group's entry, and the place within it where that is a pair of betas; None where it has none, as where
      there are more betas than two, which mean something else in every optimizer.

    >>> adam, rmsprop = {"lr": 0.1, "betas": (0.9, 0.99)}, {"alpha": 0.99, "momentum": 0, "centered": False}
    >>> place(adam, "beta2"), place(rmsprop, "beta2"), place(adam, "momentum"), place(rmsprop, "momentum")
    (('betas', 1), ('alpha', None), None, None)
    >>> place({"betas": (0.9, 0.99)}, "second_moment")  # Lion's is of the gradient itself
    """
    if name == "second_moment":
        return place(group, "beta2") if _averages_squares(group) else None
    betas = group.get("betas")
    if name in BETAS and betas is not None:
        index = BETAS.index(name)
        return ("betas", index) if _is_pair(betas) and is_number(betas[index]) else None
    is_rmsprop = "alpha" in group and "centered" in group  # ASGD's alpha is no decay of squares
    entry = "alpha" if is_rmsprop and name == "beta2" else name
    if not is_number(group.get(entry)):
        return None
    if name == "momentum" and "dampening" not in group and group[name] == 0:
        return None  # others than SGD make their momentum buffer in the first step or never
    return entry, None


def hyperparameters(groups: Sequence[ParamGroup]) -> list[str]:
    """Return the names of all hyperparameters that knobs may move in at least one of the groups."""
    return list(dict.fromkeys(name for group in groups for name in (*group, *NAMES) if place(group, name) is not None))


def _averages_squares(group: ParamGroup) -> bool:
    """Say whether beta2 is the decay of squared gradients alone: Prodigy and its like find their rate by it, too."""
    return "alpha" in group or ("eps" in group and "d" not in group and "beta3" not in group)


def _is_pair(betas: Any) -> bool:
    return isinstance(betas, (tuple, list)) and len(betas) == 2


class AppliedKnobs:
    """Sets the groups' hyperparameters to what the knobs say for one step, and restores them.

    A rate is multiplied as it stands at each step, so that a schedule and the control compose. Groups
    whose knobs are neutral are not touched.
    """

    def __init__(self, groups: Sequence[ParamGroup], values: dict[str, Array]):
        """Work out what has to be set.

        Args:
          groups: the base optimizer's parameter groups.
          values: knob values by name, [1, G] each.
        """
        factor = (rate_factor(values) * np.ones((1, len(groups))))[0]
        moved = [g for g, group in enumerate(groups) if factor[g] != 1.0 and place(group, "lr") is not None]
        self._rated = groups if len(moved) == len(groups) else [groups[g] for g in moved]
        self._factors = array("d", factor[moved].tobytes())
        others = {name: value[0].tolist() for name, value in values.items() if _moves_another(name, value)}
        turned = (_MovedGroup(group, {name: own[g] for name, own in others.items()}) for g, group in enumerate(groups))
        self._moved = [group for group in turned if group.moves] if others else []
        self._own_rates: list[Any] = []
        self._own: list[ParamGroup] = []

    def set(self) -> None:
        """Set the hyperparameters for the step that follows."""
        for group, factor in zip(self._rated, self._factors):  # noqa: B905 - of one length; a check costs every step
            rate = group["lr"]
            self._own_rates.append(rate)
            group["lr"] = rate * factor
        for moved in self._moved:
            entries = moved.entries()
            self._own.append({name: moved.group[name] for name in entries})
            moved.group.update(entries)

    def restore(self) -> None:
        """Undo `set`; what the step itself wrote stays, unless the knobs had set that very entry."""
        for group, rate in zip(self._rated, self._own_rates):  # noqa: B905 - fewer where setting itself failed
            group["lr"] = rate
        self._own_rates.clear()
        if self._own:
            for moved, own in zip(self._moved, self._own, strict=False):
                moved.group.update(own)
            self._own.clear()


def _moves_another(knob: str, value: Array) -> bool:
    """Say whether a knob moves another hyperparameter than the rate in some group."""
    return KNOBS[knob].moves not in ((), RATE) and bool((value != KNOBS[knob].neutral).any())


class _MovedGroup:
    """One group's moved hyperparameters; worked out again only where the group's own values have changed."""

    def __init__(self, group: ParamGroup, values: dict[str, float]):
        self.group = group
        self.moves: list[tuple[str, Place, float]] = []
        for knob, value in values.items():
            found = next(filter(None, (place(group, name) for name in KNOBS[knob].moves)), None)
            if found is not None and value != KNOBS[knob].neutral:
                self.moves.append((knob, found, value))
        self._names = list(dict.fromkeys(entry for _, (entry, _), _ in self.moves))
        self._own: list[Any] = []
        self._entries: ParamGroup = {}

    def entries(self) -> ParamGroup:
        """Return the entries as the knobs set them."""
        own = [self.group[name] for name in self._names]
        if not (self._own and all(map(is_, own, self._own))):
            self._own, self._entries = own, dict(zip(self._names, own, strict=True))
            for knob, (entry, index), value in self.moves:
                self._entries[entry] = _moved(self._entries[entry], index, knob, value)
        return self._entries


def _moved(own: Any, index: int | None, knob: str, value: float) -> Any:
    if index is None:
        moved = float(KNOBS[knob].move(float(own), value))
        return torch.full_like(own, moved) if isinstance(own, Tensor) else moved
    return tuple(_moved(beta, None, knob, value) if i == index else beta for i, beta in enumerate(own))


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


class ClippedGradients:
    """Lets a step see smaller gradients; the user's own tensors stay as they are."""

    def __init__(self) -> None:
        """Begin with nothing replaced."""
        self._own: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def set(self, groups: Sequence[ParamGroup], factors: Tensor) -> None:
        """Replace the groups' gradients by themselves times `factors`, one a group, [n]."""
        on_host = factors.tolist() if factors.device.type == "cpu" else None  # elsewhere reading would synchronise
        for i, group in enumerate(groups):
            if on_host is not None and on_host[i] == 1.0:
                continue
            for p in group["params"]:
                if p.grad is not None:
                    self._own.append((p, p.grad))
                    p.grad = torch.mul(p.grad, factors[i].to(p.grad.device) if on_host is None else on_host[i])

    def restore(self) -> None:
        """Put the user's gradients back."""
        for p, gradient in self._own:
            p.grad = gradient
        self._own = []
