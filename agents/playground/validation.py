"""Validation of settings, with errors that a page can show in either language."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from optenv.errors import unknown_name

LONGEST = 200  # characters of a value


class InvalidSetting(ValueError):
    """A sentence whose values are filled in after it has been translated.

    >>> print(InvalidSetting("{name}: expected at most {high}; received {value}", name="noise", high=5, value=7))
    noise: expected at most 5; received 7
    """

    def __init__(self, template: str, **values: Any):
        """Take the sentence, with names in braces, and their values."""
        self.template = template
        self.values = {name: _short(value) for name, value in values.items()}
        super().__init__(template.format(**self.values))


def _short(value: Any) -> Any:
    """Return a value that a sentence has room for: a long one becomes the beginning of its text."""
    return value if isinstance(value, float) or len(repr(value)) <= LONGEST else repr(value)[:LONGEST] + " ..."


def number(name: str, value: Any, low: float, high: float) -> float:
    """Return `value`.

    Raises:
      InvalidSetting: if it is no finite number between `low` and `high`.
    """
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not low <= value <= high:
        template = "{name}: expected a number from {low:g} to {high:g}; received {value!r}"
        raise InvalidSetting(template, name=name, low=low, high=high, value=value)
    return value


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return `value`.

    Raises:
      InvalidSetting: if it is no whole number between `low` and `high`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        template = "{name}: expected a whole number from {low} to {high}; received {value!r}"
        raise InvalidSetting(template, name=name, low=low, high=high, value=value)
    return value


def one_of(kind: str, name: Any, known: Iterable[str]) -> str:
    """Return `name`.

    Raises:
      ValueError: if it is not among the known ones.
    """
    if not isinstance(name, str) or name not in (names := list(known)):
        raise unknown_name(kind, name, known)
    return str(names[names.index(name)])


def several_of(kind: str, chosen: Sequence[Any], known: Iterable[str]) -> tuple[str, ...]:
    """Return the chosen names, each once.

    Raises:
      InvalidSetting: if they are too many.
      ValueError: if one is unknown.
    """
    names = list(known)
    if isinstance(chosen, str) or not isinstance(chosen, Sequence) or len(chosen) > len(names):
        template = "{kind}: expected at most {most} names; received {value!r}"
        raise InvalidSetting(template, kind=kind, most=len(names), value=chosen)
    return tuple(dict.fromkeys(one_of(kind, name, names) for name in chosen))
