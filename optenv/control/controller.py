"""The contract of a controller: anything with reset, act, learn, save and load."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from optenv.control.features import FEATURE_NAMES
from optenv.control.knobs import check_control, check_knobs

Array = np.ndarray


@dataclass(frozen=True)
class Interface:
    """What a controller expects of its host; a host with another interface refuses it.

    Attributes:
      features: names of the observed features, in order.
      knobs: names of the knobs its actions turn, in order.
      control: "absolute" or "relative".
      first_update: under relative control, the size of the model's updates at the start over that of its
        weights, see `update_ratio`, which the first scale is set to give; None starts from the base rate (scale 1).
      decisions: control steps a whole run is divided into where the host may choose.
    """

    features: tuple[str, ...] = FEATURE_NAMES
    knobs: tuple[str, ...] = ("scale", "clip", "dampen")
    control: str = "absolute"
    first_update: float | None = None
    decisions: int = 40

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
          ValueError: if a feature, knob or control is unknown to this version, or a number is out of range.
        """
        if tuple(self.features) != FEATURE_NAMES:
            raise ValueError(
                f"features: this version observes {', '.join(FEATURE_NAMES)}; received {', '.join(self.features)}"
            )
        object.__setattr__(self, "features", tuple(self.features))
        object.__setattr__(self, "knobs", check_knobs(self.knobs))
        check_control(self.control)
        if self.first_update is not None and not 0.0 < self.first_update < 1.0:
            raise ValueError(f"first_update: expected a ratio between 0 and 1, or None; received {self.first_update!r}")
        if self.first_update is not None and (self.control != "relative" or "scale" not in self.knobs):
            raise ValueError("first_update: expected relative control of the knob 'scale'")
        if self.decisions < 1:
            raise ValueError(f"decisions: expected a positive number; received {self.decisions!r}")


class Controller(ABC):
    """Decides every group's knobs from what it observes.

    Attributes:
      interface: what it observes and turns.
      neutral_untrained: whether it promises to act 0, whatever it observes, until it has learned something.
      learns: whether it claims to get better by `learn`.
      authority: least and greatest scale over the user's rate that it asks a guard for; None: the range of the knob
        `scale`, 0.01 to 10, or as far as the knob goes for one whose first update makes the user's rate irrelevant.
    """

    interface: Interface = Interface()
    authority: tuple[float, float] | None = None
    neutral_untrained: bool = False
    learns: bool = False

    @abstractmethod
    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin `num_runs` runs with `num_groups` groups each, forgetting all others."""

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
        """Take in which runs met a loss that is not finite since the last decision, [N] bool: no feature tells."""

    def state_dict(self) -> dict[str, Any]:
        """Return what it remembers of the runs under way, as numpy arrays and numbers; by default nothing.

        A controller with a memory overrides this and `load_state_dict`; the checkpoints of a controlled optimizer
        hold it.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most controllers have no memory
        """Go on from what `state_dict` returned; numbers and arrays come back as they were."""

    def regroup(self, sources: Array) -> None:
        """Go on with other groups; by default by beginning anew.

        Args:
          sources: for each group the index of the one that it was before, or -1 for a new one, [G].
        """
        self.reset(1, len(sources))

    def save(self, path: str | Path) -> None:
        """Write the controller to exactly `path`.

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
