"""The rate that a group's schedule is a multiple of: what a first scale is measured at."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR

from optenv.wrapper.param_groups import ParamGroup, is_number


class BaseRates:
    """Knows the base rate of every group, whatever its rate is at the moment.

    A schedule multiplies its base rate: a warm-up begins far below it, perhaps at 0. The base is the first of these
    that is positive:

    - the group's `max_lr`, as OneCycleLR writes it, or that of a CyclicLR over the optimizer;
    - the group's `initial_lr`, as every other scheduler of torch writes it;
    - the rate the group had when the optimizer was wrapped, or for one added since, has: rates set by hand before each
      step are shares of that;
    - the optimizer's own default rate;
    - the rate at the moment.
    """

    __slots__ = ("_base", "_first", "_rates")

    def __init__(self, base: Optimizer):
        """Note the rates that the groups of `base` have now."""
        self._base = base
        self.note([_number(group.get("lr")) for group in base.param_groups])

    def note(self, rates: Sequence[float]) -> None:
        """Note the rates, [G], of when the optimizer was wrapped, or of its groups when they were added."""
        # By a parameter: loading a state replaces the groups. It is copied and pickled along with its optimizer.
        pairs = zip(self._base.param_groups, rates, strict=True)
        noted = [(group["params"][0], rate) for group, rate in pairs if group["params"]]
        self._first = tuple([parameter for parameter, _ in noted])
        self._rates = array("d", [rate for _, rate in noted])  # packed, as groups may be many

    def noted(self) -> list[float]:
        """Return the rates that were noted, [G]; of groups added since, those at the moment."""
        return [self._noted(group) for group in self._base.param_groups]

    def now(self) -> list[float]:
        """Return the base rate of every group, [G]; 0 where nothing positive is known."""
        cyclic = _peaks_of_cycles(self._base)
        return [
            self._of(group, cyclic[g] if g < len(cyclic) else None) for g, group in enumerate(self._base.param_groups)
        ]

    def known(self) -> bool:
        """Say whether some group has a positive base rate."""
        return any(self._of(group, None) > 0.0 for group in self._base.param_groups)

    def comparable(self, others: Sequence[ParamGroup], new: Sequence[ParamGroup]) -> list[list[float]]:
        """Return the rates of `others` and of `new` groups, by which these follow those.

        They are those of the moment, or, where a schedule has all others or one of the new at 0, all base rates.
        """
        now = [[_number(group.get("lr")) for group in groups] for groups in (others, new)]
        if max(now[0], default=0.0) > 0.0 and min(now[1], default=1.0) > 0.0:
            return now
        return [[self._of(group, None) for group in groups] for groups in (others, new)]

    def _of(self, group: ParamGroup, cyclic: Any) -> float:
        own = _number(group.get("lr"))
        written = map(_number, (group.get("max_lr"), cyclic, group.get("initial_lr")))
        candidates = (*written, self._noted(group), _number(self._base.defaults.get("lr")), own)
        return next((rate for rate in candidates if rate > 0.0), 0.0)

    def _noted(self, group: ParamGroup) -> float:
        pairs = zip(self._first, self._rates, strict=True)
        own = _number(group.get("lr"))
        return next((rate for p, rate in pairs if any(p is held for held in group["params"][:1])), own)


def _peaks_of_cycles(base: Optimizer) -> list[float]:
    """Return the highest rates of a CyclicLR over an optimizer, or one around it; none where there is no such."""
    if not any("initial_lr" in group for group in base.param_groups):
        return []
    # It writes its lowest rate into the groups alone, and the optimizer does not know it.
    for scheduler in (found for found in gc.get_objects() if issubclass(type(found), CyclicLR)):
        optimizer = getattr(scheduler, "optimizer", None)
        if optimizer is base or getattr(optimizer, "base", None) is base:
            return list(scheduler.max_lrs)
    return []


def _number(rate: Any) -> float:
    return float(rate) if is_number(rate) else 0.0
