"""What a base optimizer needs from who steps it, found out by steps of a tiny copy of it."""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.wrapper.param_groups import ParamGroup

PLAIN = {"fused": None, "foreach": False, "capturable": False, "differentiable": False}
_RATES = 0.5  # the rate of each tiny group over that of the last, where rates may differ
_STEPS = 2
Closure = Callable[[], Any]


@dataclass(frozen=True)
class BaseNeeds:
    """What a base optimizer needs.

    Attributes:
      one_rate: whether all groups must have the same rate, as with an estimate of distance they share (Prodigy).
      loss: the argument of its step that wants the loss: "loss", "closure" for one that calls it for the loss alone,
        or None.
    """

    one_rate: bool = False
    loss: str | None = None

    def step(self, base: Optimizer, loss: Any) -> None:
        """Let `base` take a step; one that needs the loss, which is unknown (None), takes none."""
        if self.loss is None:
            base.step()
        elif loss is not None:
            value = torch.as_tensor(loss).detach()
            given: dict[str, Any] = {self.loss: (lambda: value) if self.loss == "closure" else value}
            base.step(**given)


def needs_of(base: Optimizer) -> BaseNeeds:
    """Find out what a base optimizer needs.

    A copy with parameters of two coordinates a dimension takes `_STEPS` steps. What cannot be found out so, since
    the copy fails whatever it is given, is taken to need nothing.

    Raises:
      TypeError: if its step calls a closure several times, or once it has moved the weights, as it wants the loss and
        the gradients of other weights.
    """
    if type(base).__module__.startswith("torch.optim.") and not isinstance(base, torch.optim.LBFGS):
        return BaseNeeds()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        loss = _argument_for_loss(base)
        works = _steps(base, loss, 1.0) is None
        return BaseNeeds(works and _steps(base, loss, _RATES) is not None, loss)


def _argument_for_loss(base: Optimizer) -> str | None:
    accepted = inspect.signature(base.step).parameters
    if "loss" in accepted:
        return "loss"
    if "closure" not in accepted or _steps(base, None, 1.0) is None:
        return None
    calls: list[bool] = []
    failed = _steps(base, "closure", 1.0, calls)
    if len(calls) > _STEPS or any(calls):
        raise TypeError(
            f"base: {type(base).__name__} calls its closure several times a step and cannot be controlled; "
            "expected another optimizer"
        )
    return None if failed else "closure"


def _steps(base: Optimizer, loss: str | None, rates: float, calls: list[bool] | None = None) -> Exception | None:
    """Let a tiny copy take steps; return what it raised.

    Args:
      base: what is copied.
      loss: as in `BaseNeeds`.
      rates: each group's rate over that of the last.
      calls: takes in, for every call of the closure, whether the weights had moved since the step began.
    """
    try:
        tiny, params = _tiny_copy(base, rates)
        for _ in range(_STEPS):
            before = [p.detach().clone() for p in params]
            for p in params:
                p.grad = torch.full_like(p, 0.1)
            given: dict[str, Any] = {}
            if loss is not None:
                given[loss] = _closure(params, before, calls) if loss == "closure" else torch.tensor(1.0)
            _unhooked_step(tiny)(tiny, **given)
    except Exception as error:  # noqa: BLE001 - whatever a foreign optimizer raises
        return error
    return None


def _closure(params: list[Tensor], before: list[Tensor], calls: list[bool] | None) -> Closure:
    def closure() -> Tensor:
        if calls is not None:
            calls.append(not all(map(torch.equal, params, before)))
        return torch.tensor(1.0)

    return closure


def _unhooked_step(optimizer: Optimizer) -> Callable[..., Any]:
    """Return the class's step without torch's global hooks."""
    step = type(optimizer).step
    return step.__wrapped__ if getattr(step, "hooked", False) else step  # type: ignore[attr-defined]


def _tiny_copy(base: Optimizer, rates: float) -> tuple[Optimizer, list[Tensor]]:
    """Return a copy, before its first step, with tiny parameters, and these.

    All attributes of `base` are copied but its hooks. One group gets a second where rates differ.
    """
    memo: dict[int, Any] = {}
    params = [p for group in base.param_groups for p in group["params"]]
    for p in params:
        memo[id(p)] = torch.ones([min(2, size) for size in p.shape], requires_grad=True)
    tiny = _copied_optimizer(base, memo)
    groups: list[ParamGroup] = tiny.param_groups
    if len(groups) == 1 and rates != 1.0:
        groups.append({**groups[0], "params": [p.detach().clone().requires_grad_() for p in groups[0]["params"]]})
    for number, group in enumerate(groups):
        group.update({name: value for name, value in PLAIN.items() if name in group})
        if rates != 1.0 and group.get("lr") is not None:
            group["lr"] = group["lr"] * rates**number
    train = getattr(tiny, "train", None)  # schedule-free optimizers
    if callable(train):
        train()
    return tiny, [p for group in groups for p in group["params"]]


def _copied_optimizer(base: Optimizer, memo: dict[int, Any]) -> Optimizer:
    tiny = memo[id(base)] = object.__new__(type(base))
    state = vars(base).get("state")
    memo[id(state)] = defaultdict(dict)  # as large as the model, once steps were taken
    for name, value in vars(base).items():
        if isinstance(value, Optimizer):
            copied: Any = memo.get(id(value)) or _copied_optimizer(value, memo)
        elif name.endswith("_hooks"):
            copied = OrderedDict()
        elif name == "step" or getattr(value, "__self__", None) is base:
            continue  # as a scheduler sets it: it would step `base` itself
        else:
            copied = copy.deepcopy(value, memo)
        object.__setattr__(tiny, name, copied)
    return tiny
