"""Results of training runs: pictures and rows from the progress of their controllers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agents.playground.settings import SweepSettings
from agents.playground.steering import Progress
from optenv.control.knobs import KNOBS
from optenv.figures.picture import Picture
from optenv.figures.rates import rate_picture
from optenv.figures.run import MAX_LINES, RunTrace, knob_panel, loss_panel

Array = np.ndarray
Say = Callable[[str], str]
SHOWN_KNOBS = ("scale", "clip", "dampen")


def by_controller(events: Sequence[Progress]) -> dict[str, list[Progress]]:
    """Sort events by their controllers, in order of appearance."""
    sorted_: dict[str, list[Progress]] = {}
    for event in events:
        sorted_.setdefault(event.controller, []).append(event)
    return sorted_


def loss_picture(events: Sequence[Progress], say: Say = str) -> Picture:
    """Show the loss of every controller's run so far."""
    curves = {
        name: ([event.step for event in own], [float(event.loss[0]) for event in own])
        for name, own in by_controller(events).items()
    }
    panel = loss_panel(curves, label=say("validation loss"), x_label=say("inner step"))
    return Picture((panel,), width=8.0)


def knob_picture(events: Sequence[Progress], say: Say = str) -> Picture:
    """Show the knobs of one controller's run: lines on the left, a heat map on the right, a row for each knob."""
    trace = knob_trace(events)
    panels = []
    for name in trace.knobs:
        for heat_map in (False, True):
            panels.append(knob_panel(trace, name, heat_map=heat_map, say=say))
    if len(trace.groups) > MAX_LINES:  # so many lines cannot be told apart
        return Picture(tuple(panels[1::2]), width=8.0, stacked=True)
    return Picture(tuple(panels), columns=2, width=11.0, stacked=True)


def knob_trace(events: Sequence[Progress]) -> RunTrace:
    """Return the knobs of one controller's run; those that it does not turn are neutral."""
    after = [event for event in events if event.step] or list(events[:1])
    neutral = np.ones((len(after), len(after[0].groups)))
    knobs = {name: neutral * KNOBS[name].neutral for name in SHOWN_KNOBS}
    for name in after[0].values:
        knobs[name] = np.stack([event.values[name][0] for event in after])
    steps = [event.step for event in after]
    return RunTrace(steps, [float(event.loss[0]) for event in after], None, knobs, after[0].groups)


def finished(events: Sequence[Progress]) -> dict[str, Progress]:
    """Return the last event of every controller whose runs have ended."""
    last = {name: own[-1] for name, own in by_controller(events).items()}
    return {name: event for name, event in last.items() if event.step == event.total or np.isinf(event.loss).all()}


def sweep_picture(events: Sequence[Progress], settings: SweepSettings, say: Say = str) -> Picture | None:
    """Show final loss against base learning rate for the controllers that are through; None while there is none."""
    curves = {
        name: mean_loss(event.loss.reshape(settings.count, settings.num_seeds))
        for name, event in finished(events).items()
    }
    if not curves:
        return None
    return rate_picture(
        settings.rates(),
        {settings.task: curves},
        loss_label=say("final validation loss"),
        rate_label=say("base learning rate"),
        diverged_label=say("diverges"),
        height=4.2,
        width=8.0,
    )


def mean_loss(loss: Array) -> Array:
    """Return means over seeds, [R], of losses [R, S]: geometric where all are positive, infinite if a run diverged."""
    if (loss > 0).all():
        with np.errstate(over="ignore"):
            return np.exp(np.log(loss).mean(axis=1))
    return loss.mean(axis=1)


def share_done(events: Sequence[Progress], num_controllers: int) -> float:
    """Return the share of all inner steps that have been taken, from 0 to 1."""
    through = finished(events)
    done = [1.0 if n in through else own[-1].step / own[-1].total for n, own in by_controller(events).items()]
    return sum(done) / max(1, num_controllers)


def run_rows(events: Sequence[Progress]) -> list[dict[str, Any]]:
    """List controller, step, loss, group and knobs, a row for each group at each control step."""
    rows = []
    for name, own in by_controller(events).items():
        for event in own:
            for g, group in enumerate(event.groups):
                knobs = {knob: float(value[0, g]) for knob, value in event.values.items()}
                loss = float(event.loss[0])
                rows.append({"controller": name, "step": event.step, "loss": loss, "group": group, **knobs})
    return rows


def run_summary(events: Sequence[Progress]) -> list[dict[str, Any]]:
    """List where every controller's run has come to, the best first."""
    last = {name: own[-1] for name, own in by_controller(events).items()}
    rows: list[dict[str, Any]] = [
        {"controller": name, "step": event.step, "loss": float(event.loss[0])} for name, event in last.items()
    ]
    return sorted(rows, key=lambda row: row["loss"])


def sweep_rows(events: Sequence[Progress], settings: SweepSettings) -> list[dict[str, Any]]:
    """List controller, base rate, seed and final loss, a row for each run that has ended."""
    rows = []
    for name, event in finished(events).items():
        for n, (rate, loss) in enumerate(zip(event.rates.tolist(), event.loss.tolist(), strict=True)):
            seed = settings.seed + n % settings.num_seeds
            rows.append({"controller": name, "lr": rate, "seed": seed, "final_loss": loss})
    return rows


def sweep_summary(events: Sequence[Progress], settings: SweepSettings) -> list[dict[str, Any]]:
    """List each controller's best and worst mean final loss over the rates, and the ratio of the two."""
    rows = []
    for name, event in finished(events).items():
        means = mean_loss(event.loss.reshape(settings.count, settings.num_seeds))
        best, worst = float(means.min()), float(means.max())
        ratio = worst / best if best > 0 else float("nan")
        rows.append(
            {
                "controller": name,
                "best": best,
                "best_lr": settings.rates()[int(means.argmin())],
                "worst": worst,
                "worst_over_best": ratio,
            }
        )
    return rows
