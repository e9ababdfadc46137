"""The names of all tasks and families, and how a name becomes an object."""

from __future__ import annotations

from collections.abc import Callable

from optenv.errors import unknown_name
from optenv.registry import Registry
from optenv.tasks.task import Family, Task

SPLITS = ("train", "held_out")

_entries: Registry[tuple[Task | Family, str]] = Registry("task")
_schemes: dict[str, Callable[[str], Task]] = {}


def register(entry: Task | Family, *, split: str) -> Task | Family:
    """Make `entry` known under its name.

    Args:
      entry: the task or family; it should load its data no earlier than its first draw.
      split: "train" if controllers may be trained on it, "held_out" if they are only judged by it.

    Returns:
      The entry itself.

    Raises:
      ValueError: if the split is unknown, the name is taken, or it contains a colon.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if entry.name in _entries or ":" in entry.name:
        raise ValueError(f"task name {entry.name!r}: expected a new name without a colon")
    _entries[entry.name] = (entry, split)
    return entry


def register_scheme(prefix: str, build: Callable[[str], Task]) -> None:
    """Let `get("prefix:rest")` return `build(rest)`."""
    _schemes[prefix] = build


def names(split: str | None = None) -> list[str]:
    """List the registered names, in order of registration.

    Args:
      split: "train", "held_out", or None for both.

    Raises:
      ValueError: if the split is unknown.
    """
    if split is not None and split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    return [name for name, (_, of) in _entries.items() if split in (None, of)]


def get(name: str | Task | Family) -> Task | Family:
    """Look up a task or family.

    Args:
      name: a registered name ("digits_mlp"), a member of a family ("synthetic_regression:3"), a
        folder of IDX files ("idx:FOLDER"), or a `Task` or `Family`, which is returned as it is.

    Raises:
      ValueError: if nothing has that name, or the family has no such member.
      TypeError: if `name` is none of these.
    """
    if isinstance(name, (Task, Family)):
        return name
    if not isinstance(name, str):
        raise TypeError(f"task: expected a name, a Task or a Family, received {type(name).__name__}")
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _schemes:
        return _schemes[prefix](rest)
    entry, _ = _entries[prefix]
    return _member(entry, rest) if colon else entry


def _member(entry: Task | Family, index: str) -> Task:
    if not isinstance(entry, Family):
        raise ValueError(f"task {entry.name!r} is a single task: expected no member number, received {index!r}")
    if not index.isdecimal():
        raise ValueError(
            f"member of family {entry.name!r}: expected a number from 0 to {entry.num_members - 1}, received {index!r}"
        )
    return entry.member(int(index))
