"""A step of the base optimizer, which is skipped where a gradient is not finite, as a `GradScaler` does."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.wrapper.bare_step import step_of
from optenv.wrapper.base_needs import BaseNeeds

LARGE = 2**15  # numbers in a gradient from which a sum of it is the faster look
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the size of a number


class BaseStep:
    """Steps a base optimizer; under a guard, unless a gradient is not finite.

    On the host such a step is left out. On an accelerator nothing waits for what is found: a fused optimizer leaves
    the step out itself, every other one sees gradients of zero.

    Attributes:
      needs: what the base optimizer needs.
      skipped: how many steps were skipped, as far as is known.
      skipped_on_device: how many were on an accelerator, [], which whoever reads it tells `skipped`; None before.
    """

    __slots__ = ("needs", "skipped", "skipped_on_device", "_base", "_found", "_guarded")

    def __init__(self, base: Optimizer, needs: BaseNeeds, *, guarded: bool):
        """Step `base`; `guarded`: whether gradients are looked at."""
        self.needs, self.skipped = needs, 0
        self.skipped_on_device: Tensor | None = None
        self._base, self._guarded = base, guarded
        self._found = torch.zeros(())  # on the host: 0 but for the moment in which something is found

    def __call__(self, loss: Any) -> bool:
        """Take one step; say whether it was, as far as is known without waiting for a device.

        Args:
          loss: as `BaseNeeds.step` wants it.
        """
        gradients = self.gradients() if self._guarded else None
        if gradients and not gradients[0].is_cpu:
            self._step_on_device(gradients, loss)
        elif gradients and nonfinite(gradients, self._found):
            self._found = torch.zeros(())
            self.skipped += 1
            return False
        elif self.needs.loss is None:
            step_of(self._base)()
        else:
            self.needs.step(self._base, loss)
        return True

    def gradients(self) -> list[Tensor]:
        """Return all gradients that are there; of sharded ones this rank's part.

        Torch checks whole sharded gradients by a collective, and a rank that is paused would not take part. So each
        rank judges its own shards.
        """
        return [
            g if type(g) is Tensor else _local(g)
            for group in self._base.param_groups
            for p in group["params"]
            if (g := p.grad) is not None
        ]

    def is_blocked(self) -> bool:
        """Say whether a step now would be skipped; waits for the device."""
        gradients = self.gradients() if self._guarded else []
        return bool(gradients) and bool(nonfinite(gradients))

    def _step_on_device(self, gradients: list[Tensor], loss: Any) -> None:
        found = nonfinite(gradients)
        self.skipped_on_device = found if self.skipped_on_device is None else self.skipped_on_device + found
        if not getattr(self._base, "_step_supports_amp_scaling", False):
            _zero_if(found, gradients)
            self.needs.step(self._base, loss)
            return
        self._base.found_inf = found  # type: ignore[attr-defined]  # as a `GradScaler` hands it to a fused optimizer
        try:
            self.needs.step(self._base, loss)
        finally:
            del self._base.found_inf  # type: ignore[attr-defined]


def nonfinite(gradients: Sequence[Tensor], found: Tensor | None = None) -> Tensor:
    """Return 1.0 where a number in the gradients is not finite, else 0.0, [], on the first one's device.

    Args:
      gradients: at least one.
      found: a 0.0 there to write to, by default a new one.

    >>> nonfinite([torch.ones(2), torch.tensor([0.0, torch.inf])]), nonfinite([torch.ones(2)])
    (tensor(1.), tensor(0.))
    """
    found = torch.zeros((), device=gradients[0].device) if found is None else found
    # To autograd, `data` counts as unchanged.
    own = [g.data if g.requires_grad else g for g in gradients if g.numel() < LARGE or not _has_finite_sum(g)]
    if not own:
        return found
    try:
        # The one pass that a `GradScaler` makes, times 1.
        torch._amp_foreach_non_finite_check_and_unscale_(own, found, _one(found.device))
    except (RuntimeError, TypeError, NotImplementedError):  # of several devices or kinds: sparse, complex, sharded
        with torch.no_grad():
            return torch.stack([_is_nonfinite(g).to(found) for g in gradients]).amax()
    return found


def _has_finite_sum(gradient: Tensor) -> bool:
    """Say whether the sum is finite, as it is only of finite numbers; it reads where the other look also writes."""
    return gradient.is_cpu and gradient.dtype == torch.float32 and math.isfinite(gradient.detach().sum().item())


@cache
def _one(device: torch.device) -> Tensor:
    return torch.ones((), device=device)


def _local(gradient: Any) -> Any:
    return gradient.to_local() if hasattr(gradient, "to_local") else gradient


def _is_nonfinite(gradient: Any) -> Tensor:
    values = _local(gradient)
    values = values.coalesce().values() if values.is_sparse else values
    return ~values.isfinite().all()


@torch.no_grad()
def _zero_if(found: Tensor, gradients: Sequence[Tensor]) -> None:
    """Zero gradients in place where `found` is 1; times 0 a NaN stays one, but its bits, as whole numbers, do not."""
    alike = defaultdict(list)
    for g in gradients:
        values = _local(g)
        values = values._values() if values.is_sparse else values
        values = torch.view_as_real(values) if values.is_complex() else values
        bits = values.view(_INTEGERS[values.element_size()])
        alike[bits.dtype, bits.device].append(bits)
    for (dtype, device), bits in alike.items():
        torch._foreach_mul_(bits, (1.0 - found).to(device, dtype))
