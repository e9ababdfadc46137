"""A torch optimizer whose knobs a controller turns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.controller import Controller, Interface
from optenv.control.loop import ControlLoop
from optenv.wrapper.stepper import Stepper

Array = np.ndarray


class ControlledOptimizer(Optimizer):
    """Steer `base` with a controller.

    Every `steps_per_action` steps the controller observes the run and sets each parameter group's
    knobs; the hyperparameters are turned for the step alone and restored after it, so schedules of
    the user's own compose with the control. With a neutral controller every step is that of the
    base optimizer, bit for bit.

        opt = ControlledOptimizer(torch.optim.AdamW(layer_groups(model)), controller, total_steps=2000)
        loss.backward(); opt.step(loss=loss); opt.zero_grad()

    Attributes:
      base: the base optimizer; `param_groups`, `state` and `defaults` are its own.
      controller: what decides.
      total_steps: budget in steps, or None.
      steps_per_action: steps between decisions.
    """

    def __init__(self, base: Optimizer, controller: Controller, *, total_steps: int | None = None,
                 steps_per_action: int | None = None):  # fmt: skip
        """Put `controller` on top of `base`.

        Args:
          base: any `torch.optim.Optimizer` that steps without a closure.
          controller: decides every group's knobs.
          total_steps: budget of the run in steps, if known; the controller observes its progress.
          steps_per_action: steps between decisions; by default the budget divided by the number of
            decisions the controller was made for, or 10 where the budget is unknown.

        Raises:
          TypeError: if `base` is no optimizer, or one that calls its closure more than once, or
            `controller` is no controller.
          ValueError: if a number is not positive.
        """
        _check(base, controller, total_steps, steps_per_action)
        self.base, self.controller, self.total_steps = base, controller, total_steps
        self._constructed = False
        super().__init__([torch.zeros(1)], {})
        decisions = controller.interface.decisions
        self.steps_per_action = steps_per_action or (max(1, round(total_steps / decisions)) if total_steps else 10)
        self._values: dict[str, Array] = {}
        self._step = 0
        self._constructed = True

    def _begin(self) -> None:
        """Begin the run with the groups and weights of this moment, that of the first step."""
        self._stepper = Stepper(self.base)
        groups = self._stepper.num_groups
        budget = np.array([np.nan if self.total_steps is None else float(self.total_steps)])
        self._loop = ControlLoop(self.controller.interface, budget, groups)
        self.controller.reset(1, groups)
        if self.controller.interface.first_update is not None:
            self._loop.start_at(self._stepper.first_update_ratio())

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The base optimizer's parameter groups."""
        return self.base.param_groups

    @param_groups.setter
    def param_groups(self, value: Any) -> None:
        """Ignore what torch's constructor assigns: the groups are the base optimizer's."""

    @property
    def state(self) -> Any:
        """The base optimizer's state."""
        return self.base.state

    @state.setter
    def state(self, value: Any) -> None:
        """Ignore what torch's constructor assigns: the state is the base optimizer's."""

    @property
    def defaults(self) -> dict[str, Any]:
        """The base optimizer's defaults."""
        return self.base.defaults

    @defaults.setter
    def defaults(self, value: Any) -> None:
        """Ignore what torch's constructor assigns: the defaults are the base optimizer's."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base optimizer; only before the first step.

        Raises:
          RuntimeError: if the run has begun.
        """
        if not self._constructed:
            return  # what torch's constructor adds: the groups are the base optimizer's
        if self._step:
            raise RuntimeError("add_param_group: expected to be called before the first step of a controlled run")
        self.base.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state; that of the control is not part of it."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the base optimizer's state."""
        self.base.load_state_dict(state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, *, loss: Tensor | float | None = None) -> Any:
        """Take one step.

        Args:
          closure: recomputes the loss and its gradients; it runs once, before control.
          loss: this step's training loss; may be left out where `closure` returns it.

        Returns:
          What `closure` returned, else None.

        Raises:
          ValueError: if there is no loss, or it is not a single number.
        """
        returned = None
        if closure is not None:
            with torch.enable_grad():
                returned = closure()
        seen = _single(returned if loss is None else loss)
        if self._step == 0:
            self._begin()
        if self._step % self.steps_per_action == 0:
            self._values = self._loop.apply(self.controller.act(self._loop.observe()))
        self._stepper.step(seen, self._values)
        self._step += 1
        self._warn_beyond()
        if self._step % self.steps_per_action == 0:
            self._loop.advance(self._stepper.end_interval())
        return returned

    def _warn_beyond(self) -> None:
        if self.total_steps is not None and self._step == self.total_steps + 1:
            warnings.warn(f"the run goes on beyond total_steps={self.total_steps}; progress stays at 1", stacklevel=3)

    def __repr__(self) -> str:
        """Say what steers what."""
        name = type(self.controller).__name__
        return f"ControlledOptimizer({self.base!r}, {name}, step {self._step} of {self.total_steps})"


def _single(loss: Any) -> Tensor | float:
    """Return the loss detached.

    Raises:
      ValueError: if it is missing or not a single number.
    """
    if loss is None:
        raise ValueError("step: expected loss=..., or a closure that returns it; received neither")
    if isinstance(loss, Tensor):
        if loss.numel() != 1:
            raise ValueError(f"step: expected a loss that is a single number; received shape {tuple(loss.shape)}")
        return loss.detach().reshape(())
    try:
        return float(loss)
    except (TypeError, ValueError):
        raise ValueError(f"step: expected a loss that is a single number; received {loss!r}") from None


def _check(base: Any, controller: Any, total_steps: int | None, steps_per_action: int | None) -> None:
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
