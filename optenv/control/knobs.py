"""Knobs: what an action sets, one row of data each."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optenv.errors import unknown_name
from optenv.registry import by_name

Array = np.ndarray
RATE = ("lr",)


def _unmoved(own: Any, value: Any) -> Any:
    return own


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One number per parameter group that an action sets.

    `KNOBS[name] = Knob(...)` registers one of your own, which then works in the environment, in training and under
    a controlled optimizer:

        KNOBS["eps"] = Knob(
            name="eps", why="multiplies Adam's eps", low=0.1, high=10.0, neutral=1.0,
            absolute=lambda a: 10.0**a, moves=("eps",), move=lambda eps, factor: eps * factor,
        )

    Attributes:
      name: as it appears in `knobs=(...)`.
      why: one line on its effect.
      low: smallest value it takes under absolute control.
      high: largest value it takes under absolute control.
      neutral: value at which the base optimizer runs as if uncontrolled.
      absolute: map from an action in [-1, 1] to the value; 0 gives `neutral` exactly.
      moves: hyperparameters that it may move; of each group the first that it has. Their names are those of
        torch.optim, with beta1 and beta2 for the two of `betas`; beta2 also stands for RMSprop's alpha, and
        second_moment for these two where they are the decay of squared gradients (not for Lion's beta2).
      move: from a group's own hyperparameter and the knob's value to what is set for the step; at `neutral` the
        hyperparameter itself. One that moves the learning rate, `moves=("lr",)`, multiplies it, so that it composes
        with schedules and with other such knobs.
      relative: map from an accumulated position to the value; 0 gives `neutral` exactly. By default `absolute`.
      step: change of the position under a relative action of 1.
      limits: range of the position.
    """

    name: str
    why: str
    low: float
    high: float
    neutral: float
    absolute: Callable[[Array], Array]
    moves: tuple[str, ...] = ()
    move: Callable[[Any, Any], Any] = _unmoved
    relative: Callable[[Array], Array] = None  # type: ignore[assignment]
    step: float = 0.25
    limits: tuple[float, float] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        """Check that it moves something, and that 0 is neutral.

        Raises:
          ValueError: if it moves nothing, or one of the maps, or `move`, is not exactly neutral at 0.
        """
        if self.name != "clip" and (not self.moves or self.move is _unmoved):
            raise ValueError(f"knob {self.name!r}: expected `moves` and `move`, to say what it does; one is missing")
        object.__setattr__(self, "relative", getattr(self, "relative", None) or self.absolute)
        found = (
            *(float(f(np.array(0.0))) for f in (self.absolute, self.relative)),
            float(self.move(0.5, self.neutral)),
        )
        if found != (self.neutral, self.neutral, 0.5):
            raise ValueError(
                f"knob {self.name!r}: expected absolute(0), relative(0), move(0.5, neutral) to be neutral, "
                f"{(self.neutral, self.neutral, 0.5)}; received {found}"
            )

    def values(self, positions: Array, control: str) -> Array:
        """Return the knob's values at actions, or under relative control at positions."""
        return (self.relative if control == "relative" else self.absolute)(positions)


def _two_sided(low: float, high: float) -> Callable[[Array], Array]:
    """Logarithmic on each side of 0: `high ** a` above, `low ** -a` below."""
    return lambda a: np.where(a >= 0, np.power(high, np.maximum(a, 0.0)), np.power(low, np.maximum(-a, 0.0)))


def _shift(a: Array) -> Array:
    return a


def _multiply(own: Any, factor: Any) -> Any:
    return own * factor


def _multiply_by_decades(own: Any, decades: Any) -> Any:
    return own * np.power(10.0, decades)


def move_towards_one(value: Array, shift: Array) -> Array:
    """Move a decay rate such as a beta: ten times nearer to 1, or from it, per unit of shift.

    b' = 1 - (1 - b) 10^-shift, kept within [0, 0.9999] or, if `value` lies beyond, below `value`; a
    shift of 0 returns `value` itself.

    >>> float(move_towards_one(np.array(0.9), np.array(1.0)).round(6))
    0.99
    """
    value = np.asarray(value)
    moved = 1.0 - (1.0 - value) * np.power(10.0, -np.asarray(shift))
    return np.where(shift == 0, value, np.clip(moved, 0.0, np.maximum(value, 0.9999)))


