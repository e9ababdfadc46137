"""What `optcontrol list NAME` says of a task, optimizer, controller, knob, feature, reward, method or suite."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

from agents.policies.loading import pretrained, pretrained_names
from agents.registry import MAKERS
from agents.rules.schedules import SCHEDULES
from optenv import tasks
from optenv.benchmark.methods import BASELINES
from optenv.benchmark.suites import SUITES
from optenv.control.features import FEATURES
from optenv.control.knobs import KNOBS
from optenv.errors import unknown_name
from optenv.inner.optimizers import OPTIMIZERS
from optenv.rewards import REWARDS

PLAIN = (bool, int, float, str)
ROWS: dict[str, Mapping[str, Any]] = {
    "base optimizer": OPTIMIZERS,
    "knob": KNOBS,
    "feature": FEATURES,
    "reward": REWARDS,
    "schedule, as a controller": SCHEDULES,
    "suite": SUITES,
    "method of the benchmark": BASELINES,
}


def describe(name: str) -> str:
    """Return all that is known under a name: what it is, its numbers, and what its code says of it.

    Raises:
      ValueError: if nothing has that name.
    """
    found = [*_rows(name), *_tasks(name), *_controllers(name)]
    if not found:
        raise unknown_name("name", name, dict.fromkeys(all_names()))
    return "\n\n".join(found)


def all_names() -> Iterator[str]:
    """Yield every name that `describe` knows."""
    for rows in ROWS.values():
        yield from rows
    yield from (*tasks.names(), *MAKERS, *pretrained_names())


def _rows(name: str) -> Iterator[str]:
    for kind, rows in ROWS.items():
        if name in rows:
            yield _text(name, kind, _facts(rows[name]), _documented(rows[name]))


def _tasks(name: str) -> Iterator[str]:
    split = next((s for s in tasks.registry.SPLITS if name.partition(":")[0] in tasks.names(s)), None)
    if split:
        task = tasks.get(name)
        kind = "family of tasks" if isinstance(task, tasks.Family) else "task"
        example = task.member(0) if isinstance(task, tasks.Family) else task
        docs = [inspect.getdoc(inspect.getmodule(type(example))) or "", _doc(type(example)), *_documented(task)]
        yield _text(name, f"{kind}, split {split}", _facts(task), docs)


def _controllers(name: str) -> Iterator[str]:
    if name in pretrained_names():
        card = pretrained(name).with_suffix(".md").read_text()
        yield _text(name, f"controller, trained; file {pretrained(name)}", {}, [card.partition("\n")[2].strip()])
    elif name in MAKERS and name not in SCHEDULES:
        yield _text(name, "controller", {}, [_doc(MAKERS[name])])


def _text(name: str, kind: str, facts: Mapping[str, Any], docs: list[str]) -> str:
    lines = [f"{key}: {value}" for key, value in facts.items()]
    return "\n\n".join(part for part in (f"{name}: {kind}", "\n".join(lines), *dict.fromkeys(docs)) if part)


def _facts(row: Any) -> dict[str, Any]:
    """Return the plain values of a row of data, with the one line of why first."""
    names = [field.name for field in fields(row)] if is_dataclass(row) else ["batch_size", "num_members"]
    values = {name: getattr(row, name, None) for name in ("why", *names) if name != "name"}
    return {name: value for name, value in values.items() if _is_plain(value) and value not in ("", ())}


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(map(_is_plain, value.values()))
    return isinstance(value, PLAIN) or (isinstance(value, tuple) and all(map(_is_plain, value)))


def _documented(row: Any) -> list[str]:
    """Return what the functions that a row holds say of themselves, and those that its parts hold."""
    values = vars(row).values()
    parts = [part for value in values if is_dataclass(value) for part in vars(value).values()]
    return [_doc(value) for value in (*values, *parts) if callable(value)]


def _doc(thing: Callable[..., Any] | None) -> str:
    """Return the docstring of a function or a class of this project, but for the attributes of a class."""
    thing = thing.func if isinstance(thing, partial) else inspect.unwrap(thing) if thing else None
    ours = (getattr(thing, "__module__", None) or "").partition(".")[0] in ("optenv", "agents")
    own = inspect.getdoc(thing) if ours and (inspect.isfunction(thing) or inspect.isclass(thing)) else None
    return (own or "").partition("\n\nAttributes:")[0]
