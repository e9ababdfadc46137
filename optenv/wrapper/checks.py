"""Checks of what a controlled optimizer is made of."""

from __future__ import annotations

import operator
from typing import Any

from torch.optim import Optimizer

from optenv.control.controller import Interface, check_base
from optenv.wrapper.apply_knobs import hyperparameters
from optenv.wrapper.ownership import check_uncontrolled


def whole(name: str, value: Any) -> int | None:
    """Return a number of steps as an int, or None for None.

    Raises:
      ValueError: if it is no whole number, of Python, numpy or torch, or less than 1.

    >>> whole("total_steps", 5)
    5
    """
    if value is None:
        return None
    try:
        number = 0 if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")) else operator.index(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise ValueError(f"{name}: expected a whole number of at least 1, or None; received {value!r}")
    return number


def check(base: Any, controller: Any) -> None:
    """Check the arguments of a controlled optimizer.

    Raises:
      TypeError: if `base` is no optimizer that can be controlled, or `controller` no controller.
      ValueError: if `base` has nothing for one of the knobs to move.
    """
    if not isinstance(base, Optimizer):
        raise TypeError(f"base: expected a torch.optim.Optimizer; received {type(base).__name__}")
    check_uncontrolled(base)
    if not isinstance(getattr(controller, "interface", None), Interface):
        raise TypeError(f"controller: expected a Controller, with its interface; received {type(controller).__name__}")
    check_base(controller, type(base).__name__, hyperparameters(base.param_groups))
