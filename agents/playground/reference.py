"""The reference: every optimizer, controller, knob, feature, reward and function, drawn from its row and docstring."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.playground.optimizers import OPTIMIZERS, Option
from agents.policies.loading import PRETRAINED, pretrained_names
from agents.registry import MAKERS, load, names
from agents.rules.schedules import SCHEDULES
from optenv.control.features import FEATURES
from optenv.control.knobs import KNOBS, Knob
from optenv.rewards import REWARDS
from optenv.tasks.functions import FUNCTIONS

_YEAR = re.compile(r"[A-Z][\w.-]+(?:(?:,| and| et al\.?)? ?[A-Z]?[\w.-]*){0,4} \(?(?:19|20)\d\d\b")


@dataclass(frozen=True)
class Entry:
    """One thing that has a name.

    Attributes:
      name: as in settings and in code.
      what: what it is, in one line.
      formula: how it is computed, as a formula or as the code that computes it.
      when: when to use it.
      source: the paper, or the place in the code.
      details: more lines, as Markdown.
    """

    name: str
    what: str
    formula: str
    when: str
    source: str
    details: str = ""


def optimizers() -> list[Entry]:
    """List the optimizers."""
    return [
        Entry(row.name, row.why, row.formula, row.when, f"{row.source}; `{row.place}`", _option_table(row.options))
        for row in OPTIMIZERS.values()
    ]


def controllers() -> list[Entry]:
    """List the controllers: those made anew, and those that come trained."""
    return [_controller(name) for name in names()]


def knobs() -> list[Entry]:
    """List the knobs."""
    return [
        Entry(knob.name, knob.why, _knob_formula(knob), _knob_use(knob), _place(KNOBS, "optenv.control.knobs"))
        for knob in KNOBS.values()
    ]


def features() -> list[Entry]:
    """List the features."""
    return [
        Entry(
            row.name,
            row.why,
            _code(row.function),
            f"observed of {'every group' if row.per_group else 'the run'}, from {row.low:g} to {row.high:g}",
            _place(row.function),
        )
        for row in FEATURES.values()
    ]


def rewards() -> list[Entry]:
    """List the rewards."""
    return [
        Entry(
            row.name,
            row.why,
            _code(row.function),
            _doc(row.function)[1] or _doc(row.function)[0],
            _place(row.function),
            "needs an uncontrolled twin" if row.needs_twin else "",
        )
        for row in REWARDS.values()
    ]


def functions() -> list[Entry]:
    """List the test functions."""
    entries = []
    for row in FUNCTIONS:
        low_x, high_x, low_y, high_y = row.bounds
        minima = ", ".join(f"({x:.6g}, {y:.6g})" for x, y in row.minima)
        details = f"x from {low_x:g} to {high_x:g}, y from {low_y:g} to {high_y:g}; minima, of value 0: {minima}"
        entries.append(Entry(row.name, "a function of two variables", row.formula, row.why, row.source, details))
    return entries


SECTIONS: dict[str, Callable[[], list[Entry]]] = {
    "Optimizers": optimizers,
    "Controllers": controllers,
    "Knobs": knobs,
    "Features": features,
    "Rewards": rewards,
    "Functions": functions,
}
"""What lists the entries of each section."""


def _controller(name: str) -> Entry:
    controller = load(name)
    first, rest = _doc(type(controller))
    interface = controller.interface
    use = f"turns {', '.join(interface.knobs)} ({interface.control}), {interface.decisions} decisions a run"
    if interface.first_update_norm is not None:
        use += f"; sets the norm of the first update to {interface.first_update_norm:g}, whatever the base rate"
    if interface.first_update is not None:
        use += f"; sets the first update to {interface.first_update:g} of the weights' size, whatever the base rate"
    formula, what, source = "", first, ""
    if name in SCHEDULES:
        what, _, formula = SCHEDULES[name].why.partition(": ")
    if name in pretrained_names():
        card = (PRETRAINED / f"{name}.md").read_text() if (PRETRAINED / f"{name}.md").exists() else ""
        what, rest = _card(card) or first, card.partition("\n")[2].strip() or rest
        source = f"agents/pretrained/{name}.safetensors"
    paper = _YEAR.search(
        f"{SCHEDULES[name].why if name in SCHEDULES else ''} {inspect.getdoc(MAKERS.get(name)) or ''} "
        f"{inspect.getdoc(type(controller)) or ''} {_module_doc(type(controller))}"
    )
    source = "; ".join(filter(None, (paper and paper.group().replace("(", ""), source or _place(type(controller)))))
    return Entry(name, what, formula or _code(type(controller).act), use, source, rest)


def _card(text: str) -> str:
    """Return a card's first paragraph."""
    paragraphs = [block.strip() for block in text.split("\n\n") if block.strip() and not block.startswith("#")]
    return paragraphs[0].replace("\n", " ") if paragraphs else ""


def _doc(thing: Any) -> tuple[str, str]:
    """Return the first line of a docstring, and the rest."""
    first, _, rest = (inspect.getdoc(thing) or "").partition("\n\n")
    return first.replace("\n", " "), rest.strip()


def _module_doc(thing: Any) -> str:
    return inspect.getdoc(inspect.getmodule(thing)) or ""


def _code(function: Callable[..., Any]) -> str:
    """Return a function's code without its docstring."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return ""
    return re.sub(r'^\s*r?"""(?:.|\n)*?"""\n', "", source, count=1, flags=re.MULTILINE)


def _place(thing: Any, module: str = "") -> str:
    name = module or getattr(thing, "__module__", "")
    return f"`{name.replace('.', '/')}.py`" if name else ""


def _option_table(options: tuple[Option, ...]) -> str:
    lines = ["| option | default | range | effect |", "| --- | --- | --- | --- |"]
    for o in options:
        span = ", ".join(o.choices) or ("yes or no" if isinstance(o.default, bool) else f"{o.low:g} to {o.high:g}")
        lines.append(f"| {o.name} | {o.default} | {span} | {o.why} |")
    return "\n".join(lines)


def _knob_formula(knob: Knob) -> str:
    """Return the knob's values at five actions, as it computes them."""
    actions = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    values = ", ".join(f"{value:.3g}" for value in np.broadcast_to(knob.absolute(actions), 5))
    low, high = knob.limits
    moves = f"relative: an action moves the position by {knob.step:g} at most, within {low:.3g} to {high:.3g}"
    return f"absolute: actions -1, -0.5, 0, 0.5, 1 give {values}\n{moves}"


def _knob_use(knob: Knob) -> str:
    return f"from {knob.low:g} to {knob.high:g}; neutral is {knob.neutral:g}"
