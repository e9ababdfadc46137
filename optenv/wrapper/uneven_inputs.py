"""Ranks that run out of minibatches before others, within DistributedDataParallel's `join`."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch.distributed.algorithms.join import Join, JoinHook
from torch.nn.parallel import DistributedDataParallel

from optenv.wrapper.collective import Collective


class UnevenInputs(JoinHook):
    """Tells the ranks that still step how many do, for which those that have run out take part in a sum each time.

    Torch tells an optimizer nothing of a `with ddp.join():`, so the model and that context are looked for among the
    living objects: once a run, and once a context.
    """

    def __init__(self, collective: Collective, params: list[Any], leave: Callable[[bool], None]):
        """Look for the model of `params`; as a context ends call `leave` with whether inputs were uneven in it."""
        self._collective, self._leave, self._entered = collective, leave, None
        wanted = set(map(id, params))
        self._models = [m for m in _living(DistributedDataParallel) if wanted & set(map(id, m.parameters()))]
        self._uneven = False

    def all_step(self) -> bool:
        """Say whether all ranks take this step."""
        joining = next((m for m in self._models if m._join_config.enable), None)
        if joining is None:
            return True
        if self._entered is not joining._join_config:
            self._entered = joining._join_config
            self._model = joining
            for context in _living(Join):
                if any(m is joining for m in context._joinables) and self not in context._join_hooks:
                    context._join_hooks.append(self)
        everyone = int(self._collective.sum(torch.ones(1)).item()) == self._collective.size
        self._uneven |= not everyone
        return everyone

    def main_hook(self) -> None:
        """Take part, as a rank that has run out, in a step of the others; between steps they do not synchronise."""
        if self._model.require_forward_param_sync:
            self._collective.sum(torch.zeros(1))
            self._uneven = True

    def post_hook(self, is_last_joiner: bool) -> None:
        """Leave the context, as all ranks do."""
        uneven, self._uneven, self._entered = self._uneven, False, None
        self._leave(uneven)


def _living(kind: type) -> list[Any]:
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kind)]
