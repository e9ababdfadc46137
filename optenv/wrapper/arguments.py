"""What a controlled optimizer accepts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.controller import Interface


def single(loss: Any) -> Tensor | float:
    """Return the loss as a number, or detached where to look at it would be to wait for its device.

    Raises:
      ValueError: if it is missing or not a single number.
    """
    if loss is None:
        raise ValueError("step: expected loss=..., or a closure that returns it; received neither")
    if isinstance(loss, Tensor):
        if loss.numel() != 1:
            raise ValueError(f"step: expected a loss that is a single number; received shape {tuple(loss.shape)}")
        return loss.item() if loss.is_cpu else loss.detach().reshape(())
    try:
        return float(loss)
    except (TypeError, ValueError):
        raise ValueError(f"step: expected a loss that is a single number; received {loss!r}") from None


def check(base: Any, controller: Any, total_steps: int | None, steps_per_action: int | None) -> None:
    """Check the arguments of a controlled optimizer.

    Raises:
      TypeError: if `base` is no optimizer that can be controlled, or `controller` no controller.
      ValueError: if a number is not positive.
    """
    if not isinstance(base, Optimizer):
        raise TypeError(f"base: expected a torch.optim.Optimizer; received {type(base).__name__}")
    if not isinstance(getattr(controller, "interface", None), Interface):
        raise TypeError(f"controller: expected a Controller, with its interface; received {type(controller).__name__}")
    if isinstance(base, torch.optim.LBFGS):
        raise TypeError(
            "base: LBFGS calls its closure several times a step and cannot be controlled; expected another optimizer"
        )
    for name, value in (("total_steps", total_steps), ("steps_per_action", steps_per_action)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}: expected a whole number of at least 1, or None; received {value!r}")
