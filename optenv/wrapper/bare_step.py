"""A base optimizer's step without what torch puts around it, where nobody looks at that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.autograd import _profiler_enabled
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

# What torch puts around the `step` of every class: a new function each, of the same code.
_AROUND = Optimizer.profile_hook_step(lambda self: None).__code__


def step_of(base: Optimizer) -> Callable[[], Any]:
    """Return what takes a step of `base`: its `step`, or what is in that where the result is the same.

    Torch puts a function around the step of every class that names the step to its profiler, which takes a tenth of
    the time of training a tiny model, and calls hooks. It is passed by where no profiler runs, there are no hooks, and
    nobody has put another step in its place, as schedulers and `torch.compile` do.
    """
    step = type(base).step
    if (
        getattr(step, "__code__", None) is not _AROUND
        or "step" in base.__dict__
        or base._optimizer_step_pre_hooks
        or base._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
        or _profiler_enabled()
    ):
        return base.step
    return step.__wrapped__.__get__(base)  # type: ignore[attr-defined]
