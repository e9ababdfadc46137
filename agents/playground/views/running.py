"""What the pages that train share: their common settings, and a job that is watched while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from agents.playground.fields import Settings, controller_names
from agents.playground.jobs import Job
from agents.playground.run_settings import base_names, task_names
from agents.playground.views import common
from agents.playground.views.common import Form, say
from optenv import tasks
from optenv.inner.layout import GROUPINGS

REFRESH = 0.5
"""Seconds between two looks at a job, unless a page says otherwise."""


def ask_task(form: Form) -> str:
    """Show the choice of a task, and return it: of a family, the member chosen."""
    name, _, member = form.initial.task.partition(":")
    task = form.one("Task", task_names(), "family", name)
    if isinstance(family := tasks.get(task), tasks.Family):
        value = int(member) if member and task == name else 0
        task += f":{form.whole('Member of the family', f'member.{task}', (0, family.num_members - 1), value)}"
    return str(task)


def ask_run(form: Form, optimizers: Sequence[str] = ()) -> str:
    """Show the widgets that all pages of runs have, and return the task."""
    task = ask_task(form)
    form.one("Base optimizer", list(optimizers) or base_names(), "optimizer")
    form.several("Controllers", controller_names(), "controllers", help=say("“neutral” is the base optimizer alone."))
    form.slide("Inner steps", 10, 2000, "steps")
    return task


def ask_rest(form: Form) -> None:
    """Show the widgets that all pages of runs have at the end."""
    form.whole("Seed", "seed")
    form.one("A parameter group is", GROUPINGS, "groups", format_func=say)


@dataclass(frozen=True)
class Buttons:
    """What was pressed, and whether Stop was there."""

    go: bool
    stop: bool = False
    running: bool = False


def buttons(page: str) -> Buttons:
    """Show Run, and Stop while something runs."""
    job = page_job(page)
    if job is None or not job.active:
        return Buttons(st.button(say("Run"), type="primary", width="stretch", key=f"{page}:go"))
    left, right = st.columns(2)
    go = left.button(say("Run"), type="primary", width="stretch", key=f"{page}:go")
    return Buttons(go, right.button(say("Stop"), width="stretch", key=f"{page}:stop"), running=True)


def page_job(page: str) -> Job | None:
    """Return the page's job, running or ended."""
    return st.session_state.get(f"{page}:job")


def follow(
    settings: Settings | None,
    page: str,
    pressed: Buttons,
    work: Callable[[Any], Iterator[Any]],
    share: Callable[[list[Any], Any], float],
    draw: Callable[[Job, list[Any]], None],
    refresh: float = REFRESH,
) -> None:
    """Start and stop the page's job as its buttons say, and show it, again and again while it runs.

    A page that has no job yet begins one, so that it opens with a result.

    Args:
      settings: what a new job is made from; None if they are wrong.
      page: name of the page.
      pressed: the buttons of the page.
      work: makes the job's iterator from the settings.
      share: of the work that events and settings say is done, from 0 to 1.
      draw: shows the events so far.
      refresh: seconds between two looks at the job.
    """
    job = page_job(page)
    if pressed.stop and job is not None:
        job.stop()
        job.join(10.0)
        st.rerun()  # Stop goes
    asked = st.session_state.pop(f"{page}:run", False) or pressed.go
    if settings is not None and (asked or job is None):
        _start(page, settings, work)
    job = page_job(page)
    if job is not None:
        if not job.active and settings is not None and settings != job.settings:
            st.info(say("The settings have changed: press Run to see what they do."))
        st.fragment(_watch, run_every=refresh if pressed.running else None)(job, share, draw, pressed.running)


def _start(page: str, settings: Any, work: Callable[[Any], Iterator[Any]]) -> None:
    try:
        settings.methods()
    except ValueError as error:
        st.error(common.sentence(error))
        return
    for name, old in st.session_state.items():
        if isinstance(old, Job) and str(name).endswith(":job"):
            old.stop()  # one at a time for each person, so that a new page need not wait
    st.session_state[f"{page}:job"] = Job(lambda: work(settings), settings)
    st.rerun()  # Stop can be pressed from now on


def _watch(
    job: Job, share: Callable[[list[Any], Any], float], draw: Callable[[Job, list[Any]], None], running: bool
) -> None:
    if running and not job.active:
        st.rerun()  # the whole page: Stop goes, and the exports come
    events = job.events()
    done = share(events, job.settings)
    if job.state != "done":
        st.progress(min(done, 1.0), say(_STATES[job.state]).format(percent=round(100 * done)))
    if job.error is not None:
        st.error(common.sentence(job.error))
    if events:
        draw(job, events)


_STATES = {
    "waiting": "waiting for other people's runs to end",
    "running": "running: {percent} % of the steps",
    "stopped": "stopped at {percent} % of the steps",
    "failed": "failed at {percent} % of the steps",
}
