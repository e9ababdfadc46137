"""What the brain observes of one run, from losses and sketched gradients; lean, since it runs in the user's step."""

from __future__ import annotations

from math import asinh, isfinite, nan, sqrt, tanh
from typing import Any

import numpy as np

from agents.optbrain.brain import INPUTS, checked
from optenv.control.signals import COSINE_MEMORY, NOISE_MEMORY

Array = np.ndarray
MAX_COORDINATES = 1024
TOTAL_COORDINATES = 2048
MIN_COORDINATES = 16
_LOSSES = ("loss", "first_loss", "best_loss", "noise", "last_loss")
_SIGNS = np.array([1.0, -1.0])
_TINY = 1e-300


def coordinates(num_groups: int) -> int:
    """Return how many coordinates of each group are looked at, so that their sum stays bounded.

    >>> coordinates(1), coordinates(47), coordinates(1000)
    (1024, 43, 16)
    """
    return max(MIN_COORDINATES, min(MAX_COORDINATES, TOTAL_COORDINATES // max(1, num_groups)))


class Sense:
    """Turns losses and sketches into the brain's inputs, by the formulas of `optenv.control.features`.

    One thing is better here than there: the gradient is that of the step *after* the displacement, on a
    minibatch that the displacement has not seen.

    Attributes:
      num_groups: G.
    """

    def __init__(self, num_groups: int):
        """Begin a run."""
        self.num_groups = num_groups
        self._loss = self._first_loss = self._best_loss = self._noise = self._last_loss = nan
        self._cosines = np.zeros((num_groups, 2))  # gradient_persistence and descent
        self._gradient = np.full((num_groups, 1), np.nan, np.float32)
        self._recent: list[float] = []

    def hear(self, loss: float) -> None:
        """Take in the loss of one step; what is not finite is not heard."""
        if isfinite(loss):
            self._recent.append(loss)

    def look(self, gradient: Array, displacement: Array) -> Array:
        """Take in sketches and the losses heard since the last look, and return the inputs, [1, G, 4].

        Args:
          gradient: sketch of this step's gradient, [G, S]; a group where it is not finite learns nothing.
          displacement: sketch of how far the weights moved since the last look, [G, S], in any unit.
        """
        improvement, significance = self._sum_up()
        with np.errstate(all="ignore"):
            self._compare(gradient, displacement)
        inputs = np.empty((1, self.num_groups, len(INPUTS)))
        inputs[0, :, 0], inputs[0, :, 1] = improvement, significance
        inputs[0, :, 2:] = self._cosines
        return inputs

    def _sum_up(self) -> tuple[float, float]:
        """Close the interval of losses; return the features improvement and significance."""
        losses, count = self._recent, len(self._recent)
        if not count:
            return 0.0, 0.0
        previous, self._loss = self._loss, sum(losses) / count
        before = [self._last_loss, *losses[:-1]]
        squares = [(a - b) ** 2 for a, b in zip(losses, before, strict=True) if b == b]
        if squares:
            new = 0.5 * sum(squares) / len(squares)
            self._noise = new if self._noise != self._noise else NOISE_MEMORY * self._noise + (1 - NOISE_MEMORY) * new
        self._last_loss, self._recent = losses[-1], []
        if previous != previous:
            self._first_loss = self._best_loss = self._loss
            return 0.0, 0.0
        self._best_loss = min(self._best_loss, self._loss)
        noise, fall = sqrt(self._noise / count), previous - self._loss
        span = max(self._first_loss - self._best_loss, 0.0) + noise + _TINY
        improvement = max(-3.0, min(3.0, asinh(40.0 * fall / span) / asinh(40.0)))
        return improvement, tanh(fall / (4.0 * sqrt(2.0) * noise + _TINY))

    def _compare(self, gradient: Array, displacement: Array) -> None:
        if self._gradient.shape != gradient.shape:
            self._gradient = np.full_like(gradient, np.nan)
        three = np.stack([gradient, self._gradient, displacement], axis=1, dtype=float)  # [G, 3, S]
        products = np.matmul(three, three.transpose(0, 2, 1))
        norms = np.sqrt(np.diagonal(products, axis1=1, axis2=2))
        new = products[:, 0, 1:] / (norms[:, :1] * norms[:, 1:]) * _SIGNS
        mixed = COSINE_MEMORY * self._cosines + (1.0 - COSINE_MEMORY) * new
        self._cosines = np.where(np.isfinite(new), mixed, self._cosines)
        self._gradient = gradient.copy()  # the caller may write the next one into the same array

    def regroup(self, num_groups: int) -> None:
        """Go on with more or fewer groups, the last ones new or gone; what is new has shown nothing yet."""
        fresh = Sense(num_groups)
        common = min(num_groups, self.num_groups)
        fresh._cosines[:common] = self._cosines[:common]
        self.num_groups, self._cosines = num_groups, fresh._cosines
        self._gradient = fresh._gradient

    def state(self) -> dict[str, Any]:
        """Return everything, as arrays; its size does not depend on the model's."""
        losses = np.array([getattr(self, f"_{name}") for name in _LOSSES])
        return {"losses": losses, "recent": np.array(self._recent), "cosines": self._cosines,
                "gradient": self._gradient}  # fmt: skip

    def go_on(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises:
          ValueError: if it is not finite where it must be, or that of another number of groups.
        """
        own = checked(state, {"cosines": self._cosines.shape, "recent": np.shape(state["recent"])})
        self._cosines, self._recent = own["cosines"], own["recent"].tolist()
        for name, value in zip(_LOSSES, np.asarray(state["losses"], float).tolist(), strict=True):
            setattr(self, f"_{name}", value)
        self._gradient = np.array(state["gradient"], np.float32)
