"""A torch optimizer around another: same groups, same state, its own step and its own hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

_OF_SCALERS = ("grad_scale", "found_inf")


class DelegatingOptimizer(Optimizer):
    """Is a `torch.optim.Optimizer`, which schedulers accept, with the groups and the state of `base`.

    All else that `base` offers is found here and assigned there, such as `train` and `eval` of a schedule-free one.
    Exceptions are private names, what a `GradScaler` looks for, since a fused base would step on scaled gradients, and
    methods that step, since they would do so without this optimizer.

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
        """Assign the base optimizer's groups."""
        self._assign("param_groups", value)

    @property
    def state(self) -> Any:
        """The base optimizer's state."""
        return getattr(self.base, "state", {})

    @state.setter
    def state(self, value: Any) -> None:
        """Assign the base optimizer's state."""
        self._assign("state", value)

    @property
    def defaults(self) -> dict[str, Any]:
        """The base optimizer's defaults."""
        return getattr(self.base, "defaults", {})

    @defaults.setter
    def defaults(self, value: Any) -> None:
        """Assign the base optimizer's defaults."""
        self._assign("defaults", value)

    def _assign(self, name: str, value: Any) -> None:
        if self._wrapped:  # what torch's constructor assigns is not meant for the base optimizer
            setattr(self.base, name, value)

    def __getattr__(self, name: str) -> Any:
        """Return what only the base optimizer has."""
        if self._is_of_base(name):
            return getattr(self.base, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign to the base optimizer what only that has."""
        if name[:1] == "_":  # in every step
            object.__setattr__(self, name, value)
        elif name not in self.__dict__ and not hasattr(type(self), name) and self._is_of_base(name):
            setattr(self.base, name, value)
        else:
            super().__setattr__(name, value)

    def _is_of_base(self, name: str) -> bool:
        base = self.__dict__.get("base")  # there is none yet while a copy is made
        if base is None or name.startswith("_") or name in _OF_SCALERS or not hasattr(base, name):
            return False
        return not ("step" in name.split("_") and callable(getattr(base, name)))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base optimizer."""
        if self._wrapped:  # what torch's constructor adds is no group of the base optimizer's
            self.base.add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, as the base optimizer does where it knows how."""
        if hasattr(self.base, "zero_grad"):
            self.base.zero_grad(set_to_none=set_to_none)
            return
        for p in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            p.grad = None if set_to_none else torch.zeros_like(p.grad)

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle everything but the hooks, as torch's optimizers do."""
        return {name: value for name, value in self.__dict__.items() if not name.endswith("_hooks")}


def step_within_hooks(optimizer: Optimizer, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call an optimizer's own step hooks around its `step`, which is called with the optimizer first.

    Torch would call the global ones too; those are called where the base optimizer steps, once a step.
    """
    args = (optimizer, *args)
    for pre_hook in optimizer._optimizer_step_pre_hooks.values():
        changed = pre_hook(optimizer, args, kwargs)
        if changed is not None:
            args, kwargs = changed
    returned = step(*args, **kwargs)
    for post_hook in optimizer._optimizer_step_post_hooks.values():
        post_hook(optimizer, args, kwargs)
    return returned


def after_hooks(hooks: Iterable[Callable[..., Any]], optimizer: Any, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a state after hooks that may replace it."""
    for hook in hooks:
        state_dict = hook(optimizer, state_dict) or state_dict
    return state_dict