def _cap(a: Array) -> Array:
    return 1.0 - np.where(a < 0.0, 1e-4 * np.power(100.0, np.maximum(-a, 0.0)), 0.0)


_SIX_DECADES = 6 * math.log(10)

KNOBS = by_name(
    "knob",
    (
        Knob(name="scale", why="multiplies the learning rate", low=0.01, high=10.0, neutral=1.0,
             absolute=_two_sided(0.01, 10.0), relative=np.exp, step=1.0, limits=(-_SIX_DECADES, _SIX_DECADES),
             moves=RATE, move=_multiply),
        Knob(name="clip", why="gradient-norm threshold over its reference", low=0.1, high=5.0, neutral=1.0,
             absolute=_two_sided(0.1, 5.0)),  # of the gradient, so each host applies it before its step
        Knob(name="dampen", why="multiplies the update and the momentum it carries on by 1 - dampen",
             low=0.0, high=1.0, neutral=0.0, absolute=lambda a: np.maximum(a, 0.0), limits=(0.0, 1.0),
             moves=RATE, move=lambda rate, dampen: rate * (1.0 - dampen)),  # the momentum is left to the hosts
        Knob(name="momentum", why="moves momentum, or beta1, along log(1 - momentum)", low=-1.0, high=1.0,
             neutral=0.0, absolute=_shift, moves=("beta1", "momentum"), move=move_towards_one),
        Knob(name="beta2", why="moves beta2, or the squared average's decay, along log(1 - beta2)", low=-1.0, high=1.0,
             neutral=0.0, absolute=_shift, moves=("beta2",), move=move_towards_one),
        Knob(name="second_moment", why="caps the decay of squared gradients, down to 0.99",
             low=0.99, high=1.0, neutral=1.0, absolute=_cap, step=1.0, limits=(-1.0, 0.0),
             moves=("second_moment",), move=np.minimum),
        Knob(name="weight_decay", why="multiplies weight decay, at most tenfold either way", low=-1.0, high=1.0,
             neutral=0.0, absolute=_shift, moves=("weight_decay",), move=_multiply_by_decades),
    ),
)  # fmt: skip

CONTROLS = ("absolute", "relative")


def rate_factor(values: dict[str, Array]) -> Any:
    """Return what knobs multiply the learning rate by.

    Args:
      values: knob values by name, of one shape.

    Returns:
      The factor, of that shape, or 1.0 where no knob moves the rate.

    >>> rate_factor({"scale": np.array([2.0]), "dampen": np.array([0.25]), "clip": np.array([0.5])})
    array([1.5])
    """
    factor: Any = 1.0
    for name, value in values.items():
        if KNOBS[name].moves == RATE:
            factor = KNOBS[name].move(factor, value)
    return factor


def check_knobs(names: Sequence[str]) -> tuple[str, ...]:
    """Return `names` as a tuple.

    Raises:
      ValueError: if a name is unknown or repeated, or there is none.
    """
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise ValueError(f"knobs: expected a sequence of at least one of {', '.join(KNOBS)}; received {names!r}")
    names = tuple(KNOBS[name].name for name in names)
    if len(set(names)) != len(names):
        raise ValueError(f"knobs: expected each name once; received {names!r}")
    return names


def check_movable(names: Sequence[str], base: str, hyperparameters: Collection[str]) -> None:
    """Check that a base optimizer has something for every knob to move.

    Args:
      names: the knobs.
      base: the optimizer's name.
      hyperparameters: those it has, named as in `Knob.moves`.

    Raises:
      ValueError: if it has nothing for one of them.

    >>> check_movable(["momentum"], "Adagrad", ["lr", "eps"])
    Traceback (most recent call last):
      ...
    ValueError: knob 'momentum': expected a base optimizer with beta1 or momentum; received Adagrad with lr, eps
    """
    for name in names:
        moves = KNOBS[name].moves
        if moves and not any(target in hyperparameters for target in moves):
            raise ValueError(
                f"knob {name!r}: expected a base optimizer with {' or '.join(moves)}; "
                f"received {base} with {', '.join(hyperparameters)}"
            )


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
