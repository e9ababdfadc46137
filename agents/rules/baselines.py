"""Baselines that are no function of progress: reduce on plateau, random, and the best static multiplier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agents.rules.schedules import SCALE, SCALE_ONLY, broadcast, scale_action
from optenv.control.controller import Controller
from optenv.control.features import FEATURE_NAMES

if TYPE_CHECKING:
    from optenv.inner.trainer import BatchedTrainer

Array = np.ndarray
_REGRET = FEATURE_NAMES.index("regret")


class ReduceOnPlateau(Controller):
    """Multiply the scale by `factor` whenever `patience` control steps brought no new least loss.

    It starts at 1, ends at 0.01, and never needs the budget. A loss is the mean over a control step;
    it is a new least where the feature `regret` is 0.
    """

    interface = SCALE_ONLY

    def __init__(self, factor: float = 0.5, patience: int = 4):
        """Choose how fast it falls.

        Raises:
          ValueError: if the factor is not between 0 and 1, or the patience not positive.
        """
        if not 0.0 < factor < 1.0 or patience < 1:
            raise ValueError(
                f"reduce_on_plateau: expected a factor between 0 and 1 and a patience of at least 1; "
                f"received {factor!r} and {patience!r}"
            )
        self._factor, self._patience = factor, patience
        self.reset(0, 0)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin at a scale of 1."""
        self._waited = np.zeros(num_runs, int)
        self._scale = np.ones(num_runs)

    def act(self, observation: Array) -> Array:
        """Return the scale action, [N, G, 1]."""
        self._waited = np.where(observation[:, 0, _REGRET] <= 0.0, 0, self._waited + 1)
        over = self._waited >= self._patience
        self._waited = np.where(over, 0, self._waited)
        self._scale = np.maximum(np.where(over, self._factor * self._scale, self._scale), SCALE.low)
        return broadcast(scale_action(self._scale)[:, None], observation)

    def state_dict(self) -> dict[str, Any]:
        """Return how long each run has waited, and its scale, [N] each."""
        return {"waited": self._waited, "scale": self._scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._waited, self._scale = np.array(state["waited"]), np.array(state["scale"])

    def regroup(self, sources: Array) -> None:
        """Go on: all groups of a run share its scale."""


class RandomScale(Controller):
    """Draw every group's scale anew in every control step: an action uniform in [-spread, spread].

    The sequence is a function of the seed, the control step and the group alone, so that all runs of
    a batch, in whatever order, and every batch follow the same one.
    """

    interface = SCALE_ONLY

    def __init__(self, seed: int = 0, spread: float = 1.0):
        """Choose the sequence.

        Raises:
          ValueError: if the spread is not in (0, 1].
        """
        if not 0.0 < spread <= 1.0:
            raise ValueError(f"random: expected a spread above 0 and at most 1; received {spread!r}")
        self._seed, self._spread = seed, spread
        self.reset(0, 0)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin the sequence."""
        self._generator = np.random.default_rng(self._seed)

    def act(self, observation: Array) -> Array:
        """Return the scale action, [N, G, 1]."""
        num_runs, num_groups = observation.shape[:2]
        action = self._generator.uniform(-self._spread, self._spread, (num_groups, 1))
        return np.repeat(action[None], num_runs, axis=0)

    def state_dict(self) -> dict[str, Any]:
        """Return where the sequence is."""
        return {"generator": self._generator.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._generator.bit_generator.state = state["generator"]

    def regroup(self, sources: Array) -> None:
        """Go on with the sequence."""


class BestStatic(Controller):
    """Multiply the base rate by one factor throughout: the best in hindsight, once `fit` has found it.

    Until then it is neutral. What no constant multiplier reaches is what control over time is worth.

    Attributes:
      factor: the multiplier.
    """

    interface = SCALE_ONLY
    neutral_untrained = True

    def __init__(self, factor: float = 1.0):
        """Begin with a factor; 1 is neutral."""
        self.factor = factor

    def fit(self, trainer: BatchedTrainer, rate: float, total: int) -> BestStatic:
        """Return a controller with the factor whose final loss, the worse of the tuning seeds', is least.

        Tried are 13 factors over the knob's range, four a decade. In a geometric mean over seeds, a
        single one that happens upon a loss of 0 at a far too high rate would decide alone.

        Args:
          trainer: what trains the runs.
          rate: their base learning rate.
          total: their budget in inner steps.
        """
        from optenv.benchmark.run import constant
        from optenv.benchmark.tuning import tuning_losses

        factors = np.geomspace(SCALE.low, SCALE.high, 13)
        worst = tuning_losses(trainer, constant, rate * factors, total).max(axis=1)
        return BestStatic(float(factors[np.argmin(worst)]))

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Nothing to forget: the factor is no memory of a run."""

    def act(self, observation: Array) -> Array:
        """Return the scale action, [N, G, 1]."""
        return broadcast(scale_action(np.full((len(observation), 1), self.factor)), observation)
