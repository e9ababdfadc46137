"""What mkdocs writes into pages when it builds them: tables of the registries, and the command line's help.

A line `<!-- rows: knobs -->` becomes the table of that registry, `<!-- help: train -->` what `optcontrol train --help`
prints.
"""

import argparse
import re
from collections.abc import Callable, Iterable
from typing import Any

import agents
from agents import benchmark, card, cli, compare, plot
from agents.playground import launch
from agents.policies.loading import pretrained_names
from agents.rules.schedules import SCHEDULES
from optenv import tasks
from optenv.benchmark.methods import BASELINES
from optenv.benchmark.scores import SCORES
from optenv.benchmark.suites import SUITES
from optenv.control.controller import Controller
from optenv.control.features import FEATURES
from optenv.control.knobs import KNOBS
from optenv.inner.optimizers import OPTIMIZERS
from optenv.rewards import REWARDS

MARK = re.compile(r"^<!-- (rows|help): (\w+) -->$", re.MULTILINE)
COMMANDS: dict[str, Callable[[argparse.ArgumentParser], Any]] = {
    "train": cli.add_train,
    "compare": compare.add_options,
    "benchmark": benchmark.add_options,
    "plot": plot.add_options,
    "card": card.add_options,
    "playground": launch.add_options,
}


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table in Markdown."""
    titles = list(header)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _knobs() -> str:
    rows = (
        (f"`{k.name}`", k.why, f"{k.low:g} to {k.high:g}", f"{k.neutral:g}", _code(k.moves)) for k in KNOBS.values()
    )
    return table(("knob", "what it does", "range, absolute control", "neutral", "moves"), rows)


def _features() -> str:
    of = {False: "the run", True: "each group"}
    rows = ((f"`{f.name}`", f.why, of[f.per_group], f"{f.low:g} to {f.high:g}") for f in FEATURES.values())
    return table(("feature", "what it tells", "of", "range"), rows)


def _tasks() -> str:
    rows = []
    for split in ("train", "held_out"):
        for name in tasks.names(split):
            entry = tasks.get(name)
            kind = f"{entry.num_members} members" if isinstance(entry, tasks.Family) else "one task"
            rows.append((f"`{name}`", f"`{split}`", kind, _first_line(type(entry))))
    return table(("task", "split", "holds", "what it is"), rows)


def _controllers() -> str:
    rows = []
    for name in agents.names():
        controller: Controller = agents.load(name)
        why = SCHEDULES[name].why if name in SCHEDULES else _first_line(type(controller))
        rows.append((f"`{name}`", why, _code(controller.interface.knobs), "yes" if name in pretrained_names() else ""))
    return table(("controller", "what it does", "knobs", "trained"), rows)


def _first_line(thing: object) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0]


def _whys(kind: str, registry: dict[str, Any]) -> str:
    return table((kind, "why"), ((f"`{name}`", row.why) for name, row in registry.items()))


ROWS: dict[str, Callable[[], str]] = {
    "tasks": _tasks,
    "knobs": _knobs,
    "features": _features,
    "controllers": _controllers,
    "rewards": lambda: _whys("reward", REWARDS),
    "suites": lambda: _whys("suite", SUITES),
    "scores": lambda: _whys("score", SCORES),
    "methods": lambda: _whys("method", BASELINES),
    "optimizers": lambda: table(
        ("base optimizer", "hyperparameters"),
        ((f"`{name}`", _code(row.hyperparameters)) for name, row in OPTIMIZERS.items()),
    ),
}


def command_help(name: str) -> str:
    """Return what a command's `--help` prints, as a block of text."""
    parser = argparse.ArgumentParser(
        f"optcontrol {name}", formatter_class=lambda prog: argparse.HelpFormatter(prog, width=100)
    )
    COMMANDS[name](parser)
    return f"```text\n{parser.format_help()}```"


def fill(markdown: str) -> str:
    """Put in place of every mark what it stands for."""
    return MARK.sub(lambda mark: ROWS[mark[2]]() if mark[1] == "rows" else command_help(mark[2]), markdown)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the marks of a page; mkdocs calls this for each."""
    return fill(markdown)
