"""A copy of parameters and optimizer state to go back to."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.wrapper.param_groups import ParamGroup

_HYPERPARAMETERS = frozenset({"params", "name", "lr", "betas", "momentum", "alpha", "weight_decay"})
_OF_SCHEDULERS = ("_lr", "_momentum")  # how the names end that torch's schedulers add to groups


class BestWeights:
    """Keeps the parameters of one moment, with the optimizer's state or without; as large as what it keeps.

    The state is everything that the optimizer changes as it steps, wherever it keeps it: in `state`, at any depth, in
    attributes, in the optimizers it wraps, and in its groups. Hyperparameters, which schedules may have moved on, and
    buffers such as those of batch norm, which an optimizer does not know, are no part of it.
    """

    def __init__(self, base: Optimizer, *, with_state: bool = True):
        """Prepare to keep what `base` trains; without its state, a return leaves it a fresh one."""
        self._base, self._with_state = base, with_state
        self._kept: list[tuple[Any, Any]] = []  # every object that can change, and what was in it
        self._trained: list[Tensor] = []  # the parameters of that moment
        self._groups: list[tuple[Tensor, ParamGroup]] = []  # the first parameter of each, and its own entries

    @torch.no_grad()
    def keep(self) -> None:
        """Keep this moment instead of the last."""
        last = {id(thing): content for thing, content in self._kept}
        self._trained = self._params()
        held: list[Any] = [self._trained]
        if self._with_state:
            own = self._own_entries()
            self._groups = [(group["params"][0], own(group)) for group in self._all_groups() if group["params"]]
            held += [[entries for _, entries in self._groups], *_optimizers(self._base)]
        self._kept = [(thing, _content(thing, last.get(id(thing)))) for thing in _changeable(held)]

    @torch.no_grad()
    def restore(self) -> bool:
        """Go back, in place, and say whether there was a moment to go back to.

        Parameters added since stay, and those taken away since are no longer this optimizer's to change.
        """
        kept = {id(thing) for thing, _ in self._kept}
        held, own = {id(p) for p in self._params()}, self._own_entries()
        gone = {id(p) for p in self._trained} - held
        for thing, content in self._kept:
            if id(thing) in gone:
                continue
            if isinstance(thing, dict):
                since = {k: v for k, v in thing.items() if isinstance(k, Tensor) and id(k) not in kept}
                content = {k: v for k, v in content.items() if not isinstance(k, Tensor) or id(k) in held} | since
            _set(thing, content)
        for group in self._all_groups():
            entries = next((entries for p, entries in self._groups if any(p is q for q in group["params"])), None)
            if entries is not None:
                for name in own(group).keys() - entries.keys():
                    del group[name]
                group.update(entries)
        if not self._with_state:
            for thing, _ in self._kept:
                if isinstance(thing, Tensor):
                    self._base.state.pop(thing, None)
        return bool(self._kept)

    def _all_groups(self) -> list[ParamGroup]:
        return [group for optimizer in _optimizers(self._base) for group in optimizer.param_groups]

    def _params(self) -> list[Tensor]:
        return [p for group in self._all_groups() for p in group["params"]]

    def _own_entries(self) -> Any:
        """Return what picks a group's entries that are no hyperparameters: those no constructor takes."""
        names = {n for o in _optimizers(self._base) for c in type(o).__mro__ for n in _arguments(c)} | _HYPERPARAMETERS
        return lambda group: {
            name: value for name, value in group.items() if name not in names and not name.endswith(_OF_SCHEDULERS)
        }


def _arguments(kind: type) -> list[str]:
    constructor = vars(kind).get("__init__")
    return [] if kind is object or constructor is None else list(inspect.signature(constructor).parameters)


def _optimizers(base: Any) -> list[Any]:
    """Return an optimizer and those that it wraps."""
    found: list[Any] = []
    waiting = [base]
    while waiting:
        optimizer = waiting.pop()
        if not any(optimizer is other for other in found):
            found.append(optimizer)
            waiting += [value for value in vars(optimizer).values() if isinstance(value, Optimizer)]
    return found


def _changeable(root: Any) -> Iterator[Any]:
    """Yield all that can change in place within a nested state, each once."""
    seen: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or not isinstance(thing, _KINDS):
            continue
        seen[id(thing)] = thing
        if not isinstance(thing, tuple):
            yield thing
        waiting += _children(thing)


_KINDS = (Tensor, np.ndarray, torch.Generator, dict, list, tuple, set, deque, Optimizer)


def _children(thing: Any) -> list[Any]:
    if isinstance(thing, Optimizer):
        return list(_attributes(thing).values())
    if isinstance(thing, dict):
        return list(thing.values())
    return list(thing) if isinstance(thing, (list, tuple, set, deque)) else []


@cache
def _of_torch() -> frozenset[str]:
    """Return the attributes that every optimizer of torch has; asked for late, since making one is slow at first."""
    return frozenset(vars(torch.optim.SGD([torch.zeros(1)], lr=1.0)))


def _attributes(optimizer: Optimizer) -> dict[str, Any]:
    """Return the attributes that are state: no hooks of torch, no groups, and nothing that can only be called."""
    own = {k: v for k, v in vars(optimizer).items() if k not in _of_torch() and not isinstance(v, Optimizer)}
    return {k: v for k, v in own.items() if k != "param_groups" and not callable(v)} | {"state": optimizer.state}


def _content(thing: Any, last: Any) -> Any:
    """Copy what is in a thing, but not what is in that; a tensor into the memory of its last copy where that fits."""
    if isinstance(thing, Tensor):
        fits = isinstance(last, Tensor) and (last.shape, last.dtype, last.device) == _place(thing)
        return last.copy_(thing) if fits else thing.detach().clone()
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    if isinstance(thing, Optimizer):
        return _attributes(thing)
    return thing.copy()


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype, tensor.device


def _set(thing: Any, content: Any) -> None:
    """Put back in place what `_content` has copied."""
    if isinstance(thing, Tensor):
        thing.copy_(content)
    elif isinstance(thing, np.ndarray):
        thing[...] = content
    elif isinstance(thing, torch.Generator):
        thing.set_state(content)
    elif isinstance(thing, Optimizer):
        for name in _attributes(thing).keys() - content.keys():
            delattr(thing, name)
        vars(thing).update({name: value for name, value in content.items() if name in vars(thing)})
    elif isinstance(thing, (list, deque)):
        thing.clear()
        thing.extend(content)
    else:
        thing.clear()
        thing.update(content)
