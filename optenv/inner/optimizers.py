"""Base optimizers as functions of stacked state, one row of data each.

Every run and every group has hyperparameters of its own: a hyperparameter is a number, or a tensor
that broadcasts against the stacked parameters, [N, P], in double precision for the `DECAYS`. Each rule
equals its namesake in `torch.optim` step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from optenv.errors import unknown_name

Value = float | Tensor
Hyper = dict[str, Value]
Slots = dict[str, Tensor]
DECAYS = ("beta1", "beta2", "alpha")


@dataclass(frozen=True)
class Rule:
    """One base optimizer.

    Attributes:
      name: as in `optimizer="adamw"`.
      slots: names of its per-parameter state, zero at the start of a run.
      defaults: hyperparameters besides the learning rate `lr`.
      update: changes parameters and slots in place: `update(p, g, slots, hyper, t)` with p, g and
        every slot [N, P], and t, the number of this step counted from 1, [N, 1].
      momentum_slot: the slot that carries momentum on, if any.
      targets: which hyperparameter each optional knob moves.
    """

    name: str
    slots: tuple[str, ...]
    defaults: dict[str, float]
    update: Callable[[Tensor, Tensor, Slots, Hyper, Tensor], None]
    momentum_slot: str | None = None
    targets: dict[str, str] = field(default_factory=dict)


def _l2(p: Tensor, g: Tensor, h: Hyper) -> Tensor:
    decay = h["weight_decay"]
    return g if isinstance(decay, float) and decay == 0.0 else g + decay * p


def _decay(p: Tensor, h: Hyper) -> None:
    decay = h["weight_decay"]
    if isinstance(decay, float) and decay == 0.0:
        return
    p.sub_(p * (h["lr"] * decay))


def _sgd(p: Tensor, g: Tensor, slots: Slots, h: Hyper, t: Tensor) -> None:
    g = _l2(p, g, h)
    momentum = h["momentum"]
    if isinstance(momentum, float) and momentum == 0.0:
        p.sub_(g * h["lr"])
        return
    buffer = slots["momentum_buffer"]
    carried = buffer * momentum + g
    step = g + momentum * carried if h["nesterov"] else carried
    if isinstance(momentum, Tensor):  # in torch, a momentum of 0 leaves the buffer as it was
        carried, step = torch.where(momentum > 0, carried, buffer), torch.where(momentum > 0, step, g)
    buffer.copy_(carried)
    p.sub_(step * h["lr"])


def _rest(decay: Value) -> Value:
    """Return 1 - decay; a tensor comes in double precision, so that it equals the number's bit for bit."""
    return (1.0 - decay).float() if isinstance(decay, Tensor) else 1.0 - decay


def _adam_step(p: Tensor, g: Tensor, slots: Slots, h: Hyper, t: Tensor) -> None:
    m = slots["exp_avg"].lerp_(g, _rest(h["beta1"]))
    v = slots["exp_avg_sq"].lerp_(g * g, _rest(h["beta2"]))
    first, second = _bias(h["beta1"], t), _bias(h["beta2"], t)
    denominator = v.sqrt().div_(second.sqrt()).add_(h["eps"]).mul_(first)
    p.addcdiv_(m * h["lr"], denominator, value=-1.0)


def _bias(beta: Value, t: Tensor) -> Tensor:
    return (1.0 - torch.as_tensor(beta, dtype=torch.float64) ** t).float()


def _adam(p: Tensor, g: Tensor, slots: Slots, h: Hyper, t: Tensor) -> None:
    _adam_step(p, _l2(p, g, h), slots, h, t)


def _adamw(p: Tensor, g: Tensor, slots: Slots, h: Hyper, t: Tensor) -> None:
    _decay(p, h)
    _adam_step(p, g, slots, h, t)


def _rmsprop(p: Tensor, g: Tensor, slots: Slots, h: Hyper, t: Tensor) -> None:
    g = _l2(p, g, h)
    v = slots["square_avg"].lerp_(g * g, _rest(h["alpha"]))
    p.addcdiv_(g * h["lr"], v.sqrt().add_(h["eps"]), value=-1.0)


def _adagrad(p: Tensor, g: Tensor, slots: Slots, h: Hyper, t: Tensor) -> None:
    g = _l2(p, g, h)
    total = slots["sum"].addcmul_(g, g)
    p.addcdiv_(g * h["lr"], total.sqrt().add_(h["eps"]), value=-1.0)


def _lion(p: Tensor, g: Tensor, slots: Slots, h: Hyper, t: Tensor) -> None:
    _decay(p, h)
    m = slots["exp_avg"]
    p.sub_(m.lerp(g, _rest(h["beta1"])).sign_() * h["lr"])
    m.lerp_(g, _rest(h["beta2"]))


_BETAS = {"beta1": 0.9, "beta2": 0.999}
_ADAM_KNOBS = {"momentum": "beta1", "beta2": "beta2", "weight_decay": "weight_decay"}

OPTIMIZERS: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("sgd", ("momentum_buffer",), {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0}, _sgd,
             "momentum_buffer", {"momentum": "momentum", "weight_decay": "weight_decay"}),
        Rule("adam", ("exp_avg", "exp_avg_sq"), {**_BETAS, "eps": 1e-8, "weight_decay": 0.0}, _adam, "exp_avg", _ADAM_KNOBS),
        Rule("adamw", ("exp_avg", "exp_avg_sq"), {**_BETAS, "eps": 1e-8, "weight_decay": 1e-2}, _adamw, "exp_avg", _ADAM_KNOBS),
        Rule("rmsprop", ("square_avg",), {"alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0}, _rmsprop,
             None, {"beta2": "alpha", "weight_decay": "weight_decay"}),
        Rule("adagrad", ("sum",), {"eps": 1e-10, "weight_decay": 0.0}, _adagrad, None, {"weight_decay": "weight_decay"}),
        Rule("lion", ("exp_avg",), {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0}, _lion, "exp_avg", _ADAM_KNOBS),
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
