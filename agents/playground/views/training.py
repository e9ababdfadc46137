"""The page of training: controllers steer runs of one task, paired and live."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from agents.playground.export import Exhibit
from agents.playground.jobs import Job
from agents.playground.settings import TrainingSettings
from agents.playground.steering import train
from agents.playground.trainings import by_controller, knob_picture, loss_picture, run_rows, run_summary
from agents.playground.views import common, running
from agents.playground.views.common import Form, say

PAGE = TrainingSettings.page


def show() -> None:
    """Draw the page."""
    form = Form(TrainingSettings())
    st.header(say("Controllers on training runs"))
    st.caption(say("Every controller steers a run of its own: the same weights, data and minibatches for all."))
    with st.sidebar:
        pressed = running.buttons(PAGE)
        task = running.ask_run(form)
        form.number("Base learning rate", "lr", step=1e-4)
        running.ask_rest(form)
        settings = form.settings(task=task)
    running.follow(PAGE, settings, pressed, train, partial(_draw, form))


def _draw(form: Form, job: Job, events: list[Any]) -> None:
    common.chart(loss_picture(events, say), f"{PAGE}:loss")
    own = by_controller(events)
    shown = form.segment("Knobs of", list(job.settings.controllers), "shown")
    if shown in own:
        common.chart(knob_picture(own[shown], say), f"{PAGE}:knobs")
    rows = run_summary(events)
    st.dataframe(
        [
            {
                say("controller"): row["controller"],
                say("inner step"): row["step"],
                say("validation loss"): f"{row['loss']:.5g}" if row["loss"] < float("inf") else say("diverged"),
            }
            for row in rows
        ],
        hide_index=True,
        key=f"{PAGE}:table",
    )
    if not job.active and shown in own:
        settings = TrainingSettings(**{**vars(job.settings), "shown": shown})
        common.exports(partial(_exhibit, settings, events), settings)


def _exhibit(settings: TrainingSettings, events: list[Any]) -> Exhibit:
    pictures = {"loss": loss_picture(events), settings.shown: knob_picture(by_controller(events)[settings.shown])}
    return Exhibit(settings, run_summary(events), run_rows(events), pictures)
