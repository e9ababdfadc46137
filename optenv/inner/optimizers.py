"""Base optimizers as functions of stacked state, one row of data each.

Every run and every group has hyperparameters of its own: a hyperparameter is a number, or a tensor
that broadcasts against the stacked parameters, [N, P]. Each rule equals its namesake in
`torch.optim` step by step, up to rounding.

The state of many runs does not fit the processor's cache, so a rule costs its passes over [N, P]: it
works in place, and in the gradient's own memory once the gradient is no longer needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optenv.control.knobs import KNOBS
from optenv.errors import unknown_name
from optenv.registry import by_name

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
      aliases: what it calls hyperparameters that `Knob.moves` names otherwise.
      torch_name: of the same optimizer in `torch.optim`; "" where that has none.
      fused: of torch's kernel for the whole of `update`, called as `torch._fused_adamw_` is; "" where there is none.
    """

    name: str
    slots: tuple[str, ...]
    defaults: dict[str, float]
    update: Callable[[Tensor, Tensor, Slots, Hyper], None]
    momentum_slot: str | None = None
    coefficients: Callable[[GroupHyper], GroupHyper] = _plain
    corrections: Callable[[GroupHyper, Array], dict[str, Array]] = _none
    aliases: dict[str, str] = field(default_factory=dict)
    torch_name: str = ""
    fused: str = ""

    @property
    def hyperparameters(self) -> list[str]:
        """The hyperparameters that knobs may move, under all their names; not its switches."""
        return ["lr", *(name for name, value in self.defaults.items() if value is not False), *self.aliases]

    def target(self, knob: str) -> str | None:
        """Return which of its hyperparameters besides the rate a knob moves, if any."""
        found = next((name for name in KNOBS[knob].moves if name in self.hyperparameters[1:]), None)
        return None if found is None else self.aliases.get(found, found)


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
    """Step: m <- momentum m + g; p <- p - lr m, of Nesterov's form p - lr (g + momentum m) (Sutskever et al. 2013)."""
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
    """Step: m, v <- averages of g and g^2; p <- p - lr m / (sqrt(v) + eps), both unbiased (Kingma and Ba 2015)."""
    _adam_step(p, _l2(p, g, h), slots, h)


def _adamw(p: Tensor, g: Tensor, slots: Slots, h: Hyper) -> None:
    """Step: p <- (1 - lr weight_decay) p, then Adam's step (Loshchilov and Hutter 2019)."""
    _shrink(p, h)
    _adam_step(p, g, slots, h)


def _rmsprop(p: Tensor, g: Tensor, slots: Slots, h: Hyper) -> None:
    """Step: v <- average of g^2; p <- p - lr g / (sqrt(v) + eps) (Tieleman and Hinton 2012)."""
    g = _l2(p, g, h)
    v = slots["square_avg"].lerp_(g * g, h["1-alpha"])
    _descend(p, g.div_(v.sqrt().add_(h["eps"])), h)


def _adagrad(p: Tensor, g: Tensor, slots: Slots, h: Hyper) -> None:
    """Step: s <- s + g^2; p <- p - lr g / (sqrt(s) + eps) (Duchi et al. 2011)."""
    g = _l2(p, g, h)
    total = slots["sum"].addcmul_(g, g)
    _descend(p, g.div_(total.sqrt().add_(h["eps"])), h)


def _lion(p: Tensor, g: Tensor, slots: Slots, h: Hyper) -> None:
    """Step: p <- (1 - lr weight_decay) p - lr sign(beta1 m + (1 - beta1) g); m <- average of g (Chen et al. 2023)."""
    _shrink(p, h)
    m = slots["exp_avg"]
    _descend(p, m.lerp(g, h["1-beta1"]).sign_(), h)
    m.lerp_(g, h["1-beta2"])


_BETAS = {"beta1": 0.9, "beta2": 0.999}
_SQUARES = {"second_moment": "beta2"}

OPTIMIZERS = by_name(
    "optimizer",
    (
        Rule("sgd", ("momentum_buffer",), {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}, _sgd,
             "momentum_buffer", torch_name="SGD"),
        Rule("adam", ("exp_avg", "exp_avg_sq"), {**_BETAS, "eps": 1e-8, "weight_decay": 0.0}, _adam,
             "exp_avg", corrections=_adam_corrections, aliases=_SQUARES, torch_name="Adam",
             fused="_fused_adam_"),
        Rule("adamw", ("exp_avg", "exp_avg_sq"), {**_BETAS, "eps": 1e-8, "weight_decay": 1e-2}, _adamw,
             "exp_avg", _decoupled, _adam_corrections, aliases=_SQUARES, torch_name="AdamW",
             fused="_fused_adamw_"),
        Rule("rmsprop", ("square_avg",), {"alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0}, _rmsprop,
             aliases={"beta2": "alpha", "second_moment": "alpha"}, torch_name="RMSprop"),
        Rule("adagrad", ("sum",), {"eps": 1e-10, "weight_decay": 0.0}, _adagrad, torch_name="Adagrad"),
        Rule("lion", ("exp_avg",), {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0}, _lion,
             "exp_avg", _decoupled),
    ),
)  # fmt: skip


def base_values(rule: Rule, options: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the rule's hyperparameters with `options` put in.

    Raises:
      ValueError: if the options are no dictionary, the rule has no such hyperparameter, or a value is no number,
        negative or not finite, or a beta not below 1.
    """
    if not isinstance(options, (Mapping, type(None))):
        raise ValueError(f"optimizer_options: expected a dictionary of numbers by name; received {options!r}")
    values = dict(rule.defaults)
    for name, value in (options or {}).items():
        if name not in values:
            raise unknown_name(f"hyperparameter of {rule.name}", name, values)
        limit = 1.0 if name in _BETAS else math.inf
        values[name] = type(values[name])(_checked(f"{rule.name} {name}", value, limit))
    return values


def _checked(name: str, value: Any, limit: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 <= number < limit:
        most = "" if limit == math.inf else f" and below {limit:g}"
        raise ValueError(f"{name}: expected a finite number of at least 0{most}; received {value!r}")
    return number
