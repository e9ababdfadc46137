"""The contract of a controller: anything with reset, act, learn, save and load."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from optenv.control.features import FEATURE_NAMES, check_features
from optenv.control.knobs import check_control, check_knobs, check_movable

Array = np.ndarray
MOST_DECISIONS = 1_000_000


@dataclass(frozen=True)
class Interface:
    """What a controller expects of its host; a host with another interface refuses it.

    Attributes:
      features: names of the observed features, in order, those of the run before those of each group.
      knobs: names of the knobs its actions set, in order.
      control: "absolute" or "relative".
      first_update: under relative control, the size of the whole model's first updates over that of its weights,
        see `update_ratio`, which the first scale is set to give; None starts from the base rate (scale 1).
      first_update_norm: the norm of the whole model's first updates that the first scale is set to give instead, see
        `update_norm`.
      decisions: control steps a whole run is divided into where the host may choose.
    """

    features: tuple[str, ...] = FEATURE_NAMES
    knobs: tuple[str, ...] = ("scale", "clip", "dampen")
    control: str = "absolute"
    first_update: float | None = None
    first_update_norm: float | None = None
    decisions: int = 40

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
          ValueError: if a feature, knob or control is unknown to this version, or a number is out of range.
        """
        object.__setattr__(self, "features", check_features(self.features))
        object.__setattr__(self, "knobs", check_knobs(self.knobs))
        check_control(self.control)
        ratio, norm = self.first_update, self.first_update_norm
        if ratio is not None and not (isinstance(ratio, (float, np.floating)) and 0.0 < ratio < 1.0):
            raise ValueError(f"first_update: expected a ratio between 0 and 1, or None; received {ratio!r}")
        if norm is not None and not (isinstance(norm, (float, np.floating)) and 0.0 < norm < np.inf):
            raise ValueError(f"first_update_norm: expected a positive number, or None; received {norm!r}")
        if ratio is not None and norm is not None:
            raise ValueError("first_update_norm: expected None where first_update is given; received both")
        if self.sets_first_scale and (self.control != "relative" or "scale" not in self.knobs):
            raise ValueError("first_update: expected relative control of the knob 'scale'")
        if not isinstance(self.decisions, int) or not 1 <= self.decisions <= MOST_DECISIONS:
            raise ValueError(
                f"decisions: expected a whole number from 1 to {MOST_DECISIONS}; received {self.decisions!r}"
            )

    @property
    def sets_first_scale(self) -> bool:
        """Whether runs begin at a scale of their own, whatever the base rate."""
        return self.first_update is not None or self.first_update_norm is not None


class Controller(ABC):
    """Decides every group's knobs from what it observes.

    Attributes:
      interface: what it observes and sets.
      optional_knobs: those of its knobs that a base optimizer may lack, over which they then do nothing; a base
        optimizer that has nothing for another one is refused.
      neutral_untrained: whether it promises to act 0, whatever it observes, until it has learned something.
      learns: whether it claims to get better by `learn`.
      needs_losses: whether it is of no use to a run that tells it no loss at all.
      authority: least and greatest scale over the user's rate that it asks a guard for; None: the range of the knob
        `scale`, 0.01 to 10, or as far as the knob goes for one whose first update makes the user's rate irrelevant.
      needs_budget: whether it decides well only where the budget is known; where it is not, and it sets its own first
        scale, a guard holds it to `optenv.control.unknown_budget` instead.
      returns: whether a guard may return its runs to their best weights, and shift its scales then, see
        `optenv.control.ways_back`; under relative control of the scale alone.
      keep_weights: whose weights the host is to keep, instead of those kept before, as of the last `act`, [N] bool;
        None where it need not hold any.
      restore_weights: which runs are to return, before the control step begins, to the weights kept last, with a
        fresh optimizer state, [N] bool or None; the gradient that is there is then passed over. Rollouts and
        controlled optimizers do so; the environment, whose agent stands outside, does not.
    """

    interface: Interface = Interface()
    optional_knobs: tuple[str, ...] = ()
    authority: tuple[float, float] | None = None
    neutral_untrained: bool = False
    learns: bool = False
    needs_losses: bool = True
    needs_budget: bool = False
    returns: bool = False
    keep_weights: Array | None = None
    restore_weights: Array | None = None

    @abstractmethod
    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin runs, forgetting all others.

        Args:
          num_runs: N.
          num_groups: G of each.
        """

    @abstractmethod
    def act(self, observation: Array) -> Array:
        """Decide.

        Args:
          observation: every group's view, [N, G, features].

        Returns:
          Actions in [-1, 1], [N, G, knobs]; 0 is neutral.
        """

    def learn(self, reward: Array, ended: Array) -> None:  # noqa: B027 - most controllers do not learn online
        """Take in what came of the last action, before the next; hosts tell it where they are asked to.

        Args:
          reward: [N]; NaN where nothing is known, as of the first action.
          ended: whether the budget was spent with it, [N] bool.
        """

    def alarm(self, lost: Array) -> None:  # noqa: B027 - most controllers leave this to a guard
        """Take in what no feature tells, before `act`.

        Args:
          lost: which runs met a loss that is not finite since the last decision, [N] bool.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what it remembers of the runs under way, as numpy arrays and numbers; by default nothing.

        A controller with a memory overrides this and `load_state_dict`; the checkpoints of a controlled optimizer
        hold it.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most controllers have no memory
        """Go on from where `state_dict` was called.

        Args:
          state: what it returned; numbers and arrays come back as they were.
        """

    def regroup(self, sources: Array) -> None:
        """Go on with other groups; by default by beginning anew.

        Args:
          sources: for each group the index of the one that it was before, or -1 for a new one, [G].
        """
        self.reset(1, len(sources))

    def save(self, path: str | Path) -> None:
        """Write the controller to a file.

        Args:
          path: exactly where to; no ending is added.

        Raises:
          TypeError: if this kind has nothing to save.
        """
        raise TypeError(f"{type(self).__name__} has nothing to save")


class Neutral(Controller):
    """Leave the base optimizer alone, bit for bit."""

    neutral_untrained = True

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Array) -> Array:
        """Return zeros, [N, G, knobs]."""
        return np.zeros((*observation.shape[:2], len(self.interface.knobs)))


def check_base(controller: Controller, base: str, hyperparameters: Sequence[str]) -> None:
    """Check that a base optimizer has something to move for every knob of a controller that is not optional.

    Args:
      controller: what sets the knobs.
      base: the optimizer's name.
      hyperparameters: those it has, named as in `Knob.moves`.

    Raises:
      ValueError: if it has nothing for one of them.
    """
    required = [knob for knob in controller.interface.knobs if knob not in controller.optional_knobs]
    check_movable(required, base, hyperparameters)
