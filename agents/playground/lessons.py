"""Results of a controller's training: pictures and rows from its lessons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agents.playground.learner import Lesson, Reference
from agents.playground.look import color_of, dash_of
from agents.playground.run_settings import LearnSettings
from agents.playground.trainings import label_of
from optenv.figures.picture import Axis, Line, Panel, Picture, scale_for

Say = Callable[[str], str]


def lesson_picture(
    settings: LearnSettings, lessons: Sequence[Lesson], references: Sequence[Reference], say: Say = str
) -> Picture:
    """Show return and final loss by rollout, beside what the references reach."""
    rollouts = [lesson.rollout for lesson in lessons]
    color = color_of(settings.optimizer)
    panels: list[Panel] = []
    for title, own, others in (
        (say("mean return (nats)"), [x.reward for x in lessons], [x.reward for x in references]),
        (say("final validation loss"), [x.loss for x in lessons], [x.loss for x in references]),
    ):
        label = label_of(settings.optimizer, "ppo")
        line = Line(rollouts, own, label=label, color=color, dash=dash_of("ppo"), width=2.0, marker="o", size=3.5)
        lines = [line]
        for reference, value in zip(references, others, strict=True):
            ends, name = [0, settings.rollouts], label_of(settings.optimizer, reference.controller)
            dash = dash_of(reference.controller)
            lines.append(Line(ends, [value, value], label=name, color=color, dash=dash, width=1.3, opacity=0.7))
        scale = scale_for([own, others]) if panels else "linear"
        x = Axis(say("rollout"), limits=(0, settings.rollouts))
        panels.append(Panel(x, Axis(title, scale), tuple(lines), height=2.2, legend="" if panels else "shared"))
    return Picture(tuple(panels), width=8.0, stacked=True)


def lesson_share(events: Sequence[Any], settings: LearnSettings) -> float:
    """Return the share of the rollouts that is done, from 0 to 1."""
    done = [event.rollout for event in events if isinstance(event, Lesson)]
    return done[-1] / settings.rollouts if done else 0.0


def lesson_summary(lessons: Sequence[Lesson], references: Sequence[Reference]) -> list[dict[str, Any]]:
    """List the controller after its last rollout and the references, the lowest loss first."""
    rows: list[dict[str, Any]] = [
        {"controller": r.controller, "rollouts": None, "loss": r.loss, "reward": r.reward} for r in references
    ]
    last = lessons[-1]
    rows.append({"controller": "ppo", "rollouts": last.rollout, "loss": last.loss, "reward": last.reward})
    return sorted(rows, key=lambda row: row["loss"])


def lesson_rows(lessons: Sequence[Lesson]) -> list[dict[str, Any]]:
    """List rollout, return, final loss, and the knobs of every group at every step of one judging run."""
    rows = []
    for lesson in lessons:
        for event in lesson.run[1:]:
            for g, group in enumerate(event.groups):
                knobs = {name: float(value[0, g]) for name, value in event.values.items()}
                place = {"rollout": lesson.rollout, "return": lesson.reward, "final_loss": lesson.loss}
                rows.append({**place, "step": event.step, "group": group, **knobs})
    return rows
