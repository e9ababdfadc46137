"""Whose a controller is: what it remembers of a run is of one run at a time, so no two optimizers share one."""

from __future__ import annotations

import copy
import gc
from typing import Any
from weakref import WeakValueDictionary

from torch.optim import Optimizer

from optenv.control.controller import Controller
from optenv.control.guard import Guard
from optenv.wrapper.delegating import DelegatingOptimizer

_HOLDERS: WeakValueDictionary[int, Any] = WeakValueDictionary()  # controlled optimizers, by their controller's id


def owned(optimizer: Any, controller: Controller, *, learn: bool) -> Controller:
    """Let an optimizer have a controller, or a copy of one that another optimizer in use has.

    A learner is never copied, since what it learns is asked of the object at hand: it changes hands between runs.

    Args:
      optimizer: a controlled optimizer.
      controller: what it was given.
      learn: whether the controller is to learn.

    Raises:
      ValueError: if a learner is in the middle of another optimizer's run.
    """
    if _holder(controller) is not None:
        gc.collect()  # one that nobody uses any more may be alive still
    holder = _holder(controller)
    if holder is not None and not learn:
        controller = copy.deepcopy(controller)
    elif holder is not None and 0 < holder.step_count < (holder.total_steps or float("inf")):
        raise ValueError(
            f"controller: expected a learner of its own, or one whose last run has ended; received the "
            f"{type(controller).__name__} of an optimizer at step {holder.step_count}"
        )
    _HOLDERS[id(_innermost(controller))] = optimizer
    return controller


def check_uncontrolled(base: Optimizer) -> None:
    """Check that an optimizer is not controlled already, nor one that it is made of.

    Raises:
      TypeError: if it is.
    """
    if isinstance(base, DelegatingOptimizer):
        raise TypeError(
            f"base: expected an optimizer that is not controlled yet; received {type(base).__name__} over "
            f"{type(base.base).__name__}: hand over that, or go on with it as it is"
        )
    for part in vars(base).values():
        if isinstance(part, Optimizer) and part is not base:
            check_uncontrolled(part)


def _holder(controller: Controller) -> Any:
    holder = _HOLDERS.get(id(_innermost(controller)))
    same = holder is not None and _innermost(holder.controller) is _innermost(controller)
    return holder if same else None


def _innermost(controller: Controller) -> Controller:
    return _innermost(controller.controller) if isinstance(controller, Guard) else controller
