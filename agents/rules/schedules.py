"""Schedules as controllers: the scale of every group as a function of progress, one row of data each.

A row's factor on the base learning rate is turned into an action of the knob `scale` under absolute
control, whose range is 0.01 to 10: what a schedule wants below that, its zero included, ends at 0.01.
A control step holds the factor of its middle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURE_NAMES
from optenv.control.knobs import KNOBS
from optenv.registry import Registry, by_name

Array = np.ndarray
SCALE = KNOBS["scale"]
SCALE_ONLY = Interface(knobs=("scale",))
_PROGRESS = FEATURE_NAMES.index("progress")


@dataclass(frozen=True)
class Schedule:
    """One schedule.

    Attributes:
      name: as in `agents.make("cosine")`.
      why: one line with its formula; p is the progress, rise(p, w) = min(p / w, 1).
      factor: from progress in [0, 1], [N], and the schedule's options to a factor on the base rate, [N].
      needs_budget: whether it is undefined where the progress is unknown.
    """

    name: str
    why: str
    factor: Callable[..., Array]
    needs_budget: bool = True


def rise(progress: Array, share: float) -> Array:
    """Return min(progress / share, 1): a linear warm-up over the first `share` of the budget; 1 where it is 0."""
    return np.minimum(progress / share, 1.0) if share > 0 else np.ones_like(progress)


def _half_cosine(progress: Array) -> Array:
    return 0.5 * (1.0 + np.cos(np.pi * progress))


def _left(progress: Array, start: float) -> Array:
    """Return the share passed of what follows `start`, in [0, 1]."""
    return np.clip((progress - start) / (1.0 - start), 0.0, 1.0)


def _constant(progress: Array, factor: float = 1.0) -> Array:
    return np.full_like(progress, factor)


def _cosine(progress: Array, warmup: float = 0.0) -> Array:
    return rise(progress, warmup) * _half_cosine(_left(progress, warmup))


def _linear(progress: Array, warmup: float = 0.0) -> Array:
    return rise(progress, warmup) * (1.0 - _left(progress, warmup))


def _warmup_stable_decay(progress: Array, warmup: float = 0.05, decay: float = 0.2) -> Array:
    return rise(progress, warmup) * (1.0 - _left(progress, 1.0 - decay))


def _one_cycle(progress: Array, warmup: float = 0.3, first: float = 0.04) -> Array:
    up = first + (1.0 - first) * (1.0 - _half_cosine(rise(progress, warmup)))
    return np.where(progress < warmup, up, _half_cosine(_left(progress, warmup)))


SCHEDULES: Registry[Schedule] = by_name(
    "schedule",
    (
        Schedule("constant", "a static multiplier: factor", _constant, needs_budget=False),
        Schedule(
            "cosine",
            "half a cosine to 0: rise(p, warmup) (1 + cos(pi q)) / 2, q = (p - warmup) / (1 - warmup) "
            "(Loshchilov and Hutter 2017)",
            _cosine,
        ),
        Schedule("linear", "linear to 0: rise(p, warmup) (1 - q), q = (p - warmup) / (1 - warmup)", _linear),
        Schedule(
            "warmup_stable_decay",
            "rise(p, warmup), then 1, then linear to 0 over the last `decay` of the budget (Hu et al. 2024)",
            _warmup_stable_decay,
        ),
        Schedule(
            "one_cycle",
            "half a cosine from `first` up to 1 at p = warmup, and one down to 0; the rate's part of "
            "Smith and Topin (2018)",
            _one_cycle,
        ),
    ),
)


def scale_action(factor: Array) -> Array:
    """Return the absolute action that sets the knob `scale` to a factor, or to the nearest it reaches.

    >>> scale_action(np.array([0.0, 0.1, 1.0, 10.0])).tolist()
    [-1.0, -0.5, 0.0, 1.0]
    """
    log = np.log(np.clip(factor, SCALE.low, SCALE.high))
    return np.where(log >= 0.0, log / np.log(SCALE.high), -log / np.log(SCALE.low)) + 0.0  # no negative zero


def broadcast(action: Array, observation: Array) -> Array:
    """Give every group of a run the same actions: [N, knobs] to [N, G, knobs]."""
    return np.repeat(action[:, None, :], observation.shape[1], axis=1)


class ScheduleController(Controller):
    """Follow a schedule; one that needs the budget stays neutral where that is unknown (a progress of -1)."""

    interface = SCALE_ONLY

    def __init__(self, name: str, **options: float):
        """Choose a row.

        Args:
          name: one of `SCHEDULES`.
          **options: of its formula.

        Raises:
          ValueError: if there is no such schedule, or its options do not give finite, positive factors.
          TypeError: if it has no such option.
        """
        self._row, self._options = SCHEDULES[name], options
        tried = self._row.factor(np.linspace(0.0, 1.0, 101), **options)
        if not (np.isfinite(tried).all() and (tried >= 0.0).all() and tried.any()):
            raise ValueError(f"schedule {name!r}: expected options that give positive factors; received {options!r}")

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Nothing to forget: the schedule has no memory."""

    def act(self, observation: Array) -> Array:
        """Return the scale action of this moment of the schedule, [N, G, 1]."""
        progress = observation[:, 0, _PROGRESS].astype(float)
        middle = np.clip(progress + 0.5 / self.interface.decisions, 0.0, 1.0)
        factor = self._row.factor(middle, **self._options)
        undefined = self._row.needs_budget & (progress < 0.0)
        return broadcast(scale_action(np.where(undefined, 1.0, factor))[:, None], observation)


def make_schedule(name: str) -> Callable[..., Controller]:
    """Return what makes the controller of a row."""

    def make(**options: Any) -> Controller:
        return ScheduleController(name, **options)

    return make
