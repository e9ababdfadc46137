"""Units of work: what a driver runs and a store keeps. This module, driver and store load nothing heavy."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol


class Work(Protocol):
    """What a driver runs and a store keeps.

    Attributes:
      key: names its identity; two with one key have one result.
      identity: what the result depends on, as JSON values.
      work: an estimate of what it costs, in any unit that all share.
      task: what it is about, to be read by people.
      name: of the method, likewise.
    """

    @property
    def key(self) -> str: ...  # noqa: D102

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


def key_of(identity: dict[str, Any]) -> str:
    """Return a name for an identity, 24 hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
