"""The base optimizer's step by a fused kernel of torch: one pass over the memory where `Rule.update` takes nine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from optenv.inner.layout import Layout
from optenv.inner.optimizers import GroupHyper, Rule, Slots

WORTH = 768  # parameters a group from which a call for each group takes less time than `Rule.update` for all


class FusedUpdate:
    """Takes the steps of `Rule.update`, up to rounding, in given tensors and under given hyperparameters.

    The kernel reads one value of each, so it is called once for a run whose groups are alike, and once for every
    group of another: a run moves by the same bits whatever is beside it.
    """

    def __init__(self, rule: Rule, layout: Layout, params: Tensor, slots: Slots, values: GroupHyper):
        """Prepare.

        Args:
          rule: one that has a kernel.
          layout: of the parameters.
          params: [N, P].
          slots: the rule's state, [N, P] each.
          values: its hyperparameters and `lr`, a number, [N, 1] or [N, G] each.
        """
        shape = len(params), len(layout.sizes)
        same = {name: value for name, value in values.items() if isinstance(value, float)}
        own = {name: np.broadcast_to(value, shape) for name, value in values.items() if name not in same}
        alike = np.logical_and.reduce([(value == value[:, :1]).all(axis=1) for value in own.values()])  # [N]
        self._kernel, self._sizes, self._alike = getattr(torch, rule.fused), layout.sizes, alike.tolist()
        called = np.arange(shape[1]) < np.where(alike, 1, shape[1])[:, None]  # [N, G]
        hyper = zip(*(value[called].tolist() for value in own.values()), strict=True)
        parts = [self._parts(t) for t in (params, *(slots[name] for name in rule.slots))]
        self._calls = [
            (run, [[tensor] for tensor in tensors], same | dict(zip(own, row, strict=True)))
            for run, row, *tensors in zip(np.nonzero(called)[0].tolist(), hyper, *parts, strict=True)
        ]

    @staticmethod
    def pays(layout: Layout) -> bool:
        """Return whether many runs, whose groups need not be alike, take less time this way."""
        return layout.num_parameters >= WORTH * len(layout.groups)

    def __call__(self, gradient: Tensor, steps: Sequence[Tensor]) -> None:
        """Take a step along `gradient`, [N, P], which may be overwritten; `steps` are each run's, from 1, N scalars."""
        for (run, (p, *slots), hyper), g in zip(self._calls, self._parts(gradient), strict=True):
            self._kernel(p, [g], *slots, [], [steps[run]], amsgrad=False, maximize=False, **hyper)

    def _parts(self, flat: Tensor) -> list[Tensor]:
        """Cut [N, P] into what each call is about."""
        rows = zip(flat.unbind(), self._alike, strict=True)
        return [part for row, alike in rows for part in ((row,) if alike else row.split(self._sizes))]
