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
_RECORD = [
    ("shift", float), ("highest", float), ("best_log_scale", float), ("best_noise", float), ("best_gap", float),
    ("over", int), ("overfit", int), ("validation_age", float), ("progress", float), ("step", float), ("held", bool),
]  # fmt: skip


class WaysBack:
    """Watches N runs under relative control of the scale.

    The loss L of a control step, the first F and the best B are seen through the features "regret" and "noise", in
    units of the progress F - B and of the standard error e of a control step's mean loss. A run returns where

        L - B > LOST (F - B) + sqrt(2) ERRORS e

    in `PATIENCE` control steps in succession, or a loss is not finite. Its rate at the peak is then to be the least of
    LOWER times that at the best control step and HALF of what it was.

    Where there are validation losses V, with a first G and a best C, V - C > LOST (G - C) has to hold as well. A run
    overfits when for `LONG` hundredths of its budget, or control steps where that is unknown, and for `LEAST` control
    steps at least, V - C > OVERFIT (G - C) while V - L has risen by more than OVERFIT (F - B) since the best. Its rate
    is then to be COOLER times that at the best, and as many times less at every further return. Both are decided when a
    new V is there.

    Attributes:
      runs: what is known of each run, a record each, [N].
      keep: whose weights are to be kept, [N] bool; None where no run can return any more.
      restore: whose weights are to be put back, likewise.
    """

    def __init__(self, num_runs: int):
        """Begin runs, with nothing kept."""
        self.runs, self.count = np.zeros(num_runs, _RECORD), 0
        self.runs["highest"], self.runs["best_noise"], self.runs["validation_age"] = -np.inf, 1e6, np.inf
        self.keep: Array | None = None
        self.restore: Array | None = None

    @property
    def shift(self) -> Array:
        """Log of what the scales that the controller decides are multiplied by, at most 0, [N]."""
        return self.runs["shift"]

    def watch(self, seen: dict[str, Array], log_scale: Array, infinite: Array) -> None:
        """Decide which weights to keep, which to put back, and how far to shift scales, before a control step.

        Args:
          seen: the features of `FEATURES_NEEDED`, [N] each.
          log_scale: natural logarithm of the scale over the first, mean over the groups, [N].
          infinite: which runs met a loss that is not finite since the last decision, [N] bool.
        """
        known, validated = seen["progress"] >= 0.0, seen["validation_age"] >= 0.0
        runs, step, infinite = self.runs, 10.0 ** (5.0 * seen["age"]) - 1.0, np.asarray(infinite, bool)
        young = (self.count > 0) & np.where(known, seen["progress"] <= WATCHED, self.count <= YOUNG)
        passed, length = np.where(known, 100.0 * (seen["progress"] - runs["progress"]), 1.0), step - runs["step"]
        new = seen["validation_age"] <= runs["validation_age"]
        runs["progress"], runs["step"], runs["validation_age"] = seen["progress"], step, seen["validation_age"]
        self.count += 1
        if not (young | validated).any():
            self.keep = self.restore = None
            return
        gap = np.sinh(seen["validation_gap"] * np.arcsinh(10.0)) / 10.0
        error, lost = self._loses(seen, length, new | ~validated, validated)
        lost = young & runs["held"] & (lost | infinite)
        overfits = self._overfits(seen, gap, passed, new) & runs["held"] & ~lost
        best = np.where(validated, new & (seen["validation_regret"] <= 0.0), young & (seen["regret"] <= 0.0))
        best &= ~lost & ~overfits & ~infinite
        runs["best_noise"][best], runs["best_gap"][best] = error[best], gap[best]
        self._lower(log_scale, lost, overfits)
        runs["best_log_scale"][best] = log_scale[best]
        self.keep, self.restore = best, lost | overfits
        runs["over"][lost], runs["overfit"][self.restore] = -1, 0
        runs["held"] |= best

    def _lower(self, log_scale: Array, lost: Array, overfits: Array) -> None:
        """Shift the scales of runs that return."""
        runs, decided = self.runs, log_scale - self.runs["shift"]
        runs["highest"] = np.maximum(runs["highest"], decided)
        lower = np.minimum(runs["best_log_scale"] + np.log(LOWER) - runs["highest"], runs["shift"] + np.log(HALF))
        cooler = runs["best_log_scale"] + np.log(COOLER)
        cooled = np.minimum(cooler - decided, runs["shift"])
        runs["shift"] = np.where(lost, lower, np.where(overfits, cooled, runs["shift"]))
        runs["best_log_scale"][overfits] = cooler[overfits]

    def _loses(self, seen: dict[str, Array], length: Array, decided: Array, validated: Array) -> tuple[Array, Array]:
        """Return the standard error of a control step's mean loss over the progress, and whether that is lost, [N]."""
        runs, risen = self.runs, 2.0 ** seen["validation_regret"] - 1.0 > LOST
        error = 10.0 ** (3.0 * (seen["noise"] - 1.0)) / np.sqrt(np.maximum(length, 1.0))  # over progress + error
        progress = np.maximum(1.0 - error, 0.0)
        best_error = np.where(progress > 1e-3, np.minimum(error, runs["best_noise"] * progress), error)
        above = 2.0 ** seen["regret"] - 1.0 > LOST * progress + ERRORS * np.sqrt(2.0) * best_error
        runs["over"] = np.where(above & (risen | ~validated), runs["over"] + 1, 0)
        return error / np.maximum(progress, 1e-6), (runs["over"] >= PATIENCE) & decided

    def _overfits(self, seen: dict[str, Array], gap: Array, passed: Array, new: Array) -> Array:
        """Return whether validation losses say so for long enough, `passed` being this step's share of 0.01, [N]."""
        runs, risen = self.runs, 2.0 ** seen["validation_regret"] - 1.0 > OVERFIT
        apart = gap - runs["best_gap"] > OVERFIT
        runs["overfit"] = np.where(risen & apart, runs["overfit"] + 1, 0)
        return new & (runs["overfit"] >= np.clip(LONG / np.maximum(passed, 1e-3) - 0.5, LEAST, LONG))

    def state_dict(self) -> dict[str, Any]:
        """Return what is known of the runs, but not that weights are held: no checkpoint has them."""
        return {"count": self.count} | {name: self.runs[name].copy() for name, _ in _RECORD if name != "held"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        runs = np.zeros(len(state["shift"]), _RECORD)
        for name, _ in _RECORD:
            runs[name] = state.get(name, False)
        self.runs, self.count = runs, state["count"]
