"""What the settings of all pages are built from: fields with ranges or known names, checked in one place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from agents.playground.validation import number, one_of, several_of, whole
from agents.registry import MAKERS, names

VIEWS = ("contour", "surface")


def controller_names() -> list[str]:
    """List the registered controllers that steer as they are, not only once fitted to their run in hindsight."""
    return [name for name in names() if not hasattr(MAKERS.get(name), "fit")]


def ranged(default: float, low: float, high: float) -> Any:
    """Make a field that holds a number from `low` to `high`, a whole one if the default is."""
    return field(default=default, metadata={"range": (low, high)})


def named(default: str | tuple[str, ...], kind: str, known: Callable[[], Iterable[str]]) -> Any:
    """Make a field that holds one of the known names of a kind, or several if the default does."""
    return field(default=default, metadata={"kind": kind, "known": known})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the settings of all pages have in common.

    Attributes:
      page: name of the page they belong to.
      seed: of everything random.
    """

    page: ClassVar[str] = ""
    seed: int = ranged(0, 0, 2**31)

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
          ValueError: with a sentence for the page, if one is out of range or unknown.
        """
        for own in fields(self):
            value = getattr(self, own.name)
            if "range" in own.metadata:
                check: Callable[..., float] = whole if isinstance(own.default, int) else number
                check(own.name, value, *own.metadata["range"])
            elif "known" in own.metadata:
                find: Callable[..., Any] = one_of if isinstance(own.default, str) else several_of
                object.__setattr__(self, own.name, find(own.metadata["kind"], value, own.metadata["known"]()))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings in JSON's types, the page with them."""
        return {"page": self.page, **json.loads(json.dumps(asdict(self)))}
