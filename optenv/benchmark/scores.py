"""Scores: whose test loss counts, that of the weights with the best validation loss, or that of the final ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optenv.registry import by_name

Array = np.ndarray


@dataclass(frozen=True)
class Score:
    """Which weights of a run are delivered; the same for all methods.

    Attributes:
      name: as in files.
      title: as in tables.
      why: one line on what it measures.
      reads: of which weights it sees the validation loss: `valid` or `offered` of an `Outcome`.
      validation: from validation losses before the first step and at the samples, [1 + V, ...], to that of the
        delivered weights, [...]; a method that is tuned chooses its rate by it.
    """

    name: str
    title: str
    why: str
    reads: str
    validation: Callable[[Array], Array]


def _least(valid: Array) -> Array:
    return np.fmin.reduce(np.where(np.isfinite(valid), valid, np.inf))


def _last(valid: Array) -> Array:
    return np.where(np.isfinite(valid[-1]), valid[-1], np.inf)


SCORES = by_name(
    "score",
    (
        Score(
            "best",
            "with validation",
            "test loss of the weights with the least validation loss of a run",
            "offered",
            _least,
        ),
        Score("final", "without validation", "test loss of the final weights", "valid", _last),
    ),
)
