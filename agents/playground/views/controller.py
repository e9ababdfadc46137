"""The page that trains a controller: PPO on one task, live, with what it does to its knobs."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from agents.playground.export import Exhibit
from agents.playground.jobs import Job
from agents.playground.learner import Lesson, Reference, file_of, learn
from agents.playground.lessons import lesson_picture, lesson_rows, lesson_share, lesson_summary
from agents.playground.run_settings import LEARNED_KNOBS, LearnSettings
from agents.playground.trainings import knob_picture, label_of
from agents.playground.views import common, running
from agents.playground.views.common import Form, Say, say
from optenv.inner.optimizers import OPTIMIZERS as BATCHED

PAGE = LearnSettings.page


def show() -> None:
    """Draw the page."""
    form = Form(LearnSettings())
    st.header(say("Train a controller"))
    common.what_a_controller_is()
    st.caption(
        say(
            "Here one learns by trial and error (PPO, a method of reinforcement learning). In every rollout it steers "
            "forty runs or so of the task, and is paid for how far the loss falls; then eight runs that it never "
            "learns from judge it."
        )
    )
    with st.sidebar:
        pressed = running.buttons(PAGE)
        task = running.ask_task(form)
        form.one("Base optimizer", list(BATCHED), "optimizer")
        form.several("Knobs", LEARNED_KNOBS, "knobs")
        form.slide("Rollouts", 5, 100, "rollouts", step=5)
        form.slide("Inner steps", 20, 1000, "steps", step=20)
        form.number("Base learning rate", "lr", step=1e-4)
        form.whole("Seed", "seed")
        settings = form.settings(task=task)
    running.follow(settings, PAGE, pressed, learn, lesson_share, _draw, refresh=2.0)


def _draw(job: Job, events: list[Any]) -> None:
    lessons = [event for event in events if isinstance(event, Lesson)]
    references = [event for event in events if isinstance(event, Reference)]
    if not lessons:
        st.info(say("The first points appear when the untrained policy has been judged."))
        return
    settings: LearnSettings = job.settings
    common.chart(lesson_picture(settings, lessons, references, say), f"{PAGE}:curve")
    st.caption(say("What the controller sets its knobs to in one run, after its last rollout; a line for each group."))
    knobs = knob_picture(lessons[-1].run, say)
    if knobs is not None:
        common.chart(knobs, f"{PAGE}:knobs")
    common.table(
        [
            {
                say("method"): label_of(settings.optimizer, row["controller"]),
                say("rollouts"): "–" if row["rollouts"] is None else str(row["rollouts"]),
                say("final validation loss"): f"{row['loss']:.4g}" if row["loss"] < float("inf") else say("diverged"),
                say("return (nats)"): f"{row['reward']:.3f}",
            }
            for row in lesson_summary(lessons, references)
        ]
    )
    if not job.active:
        st.download_button(
            say("Download the controller"),
            partial(file_of, lessons[-1].policy),
            "controller.safetensors",
            key=f"{PAGE}:file",
            on_click="ignore",
            help=say("A file that agents.load reads, to steer runs of your own."),
        )
        common.exports(partial(_exhibit, settings, lessons, references), settings)


def _exhibit(settings: LearnSettings, lessons: list[Lesson], references: list[Reference], words: Say) -> Exhibit:
    pictures = {words("Train a controller"): lesson_picture(settings, lessons, references, words)}
    knobs = knob_picture(lessons[-1].run, words)
    if knobs is not None:
        pictures[words("Knobs")] = knobs
    return Exhibit(settings, lesson_summary(lessons, references), lesson_rows(lessons), pictures)
