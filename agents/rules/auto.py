"""`auto`: a peak rate from the first gradients, a schedule, and ways back; no file, no training.

The first gradients set the scale: at the peak the whole model's update has a norm of `PEAK`, for Adam a rate of PEAK
over the square root of the number of parameters; in runs of more than `USUAL` steps less, as the root of their length.
Where the base optimizer averages squared gradients, it is to forget them in 100 steps (beta2 0.99). With a known budget
the rate rises over the first twentieth, holds, and falls linearly to 0; without, it begins at `ENDLESS` of the peak and
falls with the power 3/4 of the time.

The weights of the best control step are kept, by validation loss where there is one. Until the decay sets in, a run
whose loss stands far above its best for two control steps returns to them, with a lower peak. A run that overfits, as
its validation loss tells, returns to them too, and goes on from there at a lower rate. The constants are from
docs/research.md, "auto".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.rules.schedules import rise
from optenv.control.controller import Controller, Interface

Array = np.ndarray

PEAK = 1.4  # norm of the whole model's update
USUAL, LENGTH_POWER = 640, 0.5  # steps up to which the peak holds; the power of the length it falls with from there
START = 0.25  # share of the peak that a run begins at
WARMUP, DECAY = 0.05, 0.6  # shares of the budget
LEAST = 1e-3  # share of the peak at which the decay ends
WATCHED = 1.0 - DECAY  # share of the budget in which a run whose progress is lost may return
ENDLESS = 0.08  # share of the peak that a run without budget begins at
FALL, FALL_POWER = 40, 0.75  # control steps until the decay of such a run sets in, and its power
YOUNG = 40  # control steps in which such a run may return for its progress
LOST = 0.5  # share of the progress by which the loss has to stand above its best
ERRORS = 2.0  # standard errors of the difference that it has to stand above that
PATIENCE = 2  # control steps in succession
LOWER, HALF = 0.7, 0.5  # the new peak over the rate at the best control step, and over the old peak, at most
OVERFIT = 0.1  # rise of the validation loss in units of its fall, and of its gap to the training loss
LONG = 5  # control steps for which they have to stand so, told by two validation losses at least
COOLER = 0.3  # the new rate over that at the best validation loss
FEATURES = (
    "progress", "horizon", "regret", "noise", "validation_regret", "validation_gap", "validation_age", "log_scale",
)  # fmt: skip
_STATE = (
    "log_peak", "best_log_scale", "best_noise", "best_gap", "held", "over", "overfit", "age", "count", "progress",
)  # fmt: skip


class AutoController(Controller):
    """Set the peak by the norm of the first updates, follow a schedule, and return where the progress is lost.

    The loss L of a control step, the first F and the best B are seen through the features "regret" and "noise", in
    units of the progress F - B and of the standard error e of a control step's mean loss. A run returns where

        L - B > LOST (F - B) + sqrt(2) ERRORS e

    in `PATIENCE` control steps in succession, or a loss is not finite, and its new peak is the least of LOWER times the
    rate in force at the best control step and HALF the old peak.

    Where there are validation losses V, with a first G and a best C, V - C > LOST (G - C) has to hold as well. A run
    overfits when for `LONG` control steps V - C > OVERFIT (G - C) while V - L has risen by more than OVERFIT (F - B)
    since the best. It returns, and its rate is COOLER times that at the best, and as many times less at every further
    return. Both are decided when a new V is there.
    """

    interface = Interface(
        features=FEATURES,
        knobs=("scale", "second_moment"),
        control="relative",
        first_update_norm=START * PEAK,
        decisions=100,
    )
    optional_knobs = ("second_moment",)

    def __init__(self) -> None:
        """Begin without runs."""
        self.reset(0, 0)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin runs at the first scale, with nothing kept."""
        self._log_peak = np.full(num_runs, -np.log(START))  # over the first scale, as all scales here
        self._best_log_scale, self._best_noise = np.zeros(num_runs), np.full(num_runs, 1e6)
        self._best_gap, self._age = np.zeros(num_runs), np.full(num_runs, np.inf)
        self._held, self._lost = np.zeros(num_runs, bool), np.zeros(num_runs, bool)
        self._over, self._overfit = np.zeros(num_runs, int), np.zeros(num_runs, int)
        self._count, self._progress = 0, np.zeros(num_runs)
        self.keep_weights = self.restore_weights = None

    def alarm(self, lost: Array) -> None:
        """Take in which runs met a loss that is not finite."""
        self._lost = np.asarray(lost, bool)

    def act(self, observation: Array) -> Array:
        """Return what takes every group's scale to the schedule, as far as one goes, and caps beta2, [N, G, 2]."""
        if not observation.shape[1]:
            return np.zeros((*observation.shape[:2], 2))
        seen = {name: observation[:, 0, i].astype(float) for i, name in enumerate(FEATURES)}
        scale = observation[..., FEATURES.index("log_scale")].astype(float) * np.log(10.0)
        log_shape = np.log(self._shape(seen["progress"]))
        if not self._count:
            self._log_peak -= _longer_than_usual(seen["progress"], seen["horizon"])
        self._watch(seen, scale.mean(axis=1), log_shape)
        self._progress, self._count = seen["progress"], self._count + 1
        target = self._log_peak + log_shape
        return np.stack([np.clip(target[:, None] - scale, -1.0, 1.0), -np.ones_like(scale)], axis=-1)

    def _shape(self, progress: Array) -> Array:
        """Return the rate of the control step to come over the peak, [N]."""
        middle = np.clip(progress + 0.5 / self.interface.decisions, 0.0, 1.0)
        known = np.minimum(_warm(middle / WARMUP), np.clip((1.0 - middle) / DECAY, LEAST, 1.0))
        time = self._count + 0.5
        unknown = ENDLESS / (1.0 + time / FALL) ** FALL_POWER
        return np.where(progress < 0.0, unknown, known)

    def _watch(self, seen: dict[str, Array], log_scale: Array, log_shape: Array) -> None:
        """Keep the weights where a loss is the least so far; return to them from where it is lost, or overfits."""
        known, validated = seen["progress"] >= 0.0, seen["validation_age"] >= 0.0
        young = (self._count > 0) & np.where(known, seen["progress"] <= WATCHED, self._count <= YOUNG)
        if not (young | validated).any():
            self.keep_weights = self.restore_weights = None
            return
        new, self._age = seen["validation_age"] <= self._age, seen["validation_age"]
        gap = np.sinh(seen["validation_gap"] * np.arcsinh(10.0)) / 10.0
        error, lost = self._loses(seen, known, new | ~validated, validated)
        lost = young & self._held & lost
        overfits = self._overfits(seen, gap, new) & self._held & ~lost
        best = np.where(validated, new & (seen["validation_regret"] <= 0.0), young & (seen["regret"] <= 0.0))
        best &= ~lost & ~overfits & ~self._lost
        self._best_noise = np.where(best, error, self._best_noise)
        self._best_gap = np.where(best, gap, self._best_gap)
        lower = np.minimum(self._best_log_scale + np.log(LOWER), self._log_peak + np.log(HALF))
        cooler = self._best_log_scale + np.log(COOLER)
        self._log_peak = np.where(lost, lower, self._log_peak)
        self._log_peak = np.where(overfits, np.minimum(cooler - log_shape, self._log_peak), self._log_peak)
        self._best_log_scale = np.where(best, log_scale, np.where(overfits, cooler, self._best_log_scale))
        self.keep_weights, self.restore_weights = best, lost | overfits
        self._over, self._overfit = np.where(lost, -1, self._over), np.where(self.restore_weights, 0, self._overfit)
        self._held = self._held | best

    def _loses(self, seen: dict[str, Array], known: Array, decided: Array, validated: Array) -> tuple[Array, Array]:
        """Return the standard error of a control step's mean loss over the progress, and whether that is lost, [N]."""
        risen = 2.0 ** seen["validation_regret"] - 1.0 > LOST
        length = np.where(known, (seen["progress"] - self._progress) * 10.0 ** (5.0 * seen["horizon"]), 10.0)
        error = 10.0 ** (3.0 * (seen["noise"] - 1.0)) / np.sqrt(np.maximum(length, 1.0))  # over progress + error
        progress = np.maximum(1.0 - error, 0.0)
        best_error = np.where(progress > 1e-3, np.minimum(error, self._best_noise * progress), error)
        above = 2.0 ** seen["regret"] - 1.0 > LOST * progress + ERRORS * np.sqrt(2.0) * best_error
        self._over = np.where(above & (risen | ~validated), self._over + 1, 0)
        lost = self._lost | ((self._over >= PATIENCE) & decided)
        return error / np.maximum(progress, 1e-6), lost

    def _overfits(self, seen: dict[str, Array], gap: Array, new: Array) -> Array:
        """Return whether validation losses have said for long enough that a run overfits, [N]."""
        risen = 2.0 ** seen["validation_regret"] - 1.0 > OVERFIT
        apart = gap - self._best_gap > OVERFIT
        self._overfit = np.where(risen & apart, self._overfit + 1, 0)
        return new & (self._overfit >= LONG)

    def state_dict(self) -> dict[str, Any]:
        """Return what is known of the runs, but not that weights are held: no checkpoint has them."""
        return {name: getattr(self, f"_{name}") for name in _STATE if name != "held"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        for name, value in state.items():
            setattr(self, f"_{name}", value if name == "count" else np.array(value))

    def regroup(self, sources: Array) -> None:
        """Go on: new groups start at the others' effective rate, see `ControlLoop.regroup`."""


def _longer_than_usual(progress: Array, horizon: Array) -> Array:
    """Return by how much a known budget lowers the log of the peak, [N]; 0 up to `USUAL` steps."""
    return np.where(progress < 0.0, 0.0, LENGTH_POWER * np.log(np.maximum(10.0 ** (5.0 * horizon) / USUAL, 1.0)))


def _warm(passed: Array | float) -> Array:
    """Rise from `START` to 1 while the share passed of the warm-up goes from 0 to 1."""
    return START + (1.0 - START) * rise(np.asarray(passed), 1.0)
