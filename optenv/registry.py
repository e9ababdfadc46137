"""A registry: rows of data by name, and one error for a name that it does not hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from optenv.errors import unknown_name


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """As it is registered."""


Row = TypeVar("Row")


class Registry(dict[str, Row]):
    """Rows by name, in the order in which they were registered.

    `registry[name] = row` registers one more, or another in its place; `in` and `get` are those of a dict.

    Attributes:
      kind: what a row is, as errors call it, such as "knob".
    """

    def __init__(self, kind: str, rows: Iterable[tuple[str, Row]] = ()):
        """Register `rows`, pairs of a name and a row."""
        self.kind = kind
        super().__init__(rows)

    def __getitem__(self, name: str) -> Row:
        """Return the row of a name."""
        try:
            return super().__getitem__(name)
        except TypeError:  # no name at all, such as a list
            return self.__missing__(name)

    def __missing__(self, name: object) -> Row:
        """Refuse an unknown name.

        Raises:
          ValueError: always; it names the kind, all valid names and the nearest.

        >>> Registry("knob", [("scale", 1)])["scal"]
        Traceback (most recent call last):
          ...
        ValueError: unknown knob 'scal'; expected one of scale. Did you mean 'scale'?
        """
        raise unknown_name(self.kind, name, self)


NamedRow = TypeVar("NamedRow", bound=Named)


def by_name(kind: str, rows: Iterable[NamedRow]) -> Registry[NamedRow]:
    """Register rows under the names that they have."""
    return Registry(kind, ((row.name, row) for row in rows))
