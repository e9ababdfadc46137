"""Ways back: which runs are to return to their best weights, and how far their rates are lowered when they do.

A guard asks this for every controller that says its runs may (`Controller.returns`). The weights of the best control
step are kept, by validation loss where there is one. Until `WATCHED` of the budget is spent, a run whose loss stands
far above its best for two control steps returns to them; one that overfits, as its validation loss tells, does so at
any time. The constants are from docs/research.md, "auto".
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray

FEATURES_NEEDED = (
    "progress", "age", "regret", "noise", "validation_regret", "validation_gap", "validation_age", "log_scale",
)  # fmt: skip
WATCHED = 0.4  # share of the budget in which a run whose progress is lost may return
YOUNG = 40  # control steps in which it may where the budget is unknown
LOST = 0.5  # share of the progress by which the loss has to stand above its best
ERRORS = 2.0  # standard errors of the difference that it has to stand above that
PATIENCE = 2  # control steps in succession
LOWER, HALF = 0.7, 0.5  # the new rate at the peak over that at the best control step, and over the old one, at most
OVERFIT = 0.1  # rise of the validation loss in units of its fall, and of its gap to the training loss
LONG, LEAST = 5, 3  # hundredths of the budget for which they have to stand so; control steps, at least
COOLER = 0.3  # the new rate over that at the best validation loss
_STATE = (
    "shift", "highest", "best_log_scale", "best_noise", "best_gap", "over", "overfit", "validation_age", "count",
    "progress", "step",
)  # fmt: skip


class WaysBack:
    """Watches N runs under relative control of the scale.

    The loss L of a control step, the first F and the best B are seen through the features "regret" and "noise", in
    units of the progress F - B and of the standard error e of a control step's mean loss. A run returns where

        L - B > LOST (F - B) + sqrt(2) ERRORS e

    in `PATIENCE` control steps in succession, or a loss is not finite. Its rate at the peak is then to be the least of
    LOWER times that at the best control step and HALF of what it was.

    Where there are validation losses V, with a first G and a best C, V - C > LOST (G - C) has to hold as well. A run
    overfits when for `LONG` hundredths of its budget, or control steps where that is unknown, and for `LEAST` control
    steps at least, V - C > OVERFIT (G - C)
    while V - L has risen by more than OVERFIT (F - B) since the best. Its rate is then to be COOLER times that at the
    best, and as many times less at every further return. Both are decided when a new V is there.

    Attributes:
      shift: log of what the scales that the controller decides are multiplied by, at most 0, [N].
      keep: whose weights are to be kept, [N] bool; None where no run can return any more.
      restore: whose weights are to be put back, likewise.
    """

    __slots__ = (*_STATE, "held", "keep", "restore")

    def __init__(self, num_runs: int):
        """Begin runs, with nothing kept."""
        self.shift, self.highest = np.zeros(num_runs), np.full(num_runs, -np.inf)
        self.best_log_scale, self.best_noise = np.zeros(num_runs), np.full(num_runs, 1e6)
        self.best_gap, self.validation_age = np.zeros(num_runs), np.full(num_runs, np.inf)
        self.held = np.zeros(num_runs, bool)
        self.over, self.overfit = np.zeros(num_runs, int), np.zeros(num_runs, int)
        self.count, self.progress, self.step = 0, np.zeros(num_runs), np.zeros(num_runs)
        self.keep: Array | None = None
        self.restore: Array | None = None

    def watch(self, seen: dict[str, Array], log_scale: Array, infinite: Array) -> None:
        """Decide which weights to keep, which to put back, and how far to shift scales, before a control step.

        Args:
          seen: the features of `FEATURES_NEEDED`, [N] each.
          log_scale: natural logarithm of the scale over the first, mean over the groups, [N].
          infinite: which runs met a loss that is not finite since the last decision, [N] bool.
        """
        known, validated = seen["progress"] >= 0.0, seen["validation_age"] >= 0.0
        young = (self.count > 0) & np.where(known, seen["progress"] <= WATCHED, self.count <= YOUNG)
        passed, self.progress, self.count = seen["progress"] - self.progress, seen["progress"], self.count + 1
        step = 10.0 ** (5.0 * seen["age"]) - 1.0
        length, self.step = step - self.step, step
        if not (young | validated).any():
            self.keep = self.restore = None
            return
        new, self.validation_age = seen["validation_age"] <= self.validation_age, seen["validation_age"]
        gap = np.sinh(seen["validation_gap"] * np.arcsinh(10.0)) / 10.0
        error, lost = self._loses(seen, length, (new | ~validated), validated, infinite)
        lost = young & self.held & lost
        overfits = self._overfits(seen, gap, np.where(known, 100.0 * passed, 1.0), new) & self.held & ~lost
        best = np.where(validated, new & (seen["validation_regret"] <= 0.0), young & (seen["regret"] <= 0.0))
        best &= ~lost & ~overfits & ~infinite
        self.best_noise = np.where(best, error, self.best_noise)
        self.best_gap = np.where(best, gap, self.best_gap)
        self._lower(log_scale, lost, overfits)
        self.best_log_scale = np.where(best, log_scale, self.best_log_scale)
        self.keep, self.restore = best, lost | overfits
        self.over, self.overfit = np.where(lost, -1, self.over), np.where(self.restore, 0, self.overfit)
        self.held = self.held | best

    def _lower(self, log_scale: Array, lost: Array, overfits: Array) -> None:
        """Shift the scales of runs that return."""
        decided = log_scale - self.shift
        self.highest = np.maximum(self.highest, decided)
        lower = np.minimum(self.best_log_scale + np.log(LOWER) - self.highest, self.shift + np.log(HALF))
        cooler = self.best_log_scale + np.log(COOLER)
        self.shift = np.where(lost, lower, np.where(overfits, np.minimum(cooler - decided, self.shift), self.shift))
        self.best_log_scale = np.where(overfits, cooler, self.best_log_scale)

    def _loses(
        self, seen: dict[str, Array], length: Array, decided: Array, validated: Array, infinite: Array
    ) -> tuple[Array, Array]:
        """Return the standard error of a control step's mean loss over the progress, and whether that is lost, [N]."""
        risen = 2.0 ** seen["validation_regret"] - 1.0 > LOST
        error = 10.0 ** (3.0 * (seen["noise"] - 1.0)) / np.sqrt(np.maximum(length, 1.0))  # over progress + error
        progress = np.maximum(1.0 - error, 0.0)
        best_error = np.where(progress > 1e-3, np.minimum(error, self.best_noise * progress), error)
        above = 2.0 ** seen["regret"] - 1.0 > LOST * progress + ERRORS * np.sqrt(2.0) * best_error
        self.over = np.where(above & (risen | ~validated), self.over + 1, 0)
        return error / np.maximum(progress, 1e-6), infinite | ((self.over >= PATIENCE) & decided)

    def _overfits(self, seen: dict[str, Array], gap: Array, passed: Array, new: Array) -> Array:
        """Return whether validation losses say so for long enough, `passed` being this step's share of 0.01, [N]."""
        risen = 2.0 ** seen["validation_regret"] - 1.0 > OVERFIT
        apart = gap - self.best_gap > OVERFIT
        self.overfit = np.where(risen & apart, self.overfit + 1, 0)
        return new & (self.overfit >= np.clip(LONG / np.maximum(passed, 1e-3) - 0.5, LEAST, LONG))

    def state_dict(self) -> dict[str, Any]:
        """Return what is known of the runs, but not that weights are held: no checkpoint has them."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        for name, value in state.items():
            setattr(self, name, value if name == "count" else np.array(value))
