"""Results of training runs: pictures and rows from the progress of their controllers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agents.playground.look import color_of, dash_of, marker_of, stand_out
from agents.playground.race import Entrant
from agents.playground.run_settings import RunSettings, SweepSettings
from agents.playground.steering import Progress
from optenv.figures.picture import Axis, Line, Panel, Picture, scale_for
from optenv.figures.rates import rate_picture
from optenv.figures.run import MAX_LINES, RunTrace, knob_panel

Array = np.ndarray
Say = Callable[[str], str]


def by_controller(events: Sequence[Progress]) -> dict[str, list[Progress]]:
    """Sort events by their controllers, in order of appearance."""
    sorted_: dict[str, list[Progress]] = {}
    for event in events:
        sorted_.setdefault(event.controller, []).append(event)
    return sorted_


@dataclass(frozen=True)
class Trial:
    """The runs of one set of settings, as they are compared with those of others.

    Attributes:
      settings: what they were made from.
      events: of all controllers.
      kept: whether they were kept from before.
    """

    settings: RunSettings
    events: Sequence[Progress]
    kept: bool = False


def label_of(optimizer: str, controller: str) -> str:
    """Return the name of a method, the same on every page."""
    return Entrant(optimizer, {}, "" if controller == "neutral" else controller).label


def labels(trials: Sequence[Trial]) -> dict[tuple[int, str], str]:
    """Name every run by trial and controller: what differs from the last trial's settings is said."""
    named: dict[tuple[int, str], str] = {}
    for number, trial in enumerate(trials):
        own, last = trial.settings.to_dict(), trials[-1].settings.to_dict()
        other = [f"{n} {own[n]}" for n in ("task", "lr", "steps", "groups", "seed") if own.get(n) != last.get(n)]
        for name in by_controller(trial.events):
            label = ", ".join([label_of(trial.settings.optimizer, name), *other])
            named[number, name] = label if label not in named.values() else f"{label} ({number + 1})"
    return named


def loss_picture(trials: Sequence[Trial], say: Say = str, chosen: Collection[str] = ()) -> Picture:
    """Show the loss of every controller's run so far, a line each; runs kept from before are paler."""
    lines = []
    for (number, name), label in labels(trials).items():
        trial = trials[number]
        own = by_controller(trial.events)[name]
        steps, losses = [event.step for event in own], [float(event.loss[0]) for event in own]
        line = Line(
            steps,
            losses,
            label=label,
            color=color_of(trial.settings.optimizer),
            dash=dash_of(name),
            width=1.3 if trial.kept else 1.8,
            opacity=0.55 if trial.kept else 1.0,
            marker="o" if len(steps) == 1 else "",
        )
        lines.append(stand_out(line, label, chosen))
    y = Axis(say("validation loss"), scale_for(line.y for line in lines))
    return Picture((Panel(Axis(say("inner step"), limits=(0, None)), y, tuple(lines), height=3.6),), width=8.0)


def knob_picture(events: Sequence[Progress], say: Say = str) -> Picture | None:
    """Show each knob that one controller turns, once: a line for each group, a heat map where they are many.

    None where the controller turns none.
    """
    trace = knob_trace(events)
    if not trace.knobs:
        return None
    heat_map = len(trace.groups) > MAX_LINES
    panels = [replace(knob_panel(trace, name, heat_map=heat_map, say=say), height=2.0) for name in trace.knobs]
    return Picture(tuple(panels), width=8.0, stacked=True)


def knob_trace(events: Sequence[Progress]) -> RunTrace:
    """Return the knobs that one controller turns in its run."""
    after = [event for event in events if event.step] or list(events[:1])
    knobs = {name: np.stack([event.values[name][0] for event in after]) for name in after[0].values}
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
    styles = {
        label_of(settings.optimizer, name): (color_of(settings.optimizer), dash_of(name), marker_of(name))
        for name in curves
    }
    return rate_picture(
        settings.rates(),
        {settings.task: {label_of(settings.optimizer, name): curve for name, curve in curves.items()}},
        loss_label=say("final validation loss"),
        rate_label=say("base learning rate"),
        diverged_label=say("diverges"),
        height=4.2,
        width=8.0,
        styles=styles,
    )


def mean_loss(loss: Array) -> Array:
    """Return means over seeds, [R], of losses [R, S]: geometric where all are positive, infinite if a run diverged."""
    if (loss > 0).all():
        with np.errstate(over="ignore"):
            return np.exp(np.log(loss).mean(axis=1))
    return loss.mean(axis=1)


def share_done(events: Sequence[Any], settings: RunSettings) -> float:
    """Return the share of all inner steps that have been taken, from 0 to 1."""
    steps = [event for event in events if isinstance(event, Progress)]
    through = finished(steps)
    done = [1.0 if n in through else own[-1].step / own[-1].total for n, own in by_controller(steps).items()]
    return sum(done) / max(1, len(settings.controllers))


def run_rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """List run, controller, step, loss, group and knobs, a row for each group at each control step."""
    rows = []
    for (number, name), label in labels(trials).items():
        for event in by_controller(trials[number].events)[name]:
            for g, group in enumerate(event.groups):
                knobs = {knob: float(value[0, g]) for knob, value in event.values.items()}
                place = {"run": label, "controller": name, "step": event.step, "loss": float(event.loss[0])}
                rows.append({**place, "group": group, **knobs})
    return rows


def run_summary(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """List where every run has come to, the lowest loss first."""
    rows: list[dict[str, Any]] = []
    for (number, name), label in labels(trials).items():
        last = by_controller(trials[number].events)[name][-1]
        rows.append({"run": label, "controller": name, "step": last.step, "loss": float(last.loss[0])})
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
    """List each controller's best and worst mean final loss over the rates, and their ratio; the least worst first."""
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
    return sorted(rows, key=lambda row: row["worst"])
