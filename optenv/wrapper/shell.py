"""A torch optimizer around another: same groups, same state, its own step."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer


class OptimizerShell(Optimizer):
    """Be a `torch.optim.Optimizer`, which schedulers accept, with the groups and the state of `base`.

    Attributes:
      base: what steps: anything with `step()` and `param_groups`.
    """

    def __init__(self, base: Any):
        """Wrap `base`.

        Raises:
          TypeError: if it has no `step` or no `param_groups`.
        """
        if not callable(getattr(base, "step", None)) or not hasattr(base, "param_groups"):
            raise TypeError(f"base: expected an optimizer with step() and param_groups; received {type(base).__name__}")
        self.base = base
        self._wrapped = False
        super().__init__([torch.zeros(1)], {})
        self._wrapped = True

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
        return getattr(self.base, "state", {})

    @state.setter
    def state(self, value: Any) -> None:
        """Ignore what torch's constructor assigns: the state is the base optimizer's."""

    @property
    def defaults(self) -> dict[str, Any]:
        """The base optimizer's defaults."""
        return getattr(self.base, "defaults", {})

    @defaults.setter
    def defaults(self, value: Any) -> None:
        """Ignore what torch's constructor assigns: the defaults are the base optimizer's."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base optimizer."""
        if self._wrapped:  # what torch's constructor adds is no group of the base optimizer's
            self.base.add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, as the base optimizer does where it knows how."""
        if hasattr(self.base, "zero_grad"):
            self.base.zero_grad(set_to_none=set_to_none)
            return
        for p in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            p.grad = None if set_to_none else torch.zeros_like(p.grad)

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle everything but the hooks, as torch's optimizers do."""
        return {name: value for name, value in self.__dict__.items() if not name.endswith("_hooks")}
