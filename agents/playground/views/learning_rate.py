"""The page of learning rates: where methods end, by the base rate they were given."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from agents.playground.export import Exhibit
from agents.playground.jobs import Job
from agents.playground.run_settings import SweepSettings
from agents.playground.steering import sweep
from agents.playground.trainings import label_of, share_done, sweep_picture, sweep_rows, sweep_summary
from agents.playground.views import common, running
from agents.playground.views.common import Form, Say, say

PAGE = SweepSettings.page


def show() -> None:
    """Draw the page."""
    form = Form(SweepSettings())
    st.header(say("Final loss by base learning rate"))
    common.what_a_controller_is()
    st.caption(say("What a controller is for: a flat line, whatever rate was asked for."))
    with st.sidebar:
        pressed = running.buttons(PAGE)
        task = running.ask_run(form)
        form.number("Least learning rate", "low", step=1e-5)
        form.number("Greatest learning rate", "high", step=1e-2)
        form.whole("Number of rates", "count")
        form.whole("Runs at each rate", "num_seeds")
        running.ask_rest(form)
        settings = form.settings(task=task)
    running.follow(settings, PAGE, pressed, sweep, share_done, _draw)


def _draw(job: Job, events: list[Any]) -> None:
    settings: SweepSettings = job.settings
    picture = sweep_picture(events, settings, say)
    if picture is None:
        st.info(say("The first curve appears when the first method is through."))
        return
    common.chart(picture, f"{PAGE}:rates")
    common.table(
        [
            {
                say("method"): label_of(settings.optimizer, row["controller"]),
                say("best loss"): f"{row['best']:.4g}",
                say("at learning rate"): f"{row['best_lr']:.2g}",
                say("worst loss"): f"{row['worst']:.4g}" if row["worst"] < float("inf") else say("diverged"),
                say("worst over best"): f"{row['worst_over_best']:.3g}" if row["worst"] < float("inf") else "–",
            }
            for row in sweep_summary(events, settings)
        ]
    )
    if not job.active:
        common.exports(partial(_exhibit, settings, events), settings)


def _exhibit(settings: SweepSettings, events: list[Any], words: Say) -> Exhibit:
    picture = sweep_picture(events, settings, words)
    pictures = {} if picture is None else {words("Final loss by base learning rate"): picture}
    return Exhibit(settings, sweep_summary(events, settings), sweep_rows(events, settings), pictures)
