"""A record of every decision: thinned in memory, whole in a file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray
ParamGroup = dict[str, Any]
NUMBERS_KEPT = 2048
MIN_RECORDS, MAX_RECORDS = 40, 512


def capacity(num_groups: int) -> int:
    """Return how many decisions are kept in memory: at least those of a whole run in 40 decisions.

    >>> capacity(1), capacity(12), capacity(1000)
    (512, 170, 40)
    """
    return min(MAX_RECORDS, max(MIN_RECORDS, NUMBERS_KEPT // max(1, num_groups)))


class Trace:
    """Remembers decisions.

    What is kept in memory is bounded: when it is full, every second record is dropped, and from then
    on every second decision recorded, so the whole run stays covered, evenly.
    """

    def __init__(self, path: str | Path | None = None):
        """Record, and append every decision to the JSON-lines file `path` if there is one."""
        self._path = None if path is None else Path(path)
        self._records: list[tuple[int, float, Array, dict[str, Array]]] = []
        self._stride, self._seen = 1, 0
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, step: int, loss: float, groups: Sequence[ParamGroup], values: dict[str, Array]) -> None:
        """Take in one decision.

        Args:
          step: steps taken before it.
          loss: mean loss of the last interval; NaN where there is none.
          groups: the base optimizer's parameter groups, with the rates the user set.
          values: knob values by name, [1, G] each.
        """
        own = {name: value[0].astype(np.float32) for name, value in values.items()}
        factor = values.get("scale", np.ones((1, len(groups)))) * (1.0 - values.get("dampen", 0.0))
        rate = np.array([float(group.get("lr", math.nan)) for group in groups]) * factor[0]
        record = (step, loss, rate.astype(np.float32), own)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_readable(*record)) + "\n")
        self._keep(record, capacity(len(groups)))

    def _keep(self, record: tuple[int, float, Array, dict[str, Array]], most: int) -> None:
        while len(self._records) >= most:
            self._records, self._stride = self._records[::2], 2 * self._stride
        if self._seen % self._stride == 0:
            self._records.append(record)
        self._seen += 1

    def records(self) -> list[dict[str, Any]]:
        """Return what is kept, oldest first, as in the file."""
        return [_readable(*record) for record in self._records]


def _readable(step: int, loss: float, rate: Array, values: dict[str, Array]) -> dict[str, Any]:
    """Return a record in JSON's types: one number per group; what is not known is None."""
    knobs = {name: _numbers(value) for name, value in values.items()}
    return {"step": step, "loss": loss if math.isfinite(loss) else None, "rate": _numbers(rate), **knobs}


def _numbers(values: Array) -> list[float | None]:
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values.tolist()]
