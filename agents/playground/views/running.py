"""What the pages that train share: their common settings, and a job that is watched while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import streamlit as st

from agents.playground.jobs import Job
from agents.playground.settings import RunSettings, base_names, controller_names, task_names
from agents.playground.trainings import share_done
from agents.playground.views import common
from agents.playground.views.common import Form, say
from optenv import tasks
from optenv.inner.layout import GROUPINGS

REFRESH = 1.0
"""Seconds between two looks at a job."""


def ask_run(form: Form) -> str:
    """Show the widgets that both pages have, and return the task: of a family, the member chosen."""
    name, _, member = form.initial.task.partition(":")
    task = form.one("Task", task_names(), "family", name)
    if isinstance(family := tasks.get(task), tasks.Family):
        value = int(member) if member and task == name else 0
        task += f":{form.whole('Member of the family', f'member.{task}', (0, family.num_members - 1), value)}"
    form.one("Base optimizer", base_names(), "optimizer")
    form.several("Controllers", controller_names(), "controllers", help=say("“neutral” is the base optimizer alone."))
    form.slide("Inner steps", 10, 2000, "steps")
    return task


def ask_rest(form: Form) -> None:
    """Show the widgets that both pages have at the end."""
    form.whole("Seed", "seed")
    form.one("A parameter group is", GROUPINGS, "groups", format_func=say)


def buttons(page: str) -> tuple[bool, bool]:
    """Show Run and Stop, and return which of them was pressed."""
    left, right = st.columns(2)
    job = page_job(page)
    go = left.button(say("Run"), type="primary", width="stretch", key=f"{page}:go")
    stop = right.button(say("Stop"), width="stretch", key=f"{page}:stop", disabled=job is None or not job.active)
    return go, stop


def page_job(page: str) -> Job | None:
    """Return the page's job, running or ended."""
    return st.session_state.get(f"{page}:job")


def follow(
    page: str,
    settings: RunSettings | None,
    pressed: tuple[bool, bool],
    work: Callable[[Any], Iterator[Any]],
    draw: Callable[[Job, list[Any]], None],
) -> None:
    """Start and stop the page's job as its buttons say, and show it, again and again while it runs.

    Args:
      page: name of the page.
      settings: what a new job is made from; None if they are wrong.
      pressed: which of Run and Stop was pressed.
      work: makes the job's iterator from the settings.
      draw: shows the events so far.
    """
    go, stop = pressed
    job = page_job(page)
    if stop and job is not None:
        job.stop()
        job.join(10.0)
    if settings is not None and (go or st.session_state.pop(f"{page}:run", False)):
        _start(page, settings, work)
    job = page_job(page)
    if job is None:
        st.info(say("Press Run. The runs go on in the background, and the page stays yours meanwhile."))
        return
    st.fragment(_watch, run_every=REFRESH if job.active else None)(job, draw)


def _start(page: str, settings: RunSettings, work: Callable[[Any], Iterator[Any]]) -> None:
    try:
        settings.methods()
    except ValueError as error:
        st.error(common.sentence(error))
        return
    if (old := page_job(page)) is not None:
        old.stop()
    st.session_state[f"{page}:job"] = Job(lambda: work(settings), settings)
    st.rerun()  # Stop can be pressed from now on


def _watch(job: Job, draw: Callable[[Job, list[Any]], None]) -> None:
    was_active = job.active
    events = job.events()
    share = share_done(events, len(job.settings.controllers))
    st.progress(min(share, 1.0), say(_STATES[job.state]).format(percent=round(100 * share)))
    if job.error is not None:
        st.error(common.sentence(job.error))
    if events:
        draw(job, events)
    if was_active and not job.active:
        st.rerun()  # the whole page: its buttons and exports change


_STATES = {
    "waiting": "waiting for other people's runs to end",
    "running": "running: {percent} % of the steps",
    "done": "done",
    "stopped": "stopped at {percent} % of the steps",
    "failed": "failed at {percent} % of the steps",
}
