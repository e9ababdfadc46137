"""A copy of parameters and optimizer state to go back to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Snapshot:
    """Remembers the parameters and the state of one moment; as large as both together.

    Hyperparameters, which schedules may have moved on, and buffers such as those of batch norm, which
    an optimizer does not know, are no part of it.
    """

    def __init__(self, base: Optimizer):
        """Prepare to remember what `base` trains."""
        self._base = base
        self._params: dict[Tensor, Tensor] = {}
        self._state: dict[Tensor, dict[str, Any]] = {}

    @torch.no_grad()
    def take(self) -> None:
        """Remember this moment instead of the last."""
        params = [p for group in self._base.param_groups for p in group["params"]]
        self._params = {p: _copied(p, self._params.get(p)) for p in params}
        stepped = [p for p in params if p in self._base.state]
        self._state = {p: _copied_all(self._base.state[p], self._state.get(p, {})) for p in stepped}

    @torch.no_grad()
    def restore(self) -> bool:
        """Go back, in place, and say whether there was a moment to go back to; parameters added since stay."""
        for p, value in self._params.items():
            p.copy_(value)
            own, then = self._base.state.get(p, {}), self._state.get(p)
            if then is None:  # it had not been stepped yet
                self._base.state.pop(p, None)
                continue
            restored = _copied_all(then, own)
            own.clear()
            own.update(restored)
        return bool(self._params)


def _copied_all(values: dict[str, Any], into: dict[str, Any]) -> dict[str, Any]:
    return {name: _copied(value, into.get(name)) for name, value in values.items()}


def _copied(value: Any, into: Any = None) -> Any:
    """Copy a tensor, into the memory of another of its kind where there is one; anything else is as it is."""
    if not isinstance(value, Tensor):
        return value
    if isinstance(into, Tensor) and (into.shape, into.dtype, into.device) == (value.shape, value.dtype, value.device):
        return into.copy_(value)
    return value.detach().clone()
