"""Base optimizers as functions of stacked state, one row of data each.

Every run and every group has hyperparameters of its own: a hyperparameter is a number, or a tensor
that broadcasts against the stacked parameters, [N, P]. Each rule equals its namesake in
`torch.optim` step by step, up to rounding.

The state of many runs does not fit the processor's cache, so a rule costs its passes over [N, P]: it
works in place, and in the gradient's own memory once the gradient is no longer needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optenv.errors import unknown_name

Array = np.ndarray
Hyper = dict[str, Any]  # numbers, and tensors that broadcast against [N, P]
GroupHyper = dict[str, Any]  # numbers, and arrays [N, 1] or [N, G]
Slots = dict[str, Tensor]
DECAYS = ("beta1", "beta2", "alpha")


def _plain(values: GroupHyper) -> GroupHyper:
    """Give decay rates as their complement, taken here since near 1 it loses its digits in single precision."""
    return {f"1-{k}" if k in DECAYS else k: 1.0 - v if k in DECAYS else v for k, v in values.items()}


def _decoupled(values: GroupHyper) -> GroupHyper:
    """The same with weight decay, unless it is off, as the factor that the parameters shrink by."""
    decay, others = values["weight_decay"], {k: v for k, v in values.items() if k != "weight_decay"}
    off = isinstance(decay, float) and decay == 0.0
    return {**_plain(others), "shrink": 1.0 if off else 1.0 - values["lr"] * decay}


def _none(values: GroupHyper, step: Array) -> dict[str, Array]:
    return {}


@dataclass(frozen=True)
class Rule:
    """One base optimizer.

    Attributes:
      name: as in `optimizer="adamw"`.
      slots: names of its per-parameter state, zero at the start of a run.
      defaults: hyperparameters besides the learning rate `lr`.
      update: changes parameters and slots in place: `update(p, g, slots, hyper)` with p, g and every
        slot [N, P] and hyper as the next two make it; it may overwrite g.
      coefficients: what update reads, from the hyperparameters and `lr`, a number, [N, 1] or [N, G] each.
      corrections: what it reads besides that changes with every step: `corrections(values, step)`
        with the numbers of k steps, counted from 1, [k, N, 1], returns [k, N, 1] or [k, N, G] each.
      momentum_slot: the slot that carries momentum on, if any.
      targets: which hyperparameter each optional knob moves.
    """

    name: str
    slots: tuple[str, ...]
    defaults: dict[str, float]
    update: Callable[[Tensor, Tensor, Slots, Hyper], None]
    momentum_slot: str | None = None
    targets: dict[str, str] = field(default_factory=dict)
    coefficients: Callable[[GroupHyper], GroupHyper] = _plain
    corrections: Callable[[GroupHyper, Array], dict[str, Array]] = _none


def _is_zero(value: float | Tensor) -> bool:
    return isinstance(value, float) and value == 0.0


def _descend(p: Tensor, direction: Tensor, h: Hyper) -> None:
    p.addcmul_(direction, h["lr"], value=-1.0)


def _l2(p: Tensor, g: Tensor, h: Hyper) -> Tensor:
    return g if _is_zero(h["weight_decay"]) else g.add_(p * h["weight_decay"])


def _shrink(p: Tensor, h: Hyper) -> None:
    if isinstance(h["shrink"], Tensor):
        p.mul_(h["shrink"])


def _sgd(p: Tensor, g: Tensor, slots: Slots, h: Hyper) -> None:
    g, momentum = _l2(p, g, h), h["momentum"]
    if _is_zero(momentum):
        return _descend(p, g, h)
    buffer = slots["momentum_buffer"]
    carried = (buffer * momentum).add_(g)
    step = (carried * momentum).add_(g) if h["nesterov"] else carried
    if isinstance(momentum, Tensor):  # in torch, a momentum of 0 leaves the buffer as it was
        carried, step = torch.where(momentum > 0, carried, buffer), torch.where(momentum > 0, step, g)
    buffer.copy_(carried)
    _descend(p, step, h)


def _adam_step(p: Tensor, g: Tensor, slots: Slots, h: Hyper) -> None:
    m = slots["exp_avg"].lerp_(g, h["1-beta1"])
    v = slots["exp_avg_sq"].lerp_(g.mul_(g), h["1-beta2"])
    root = torch.sqrt(v, out=g).add_(h["corrected_eps"])
    _descend(p, torch.div(m, root, out=root).mul_(h["correction"]), h)


def _adam_corrections(values: GroupHyper, step: Array) -> dict[str, Array]:
    """Turn m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) into correction * m / (sqrt(v) + corrected_eps)."""
    root = np.sqrt(1.0 - np.power(values["beta2"], step))
    return {"correction": root / (1.0 - np.power(values["beta1"], step)), "corrected_eps": values["eps"] * root}


def _adam(p: Tensor, g: Tensor, slots: Slots, h: Hyper) -> None:
    _adam_step(p, _l2(p, g, h), slots, h)


def _adamw(p: Tensor, g: Tensor, slots: Slots, h: Hyper) -> None:
    _shrink(p, h)
    _adam_step(p, g, slots, h)


def _rmsprop(p: Tensor, g: Tensor, slots: Slots, h: Hyper) -> None:
    g = _l2(p, g, h)
    v = slots["square_avg"].lerp_(g * g, h["1-alpha"])
    _descend(p, g.div_(v.sqrt().add_(h["eps"])), h)


def _adagrad(p: Tensor, g: Tensor, slots: Slots, h: Hyper) -> None:
    g = _l2(p, g, h)
    total = slots["sum"].addcmul_(g, g)
    _descend(p, g.div_(total.sqrt().add_(h["eps"])), h)


def _lion(p: Tensor, g: Tensor, slots: Slots, h: Hyper) -> None:
    _shrink(p, h)
    m = slots["exp_avg"]
    _descend(p, m.lerp(g, h["1-beta1"]).sign_(), h)
    m.lerp_(g, h["1-beta2"])


_BETAS = {"beta1": 0.9, "beta2": 0.999}
_ADAM_KNOBS = {"momentum": "beta1", "beta2": "beta2", "weight_decay": "weight_decay"}

OPTIMIZERS: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("sgd", ("momentum_buffer",), {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0}, _sgd,
             "momentum_buffer", {"momentum": "momentum", "weight_decay": "weight_decay"}),
        Rule("adam", ("exp_avg", "exp_avg_sq"), {**_BETAS, "eps": 1e-8, "weight_decay": 0.0}, _adam,
             "exp_avg", _ADAM_KNOBS, corrections=_adam_corrections),
        Rule("adamw", ("exp_avg", "exp_avg_sq"), {**_BETAS, "eps": 1e-8, "weight_decay": 1e-2}, _adamw,
             "exp_avg", _ADAM_KNOBS, _decoupled, _adam_corrections),
        Rule("rmsprop", ("square_avg",), {"alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0}, _rmsprop,
             None, {"beta2": "alpha", "weight_decay": "weight_decay"}),
        Rule("adagrad", ("sum",), {"eps": 1e-10, "weight_decay": 0.0}, _adagrad,
             None, {"weight_decay": "weight_decay"}),
        Rule("lion", ("exp_avg",), {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0}, _lion,
             "exp_avg", _ADAM_KNOBS, _decoupled),
    )
}  # fmt: skip


def get_rule(name: str) -> Rule:
    """Return the rule registered as `name`.

    Raises:
      ValueError: if there is none.
    """
    if name not in OPTIMIZERS:
        raise unknown_name("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]


def base_values(rule: Rule, options: dict[str, float] | None) -> dict[str, float]:
    """Return the rule's hyperparameters with `options` put in.

    Raises:
      ValueError: if the rule has no such hyperparameter, or a value is negative or not finite.
    """
    values = dict(rule.defaults)
    for name, value in (options or {}).items():
        if name not in values:
            raise unknown_name(f"hyperparameter of {rule.name}", name, values)
        if not 0.0 <= float(value) < float("inf"):
            raise ValueError(f"{rule.name} {name}: expected a finite number of at least 0; received {value!r}")
        values[name] = float(value)
    return values
