"""The page of planes: a real net's loss around the paths that its weights took."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from agents.playground.export import Exhibit
from agents.playground.fields import VIEWS
from agents.playground.jobs import Job
from agents.playground.landscape import paths_over
from agents.playground.plane import Plane, explore, plane_rows
from agents.playground.run_settings import PlaneSettings
from agents.playground.steering import Progress
from agents.playground.trainings import Trial, loss_picture, run_summary, share_done
from agents.playground.views import common, running
from agents.playground.views.common import Form, Say, say
from optenv.figures.picture import COLOR_MAPS, Axis, Picture, all_positive
from optenv.inner.optimizers import OPTIMIZERS as BATCHED

PAGE = PlaneSettings.page


def show() -> None:
    """Draw the page."""
    form = Form(PlaneSettings())
    st.header(say("A real network's loss around the paths of its weights"))
    common.what_a_controller_is()
    with st.sidebar:
        pressed = running.buttons(PAGE)
        task = running.ask_run(form, list(BATCHED))
        form.number("Base learning rate", "lr", step=1e-4)
        running.ask_rest(form)
        form.one("Colour map", COLOR_MAPS, "colors")
        settings = form.settings(task=task)
    running.follow(settings, PAGE, pressed, explore, share_done, partial(_draw, form))


def _draw(form: Form, job: Job, events: list[Any]) -> None:
    runs = [event for event in events if isinstance(event, Progress)]
    plane = next((event for event in events if isinstance(event, Plane)), None)
    if plane is None:
        common.chart(loss_picture([Trial(job.settings, runs)], say), f"{PAGE}:loss")
        return
    st.caption(
        say(
            "The plane through the paths, from the principal components of all weights on the way; it holds {share} % "
            "of their spread. Each path is projected onto it, so its loss can differ from the one drawn below it."
        ).format(share=f"{100 * plane.share:.0f}")
    )
    race = plane.race(job.settings.optimizer)
    with st.container(horizontal=True):
        view = form.segment("View", VIEWS, "view")
        chosen = common.stand_out(race.labels, f"{PAGE}:chosen")
    colors = form.values.get("colors", job.settings.colors)
    settings = PlaneSettings(**{**vars(job.settings), "view": view, "colors": colors})
    common.chart(_picture(plane, settings, chosen, say), f"{PAGE}:plane")
    common.chart(loss_picture([Trial(settings, runs)], say, chosen), f"{PAGE}:loss")
    if not job.active:
        common.exports(partial(_exhibit, settings, plane, runs, chosen), settings)


def _picture(plane: Plane, settings: PlaneSettings, chosen: Sequence[str], words: Say) -> Picture:
    axes = Axis(words("first principal component of the weights")), Axis(words("second principal component"))
    ground = plane.ground(log=all_positive([plane.losses]))
    race = plane.race(settings.optimizer)
    look = {"view": settings.view, "colors": settings.colors}
    return paths_over(ground, race, plane.steps, axes, chosen=chosen, say=words, **look)


def _exhibit(settings: PlaneSettings, plane: Plane, runs: list[Progress], chosen: Sequence[str], words: Say) -> Exhibit:
    trial = Trial(settings, runs)
    pictures = {
        words("Loss around a path"): _picture(plane, settings, chosen, words),
        words("loss"): loss_picture([trial], words, chosen),
    }
    return Exhibit(settings, run_summary([trial]), plane_rows(plane), pictures)
