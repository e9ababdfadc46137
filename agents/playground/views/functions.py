"""The page of functions: methods race on a test function."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from agents.playground.export import Exhibit
from agents.playground.fields import VIEWS, controller_names
from agents.playground.formula import NAME
from agents.playground.function_settings import (
    DOMAIN,
    FARTHEST,
    HEIGHTS,
    FunctionSettings,
    find_function,
    function_names,
)
from agents.playground.landscape import Say, curves, landscape
from agents.playground.measures import Standing, race_rows, standings, summary_rows
from agents.playground.optimizers import OPTIMIZERS, OptimizerRow, Option
from agents.playground.presets import PRESETS
from agents.playground.race import Race
from agents.playground.views import common
from agents.playground.views.common import Form, say
from optenv.figures.picture import COLOR_MAPS, Picture
from optenv.tasks.functions import TestFunction

PAGE = FunctionSettings.page
FORMULA_HELP = (
    "With + - * / ^ ( ) | |, the constants pi and e, and sin cos tan exp log sqrt abs tanh sinh cosh atan sign."
)


def show() -> None:
    """Draw the page."""
    form = Form(next(iter(PRESETS.values())).settings)
    st.header(say("Optimizers and controllers on test functions"))
    common.what_a_controller_is()
    with st.sidebar:
        pressed = st.button(say("Run"), type="primary", width="stretch", key=f"{PAGE}:go")
        _ask_preset()
        settings = _ask(form)
    if settings is None:
        return
    ran = st.session_state.get(f"{PAGE}:race")
    other = ran is None or ran[0].test_function() != settings.test_function()
    if st.session_state.pop(f"{PAGE}:run", False) or pressed or other:
        _run(settings)
    if f"{PAGE}:race" in st.session_state:
        _show(form, settings, *st.session_state[f"{PAGE}:race"])


def show_at_its_name() -> None:
    """Draw the same page under its own name, beside the root."""
    show()


def _run(settings: FunctionSettings) -> None:
    try:
        with st.spinner(say("Running")):
            st.session_state[f"{PAGE}:race"] = (settings, settings.run())
    except (ValueError, ImportError, RuntimeError, ArithmeticError) as error:
        st.session_state.pop(f"{PAGE}:race", None)
        st.error(common.sentence(error))


def _ask_preset() -> None:
    name = st.selectbox(
        say("Preset"),
        list(PRESETS),
        None,
        key="preset",
        on_change=_apply_preset,
        format_func=say,
        placeholder=say("choose"),
        help=say("Sets everything below, and runs."),
    )
    if name:
        st.caption(say(PRESETS[name].why))


def _apply_preset() -> None:
    if st.session_state["preset"]:
        common.restore(PRESETS[st.session_state["preset"]].settings)


def _ask(form: Form) -> FunctionSettings | None:
    """Show the widgets and return the settings they hold."""
    function = form.one("Function", function_names(), "function", format_func=_function_title)
    own = _ask_formula(form) if function == NAME else {}
    optimizers = form.several("Optimizers", list(OPTIMIZERS), "optimizers", format_func=_title)
    form.several(
        "Controllers on top of each",
        controller_names(),
        "controllers",
        help=say("Each optimizer runs alone, and under each of these."),
    )
    form.slide("Iterations", 10, 2000, "iterations")
    form.number("Tolerance: a loss this small counts as arrived", "tolerance", step=1e-4)
    try:
        start = _ask_start(form, find_function(function, own.get("formula", ""), own.get("domain", DOMAIN)))
    except ValueError as error:
        st.error(common.sentence(error))
        return None
    with st.expander(say("Noise and penalties")):
        form.number(
            "Gradient noise (standard deviation, loss / distance)",
            "noise",
            help=say("Added to every coordinate of the gradient: the same noise for all methods."),
        )
        form.number("L1 penalty: weight of |x| + |y|", "l1")
        form.number(
            "L2 penalty: weight of (x² + y²) / 2",
            "l2",
            help=say("With a penalty every method runs twice, with it and without."),
        )
    with st.expander(say("Look")):
        form.one("Colour map", COLOR_MAPS, "colors")
        form.one("Heights and colours", HEIGHTS, "heights", format_func=say)
    chosen = [OPTIMIZERS[name] for name in optimizers]
    if chosen:
        st.markdown(f"**{say('Options')}**")
    options = {row.name: _ask_options(form, row) for row in chosen}
    return form.settings(options={name: given for name, given in options.items() if given}, start=start, **own)


def _function_title(name: str) -> str:
    return say("your own formula") if name == NAME else name.replace("_", " ")


def _ask_formula(form: Form) -> dict[str, Any]:
    """Show the fields of the person's own function, and return its formula and domain."""
    formula = form.text(
        "Formula of x and y",
        "formula",
        help=say("With + - * / ^ ( ) | |, pi and e, sin cos tan exp log sqrt abs tanh sinh cosh atan sign."),
    )
    columns = st.columns(4)
    domain = []
    for column, label, value in zip(columns, ("x ≥", "x ≤", "y ≥", "y ≤"), form.initial.domain, strict=True):
        with column:
            domain.append(form.number(label, f"domain {label}", (-FARTHEST, FARTHEST), value, step=None))
    return {"formula": formula, "domain": tuple(domain)}


def _title(name: str) -> str:
    return OPTIMIZERS[name].title


