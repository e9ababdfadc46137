"""The page of training: controllers steer runs of one task, paired and live, beside runs of other settings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from agents.playground.export import Exhibit
from agents.playground.jobs import Job
from agents.playground.run_settings import TrainingSettings
from agents.playground.steering import train
from agents.playground.trainings import (
    Trial,
    by_controller,
    knob_picture,
    label_of,
    labels,
    loss_picture,
    run_rows,
    run_summary,
    share_done,
)
from agents.playground.views import common, running
from agents.playground.views.common import Form, Say, say

PAGE = TrainingSettings.page
KEPT = f"{PAGE}:kept runs"
MOST_KEPT = 6


def show() -> None:
    """Draw the page."""
    form = Form(TrainingSettings())
    st.header(say("Controllers on training runs"))
    common.what_a_controller_is()
    with st.sidebar:
        pressed = running.buttons(PAGE)
        task = running.ask_run(form)
        form.number("Base learning rate", "lr", step=1e-4)
        running.ask_rest(form)
        settings = form.settings(task=task)
    running.follow(settings, PAGE, pressed, train, share_done, partial(_draw, form))


def _draw(form: Form, job: Job, events: list[Any]) -> None:
    trials = [*st.session_state.get(KEPT, ()), Trial(job.settings, events)]
    chosen = common.stand_out(list(labels(trials).values()), f"{PAGE}:chosen")
    common.chart(loss_picture(trials, say, chosen), f"{PAGE}:loss")
    _table(run_summary(trials))
    if not job.active:
        _ask_to_keep(trials[-1])
    own = by_controller(events)
    shown = form.segment("Knobs of", list(job.settings.controllers), "shown")
    if shown in own:
        _knobs(knob_picture(own[shown], say), label_of(job.settings.optimizer, shown))
    if not job.active and shown in own:
        settings = TrainingSettings(**{**vars(job.settings), "shown": shown})
        common.exports(partial(_exhibit, settings, trials, shown, chosen), settings)


def _knobs(picture: Any, label: str) -> None:
    if picture is None:
        st.caption(say("It turns no knob: this is the base optimizer as it is."))
        return
    st.caption(say("What {method} sets its knobs to, a line for each parameter group.").format(method=label))
    common.chart(picture, f"{PAGE}:knobs")


def _ask_to_keep(trial: Trial) -> None:
    """Offer to keep the runs, so that runs of other settings are drawn beside them."""
    kept: list[Trial] = st.session_state.setdefault(KEPT, [])
    left, right = st.columns(2)
    keep = left.button(
        say("Keep these runs to compare"),
        key=f"{PAGE}:keep",
        width="stretch",
        disabled=len(kept) >= MOST_KEPT or any(other.events is trial.events for other in kept),
        help=say("They stay in the figure and the table when other settings are run."),
    )
    if keep:
        kept.append(Trial(trial.settings, tuple(trial.events), kept=True))
        st.rerun()
    if kept and right.button(say("Forget the kept runs"), key=f"{PAGE}:forget", width="stretch"):
        kept.clear()
        st.rerun()


def _table(rows: Sequence[dict[str, Any]]) -> None:
    common.table(
        [
            {
                say("run"): row["run"],
                say("inner step"): str(row["step"]),
                say("validation loss"): f"{row['loss']:.4g}" if row["loss"] < float("inf") else say("diverged"),
            }
            for row in rows
        ]
    )


def _exhibit(
    settings: TrainingSettings, trials: Sequence[Trial], shown: str, chosen: Sequence[str], words: Say
) -> Exhibit:
    pictures = {words("loss"): loss_picture(trials, words, chosen)}
    knobs = knob_picture(by_controller(trials[-1].events)[shown], words)
    if knobs is not None:
        pictures[shown] = knobs
    return Exhibit(settings, run_summary(trials), run_rows(trials), pictures)
