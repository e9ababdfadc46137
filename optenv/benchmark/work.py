"""Units of work: what a driver runs and a store keeps. This module, driver and store load nothing heavy."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol

import numpy as np

LARGEST = 1e100  # a thousand times as much has to be a number too


class Work(Protocol):
    """What a driver runs and a store keeps.

    Attributes:
      identity: what the result depends on, as JSON values.
      key: names the identity; two with one key have one result.
      work: an estimate of what it costs, in any unit that all share.
      task: what it is about, to be read by people.
      name: of the method, likewise.
    """

    @property
    def key(self) -> str:  # noqa: D102
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:24]

    @property
    def identity(self) -> dict[str, Any]: ...  # noqa: D102

    @property
    def work(self) -> float: ...  # noqa: D102

    @property
    def task(self) -> str: ...  # noqa: D102

    @property
    def name(self) -> str: ...  # noqa: D102

    def run(self) -> dict[str, Any]:
        """Return the result, as JSON values; it may be called in another process."""

    def check(self, result: dict[str, Any]) -> None:
        """Check what a file says was the result.

        Raises:
          ValueError: if it cannot be that of this work.
        """


def check_numbers(result: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    """Check that a result holds numbers of the given shapes.

    Raises:
      ValueError: if one is missing, misshapen, or no number.
    """
    for name, shape in shapes.items():
        found = np.asarray(result.get(name))
        if found.shape != shape or found.dtype.kind not in "if":
            raise ValueError(f"expected numbers {name!r} of shape {shape}; received {found.dtype}, {found.shape}")
        if (np.isfinite(found) & (np.abs(found) > LARGEST)).any():
            raise ValueError(f"expected numbers {name!r} within {LARGEST:g}, or infinite")