def _ask_start(form: Form, function: TestFunction) -> tuple[float, float] | None:
    """Show the start's fields: those of another function begin a fifth in from a corner of its domain."""
    low_x, high_x, low_y, high_y = function.bounds
    same = function == form.initial.test_function()
    initial = form.initial.start if same else None
    x, y = initial or (low_x + 0.2 * (high_x - low_x), high_y - 0.2 * (high_y - low_y))
    random = form.check("Random start", "random", form.initial.start is None)
    left, right = st.columns(2)
    if not random:
        with left:
            x = form.number("Start x", f"x.{function.name}{function.bounds}", (low_x, high_x), x)
        with right:
            y = form.number("Start y", f"y.{function.name}{function.bounds}", (low_y, high_y), y)
    form.whole("Seed", "seed", help=say("Of the random start, the noise, and what Sophia draws."))
    return None if random else (x, y)


def _ask_options(form: Form, row: OptimizerRow) -> dict[str, Any]:
    """Show an optimizer's options and return those that differ from their defaults."""
    initial = form.initial.options.get(row.name, {})
    with st.expander(row.title):
        values = {o.name: _ask_option(form, row, o, initial.get(o.name, o.default)) for o in row.options}
    return {option.name: values[option.name] for option in row.options if values[option.name] != option.default}


def _ask_option(form: Form, row: OptimizerRow, option: Option, value: Any) -> Any:
    field, more = f"option.{row.name}.{option.name}", {"help": say(option.why)}
    if option.choices:
        return form.one(option.name, option.choices, field, value, **more)
    if isinstance(option.default, bool):
        return form.check(option.name, field, bool(value), **more)
    if isinstance(option.default, int):
        return form.whole(option.name, field, (option.low, option.high), value, **more)
    step = float(option.default) / 10 or 0.01
    return form.number(option.name, field, (option.low, option.high), value, step=step, help=more["help"])


def _show(form: Form, settings: FunctionSettings, ran: FunctionSettings, race: Race) -> None:
    """Show a race; the look of it follows the widgets at once, the rest when it is run again."""
    _describe(race)
    with st.container(horizontal=True):
        view = form.segment("View", VIEWS, "view")
        chosen = common.stand_out(race.labels, f"{PAGE}:chosen")
    look = {"view": view, "colors": settings.colors, "heights": settings.heights, "tolerance": settings.tolerance}
    if {**settings.to_dict(), **look} != {**ran.to_dict(), **look}:
        st.info(say("The settings have changed: press Run to see what they do."))
    shown = FunctionSettings(**{**vars(ran), **look})
    st.session_state[f"{PAGE}:kept"] = FunctionSettings(**{**vars(settings), **look})
    common.chart(_landscape(shown, race, chosen, say), f"{PAGE}:landscape")
    common.chart(curves(race, chosen=chosen, say=say), f"{PAGE}:curves")
    _table(race, shown.tolerance)
    common.exports(partial(_exhibit, shown, race, chosen), shown)


def _describe(race: Race) -> None:
    """Say what is minimised, and where."""
    function = race.function
    low_x, high_x, low_y, high_y = function.bounds
    minima = ", ".join(f"({x:.4g}, {y:.4g})" for x, y in function.minima)
    st.caption(
        f"**{_function_title(function.name)}** `{function.formula}` · x {low_x:g} … {high_x:g}, "
        f"y {low_y:g} … {high_y:g} · {say('minima')}: {minima}"
    )


def _landscape(settings: FunctionSettings, race: Race, chosen: Sequence[str], words: Say) -> Picture:
    log = settings.heights == "log"
    return landscape(race, view=settings.view, log=log, colors=settings.colors, chosen=chosen, say=words)


def _exhibit(settings: FunctionSettings, race: Race, chosen: Sequence[str], words: Say) -> Exhibit:
    pictures = {
        words("trajectories"): _landscape(settings, race, chosen, words),
        words("loss and gradient norm"): curves(race, chosen=chosen, say=words),
    }
    return Exhibit(settings, summary_rows(race, settings.tolerance), race_rows(race), pictures)


def _table(race: Race, tolerance: float) -> None:
    rows = sorted(standings(race, tolerance), key=lambda row: (row.diverged_at is not None, row.final_loss))
    winner = next((row.label for row in rows if row.winner), None)
    if winner is None:
        st.warning(say("Every method diverged: try lower learning rates."))
    else:
        st.success(f"{say('Lowest final loss')}: **{winner}**")
    common.table([_line(row, tolerance) for row in rows])


def _line(row: Standing, tolerance: float) -> dict[str, Any]:
    lost = row.diverged_at is not None
    return {
        say("method"): ("★ " if row.winner else "") + row.label,
        say("final loss"): "–" if lost else f"{row.final_loss:.4g}",
        say("iterations until loss ≤ {tolerance}").format(tolerance=f"{tolerance:g}"): "–"
        if row.steps_to_tolerance is None
        else str(row.steps_to_tolerance),
        say("distance to the nearest minimum"): "–" if lost else f"{row.distance:.4g}",
        say("what happened"): _fate(row),
    }


def _fate(row: Standing) -> str:
    if row.diverged_at is not None:
        return say("diverged at iteration {at}").format(at=row.diverged_at)
    if row.left_at is None:
        return say("stayed in view")
    template = "left the view at iteration {at} and came back" if row.returned else "left the view at iteration {at}"
    return say(template).format(at=row.left_at)
