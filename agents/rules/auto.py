"""`auto`: a peak rate from the first gradients, and a schedule; no file, no training.

The first gradients set the scale: at the peak the whole model's update has a norm of `PEAK`, for Adam a rate of PEAK
over the square root of the number of parameters; in runs of more than `USUAL` steps less, as the root of their length.
Where the base optimizer averages squared gradients, it is to forget them in 100 steps (beta2 0.99). With a known budget
the rate rises over the first twentieth, holds, and falls linearly to 0; without, see `optenv.control.unknown_budget`.
Its guard has the ways back from where progress is lost, or a run overfits (`optenv.control.ways_back`). The constants
are from docs/research.md, "auto".
"""

from __future__ import annotations

import numpy as np

from agents.rules.schedules import rise
from optenv.control import unknown_budget
from optenv.control.controller import Controller, Interface

Array = np.ndarray

PEAK = 1.4  # norm of the whole model's update
USUAL, LENGTH_POWER = 640, 0.5  # steps up to which the peak holds; the power of the length it falls with from there
START = 0.25  # share of the peak that a run begins at
FIRST_UPDATE_NORM = START * PEAK  # norm of the whole model's first update
WARMUP, DECAY = 0.05, 0.6  # shares of the budget
LEAST = 1e-3  # share of the peak at which the decay ends
FEATURES = ("progress", "horizon", "age", "log_scale")


class AutoController(Controller):
    """Set the peak by the norm of the first updates, and follow a schedule."""

    interface = Interface(
        features=FEATURES,
        knobs=("scale", "second_moment"),
        control="relative",
        first_update_norm=FIRST_UPDATE_NORM,
        decisions=100,
    )
    optional_knobs = ("second_moment",)
    returns = True

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Nothing to forget: what is observed tells all."""

    def act(self, observation: Array) -> Array:
        """Return what takes every group's scale to the schedule, as far as one goes, and caps beta2, [N, G, 2]."""
        progress, horizon, age, log_scale = (observation[..., i].astype(float) for i in range(len(FEATURES)))
        known = log_schedule(progress, horizon, self.interface.decisions) - np.log(START)
        target = np.where(progress < 0.0, unknown_budget.log_scale(self.interface, age), known)
        return np.stack([np.clip(target - log_scale * np.log(10.0), -1.0, 1.0), -np.ones_like(target)], axis=-1)


def log_schedule(progress: Array, horizon: Array, decisions: int) -> Array:
    """Return the log of the rate over that at a norm of `PEAK`, in the middle of the control step to come, [...].

    Args:
      progress: share of the budget spent, [...].
      horizon: length of the budget, as the feature, [...].
      decisions: control steps of a whole run.
    """
    middle = np.clip(progress + 0.5 / decisions, 0.0, 1.0)
    shape = np.minimum(START + (1.0 - START) * rise(middle, WARMUP), np.clip((1.0 - middle) / DECAY, LEAST, 1.0))
    return np.log(shape) - LENGTH_POWER * np.log(np.maximum(10.0 ** (5.0 * horizon) / USUAL, 1.0))
