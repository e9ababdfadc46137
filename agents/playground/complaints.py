"""What the playground says about a setting that cannot be: a sentence that a page can show, in either language."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from optenv.errors import unknown_name


class Complaint(ValueError):
    """A sentence with places for values, so that it can be translated before they are filled in.

    >>> print(Complaint("{name}: expected at most {high}; received {value}", name="noise", high=5, value=7))
    noise: expected at most 5; received 7
    """

    def __init__(self, template: str, **values: Any):
        """Keep the template and what belongs into it."""
        self.template, self.values = template, values
        super().__init__(template.format(**values))


def number(name: str, value: Any, low: float, high: float) -> float:
    """Return `value`.

    Raises:
      Complaint: if it is no finite number between `low` and `high`.
    """
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not low <= value <= high:
        raise Complaint(
            "{name}: expected a number from {low:g} to {high:g}; received {value!r}",
            name=name, low=low, high=high, value=value,
        )  # fmt: skip
    return value


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return `value`.

    Raises:
      Complaint: if it is no whole number between `low` and `high`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Complaint(
            "{name}: expected a whole number from {low} to {high}; received {value!r}",
            name=name, low=low, high=high, value=value,
        )  # fmt: skip
    return value


def one_of(kind: str, name: Any, known: Iterable[str]) -> str:
    """Return `name`.

    Raises:
      ValueError: if it is not among the known ones.
    """
    if not isinstance(name, str) or name not in (names := list(known)):
        raise unknown_name(kind, name, known)
    return str(names[names.index(name)])


def several_of(kind: str, chosen: Sequence[Any], known: Iterable[str], most: int) -> tuple[str, ...]:
    """Return the chosen names, each once.

    Raises:
      Complaint: if they are too many.
      ValueError: if one is unknown.
    """
    if isinstance(chosen, str) or not isinstance(chosen, Sequence) or len(chosen) > most:
        raise Complaint("{kind}: expected at most {most} names; received {value!r}", kind=kind, most=most, value=chosen)
    names = list(known)
    return tuple(dict.fromkeys(one_of(kind, name, names) for name in chosen))
