"""Compiling the inner step, one program for every set of shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


class Compiled:
    """A function of tensors, nested in tuples and dicts, that is compiled when first called with new shapes.

    The function is traced to the plain operations it comes down to, and these go to the compiler behind
    `torch.compile`, which by itself does not see through `torch.autograd.grad`, and in every call looks for what
    might have changed. Whatever is not a tensor becomes part of the program.
    """

    def __init__(self, function: Callable[..., Any]):
        """Prepare to compile `function`, which may change tensors in place."""
        self._function = function
        self._programs: dict[tuple, Callable[..., Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Return what `function` does."""
        leaves = _leaves(arguments)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        key = tuple([(leaf.shape, leaf.stride()) if isinstance(leaf, Tensor) else leaf for leaf in leaves])
        if key not in self._programs:
            self._programs[key] = self._compile(arguments, tensors)
        with torch.no_grad():
            return self._programs[key](*tensors)

    def __reduce__(self) -> tuple:
        """Copy and pickle without the programs, which are compiled anew."""
        return Compiled, (self._function,)

    def _compile(self, arguments: tuple, tensors: list[Any]) -> Callable[..., Any]:
        # Imported here since they take seconds.
        from torch._inductor import compile as compiled
        from torch.fx.experimental.proxy_tensor import make_fx

        def flat(*given: Tensor) -> Any:
            return self._function(*_refilled(arguments, iter(given)))

        # Tracing calls the function for real, hence the copies.
        traced = make_fx(flat)(*(tensor.clone() for tensor in tensors))
        with torch.no_grad():
            return compiled(traced, tensors)


def _leaves(value: Any) -> list[Any]:
    """List what `value` holds, depth first."""
    if isinstance(value, dict):
        return _leaves(tuple(value.values()))
    return [leaf for part in value for leaf in _leaves(part)] if isinstance(value, tuple) else [value]


def _refilled(value: Any, tensors: Iterator[Tensor]) -> Any:
    """Return `value` with the given tensors in place of its own, depth first."""
    if isinstance(value, dict):
        return {name: _refilled(part, tensors) for name, part in value.items()}
    if isinstance(value, tuple):
        parts = [_refilled(part, tensors) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return next(tensors) if isinstance(value, Tensor) else value
