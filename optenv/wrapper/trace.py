"""A record of every decision: thinned in memory, whole where the user wants it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from optenv.wrapper.sinks import open_sink

Array = np.ndarray
ParamGroup = dict[str, Any]
Record = tuple[int, float, tuple[str, ...], bytes]  # step, loss, knobs, rate and knobs of each group in float32
NUMBERS_KEPT = 1024
MIN_RECORDS, MAX_RECORDS = 8, 256


def capacity(num_groups: int, num_knobs: int = 3) -> int:
    """Return how many decisions are kept in memory, so that their numbers, a rate and the knobs a group, stay few.

    >>> capacity(1), capacity(12), capacity(1000)
    (256, 21, 8)
    """
    return min(MAX_RECORDS, max(MIN_RECORDS, NUMBERS_KEPT // max(1, num_groups * (1 + num_knobs))))


class Trace:
    """Remembers decisions.

    What is kept in memory is bounded: when it is full, every second record is dropped, and from then
    on every second decision recorded, so the whole run stays covered, evenly.
    """

    def __init__(self, to: Any = None):
        """Record, and write every decision `to` where `open_sink` says."""
        self._sink = open_sink(to)
        self._records: list[Record] = []
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._stride, self._seen = 1, 0

    def silence(self) -> None:
        """Write no more; memory goes on."""
        self._sink = None

    def add(self, step: int, loss: float, groups: Sequence[ParamGroup], values: dict[str, Array]) -> None:
        """Take in one decision.

        Args:
          step: steps taken before it.
          loss: mean loss of the last interval; NaN where there is none.
          groups: the base optimizer's parameter groups, with the rates the user set.
          values: knob values by name, [1, G] each.
        """
        factor = values.get("scale", np.ones((1, len(groups)))) * (1.0 - values.get("dampen", 0.0))
        rate = np.array([float(group.get("lr", math.nan)) for group in groups]) * factor[0]
        numbers = np.stack([rate, *(value[0] for value in values.values())]).astype(np.float32)  # [1 + knobs, G]
        names = tuple(values)
        # Bytes and shared names: of few groups an array's own header would weigh more than what is in it.
        record = (step, loss, self._names.setdefault(names, names), numbers.tobytes())
        if self._sink is not None:
            self._sink.add(_readable(*record), group_names(groups))
        self._keep(record, capacity(len(groups), len(values)))

    def _keep(self, record: Record, most: int) -> None:
        while len(self._records) >= most:
            self._records, self._stride = self._records[::2], 2 * self._stride
        if self._seen % self._stride == 0:
            self._records.append(record)
        self._seen += 1

    def records(self) -> list[dict[str, Any]]:
        """Return what is kept, oldest first, as in the file."""
        return [_readable(*record) for record in self._records]


def group_names(groups: Sequence[ParamGroup]) -> list[str]:
    """Return each group's name, or its number where it has none or shares it.

    >>> group_names([{"name": "encoder"}, {}, {"name": "head"}, {"name": "head"}])
    ['encoder', 'group 1', 'group 2', 'group 3']
    """
    times = Counter(group.get("name") for group in groups)
    return [
        f"group {g}" if group.get("name") is None or times[group["name"]] > 1 else str(group["name"])
        for g, group in enumerate(groups)
    ]


def _readable(step: int, loss: float, knobs: tuple[str, ...], numbers: bytes) -> dict[str, Any]:
    """Return a record in JSON's types: one number per group; what is not known is None."""
    rows = np.frombuffer(numbers, np.float32).reshape(1 + len(knobs), -1)
    by_name = dict(zip(("rate", *knobs), map(_numbers, rows), strict=True))
    return {"step": step, "loss": loss if math.isfinite(loss) else None, **by_name}


def _numbers(values: Array) -> list[float | None]:
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values.tolist()]
