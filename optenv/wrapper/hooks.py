"""An optimizer's own hooks around a step that another optimizer, with hooks of its own, takes for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any


def with_own_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """Fire an optimizer's own step hooks around `step`.

    Torch would fire the global ones too; those fire where the base optimizer steps, once a step.
    """

    @wraps(step)
    def hooked(*args: Any, **kwargs: Any) -> Any:
        optimizer = args[0]
        for pre_hook in optimizer._optimizer_step_pre_hooks.values():
            changed = pre_hook(optimizer, args, kwargs)
            if changed is not None:
                args, kwargs = changed
        returned = step(*args, **kwargs)
        for post_hook in optimizer._optimizer_step_post_hooks.values():
            post_hook(optimizer, args, kwargs)
        return returned

    hooked.hooked = True  # type: ignore[attr-defined]  # torch's mark of a step that it need not wrap
    return hooked


def passed_through(hooks: Iterable[Callable[..., Any]], optimizer: Any, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a state after hooks that may replace it."""
    for hook in hooks:
        state_dict = hook(optimizer, state_dict) or state_dict
    return state_dict
