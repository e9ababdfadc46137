"""Knobs: what an action turns, one row of data each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from optenv.errors import unknown_name

Array = np.ndarray


@dataclass(frozen=True)
class Knob:
    """One hyperparameter of a parameter group that an action sets.

    Attributes:
      name: as it appears in `knobs=(...)`.
      why: one line on its effect.
      low: smallest value it takes under absolute control.
      high: largest value it takes under absolute control.
      neutral: value at which the base optimizer runs as if uncontrolled; None stands for the base
        optimizer's own value, and the knob's values then are shifts from it.
      absolute: map from an action in [-1, 1] to the value; 0 gives `neutral` exactly.
      relative: map from an accumulated position to the value; 0 gives `neutral` exactly.
      step: change of the position under a relative action of 1.
      limits: range of the position.
    """

    name: str
    why: str
    low: float
    high: float
    neutral: float | None
    absolute: Callable[[Array], Array]
    relative: Callable[[Array], Array]
    step: float
    limits: tuple[float, float]


def _two_sided(low: float, high: float) -> Callable[[Array], Array]:
    """Logarithmic on each side of 0: `high ** a` above, `low ** -a` below."""
    return lambda a: np.where(a >= 0, np.power(high, np.maximum(a, 0.0)), np.power(low, np.maximum(-a, 0.0)))


def _shift(a: Array) -> Array:
    return a


_SIX_DECADES = 6 * math.log(10)
_clip = _two_sided(0.1, 5.0)

KNOBS: dict[str, Knob] = {
    knob.name: knob
    for knob in (
        Knob("scale", "multiplies the learning rate", 0.01, 10.0, 1.0,
             _two_sided(0.01, 10.0), np.exp, 1.0, (-_SIX_DECADES, _SIX_DECADES)),
        Knob("clip", "gradient-norm threshold over its reference", 0.1, 5.0, 1.0, _clip, _clip, 0.25, (-1.0, 1.0)),
        Knob("dampen", "multiplies the update and the momentum it carries on by 1 - dampen", 0.0, 1.0, 0.0,
             lambda a: np.maximum(a, 0.0), lambda a: np.maximum(a, 0.0), 0.25, (0.0, 1.0)),
        Knob("momentum", "moves momentum, or beta1, along log(1 - momentum)", -1.0, 1.0, None,
             _shift, _shift, 0.25, (-1.0, 1.0)),
        Knob("beta2", "moves beta2, or the squared average's decay, along log(1 - beta2)", -1.0, 1.0, None,
             _shift, _shift, 0.25, (-1.0, 1.0)),
        Knob("weight_decay", "multiplies weight decay, at most tenfold either way", -1.0, 1.0, None,
             _shift, _shift, 0.25, (-1.0, 1.0)),
    )
}  # fmt: skip

CONTROLS = ("absolute", "relative")


def check_knobs(names: Sequence[str]) -> tuple[str, ...]:
    """Return `names` as a tuple.

    Raises:
      ValueError: if a name is unknown or repeated, or there is none.
    """
    if isinstance(names, str) or not names:
        raise ValueError(f"knobs: expected a sequence of at least one of {', '.join(KNOBS)}; received {names!r}")
    for name in names:
        if name not in KNOBS:
            raise unknown_name("knob", name, KNOBS)
    if len(set(names)) != len(names):
        raise ValueError(f"knobs: expected each name once; received {tuple(names)!r}")
    return tuple(names)


def check_control(control: str) -> str:
    """Return `control`.

    Raises:
      ValueError: if it is neither "absolute" nor "relative".
    """
    if control not in CONTROLS:
        raise unknown_name("control", control, CONTROLS)
    return control


def clipped(values: Array, low: Array | float, high: Array | float) -> Array:
    """Return what `np.clip` does, without its detours: in a decision about a few numbers they count.

    >>> clipped(np.array([-2.0, 0.5, np.nan]), -1.0, 1.0)
    array([-1. ,  0.5,  nan])
    """
    return np.minimum(np.maximum(values, low), high)


def move_towards_one(value: Array, shift: Array) -> Array:
    """Move a decay rate such as a beta: ten times nearer to 1, or from it, per unit of shift.

    b' = 1 - (1 - b) 10^-shift, kept within [0, 0.9999] or, if `value` lies beyond, below `value`; a
    shift of 0 returns `value` itself.

    >>> float(move_towards_one(np.array(0.9), np.array(1.0)).round(6))
    0.99
    """
    moved = 1.0 - (1.0 - value) * np.power(10.0, -shift)
    return np.where(shift == 0, value, np.clip(moved, 0.0, np.maximum(value, 0.9999)))


def shifted(knob: str, base: float, shift: Array) -> Array:
    """Return the base optimizer's own value of an optional knob, moved by `shift`.

    Args:
      knob: "momentum", "beta2" or "weight_decay".
      base: the base optimizer's value.
      shift: the knob's value, in [-1, 1]; 0 returns `base` itself.
    """
    if knob == "weight_decay":
        return base * np.power(10.0, shift)
    return move_towards_one(np.asarray(base), shift)
