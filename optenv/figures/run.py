"""One run: its loss beside its neutral twin's, and what was done to every knob."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optenv.figures.picture import (
    Axis,
    Field,
    Layer,
    Line,
    Panel,
    Picture,
    Ticks,
    all_positive,
    check_shape,
    floats,
    log_ticks,
    scale_for,
    style,
)

MAX_LINES = 12
"""Groups drawn as one line each; with more of them a knob is drawn as a heat map."""

KNOB_AXES = {
    "rate": ("effective", "log"),
    "scale": ("× base rate", "log"),
    "clip": ("× reference", "log"),
    "dampen": ("fraction", "linear"),
}
"""Unit and axis by knob; a knob without a row is a plain number on a linear axis."""

FRACTION = (0.0, 1.0)


@dataclass(frozen=True)
class RunTrace:
    """What one run did, one row per recorded inner step.

    Attributes:
      steps: inner steps taken so far, [T], increasing.
      loss: the run's loss after them, [T]; non-finite values leave a gap.
      baseline: the loss of its neutral twin, [T], or None without one.
      knobs: each knob's value over the interval that ends at the step, [T, G], in the knob's own unit.
      groups: names of the G parameter groups.

    Raises:
      ValueError: if an array's shape does not fit `steps` and `groups`.
    """

    steps: ArrayLike
    loss: ArrayLike
    baseline: ArrayLike | None
    knobs: Mapping[str, ArrayLike]
    groups: Sequence[str]

    def __post_init__(self) -> None:
        length = np.size(self.steps)
        check_shape("loss", self.loss, (length,))
        if self.baseline is not None:
            check_shape("baseline", self.baseline, (length,))
        for name, values in self.knobs.items():
            check_shape(f"knob '{name}'", values, (length, len(self.groups)))


def run_picture(trace: RunTrace) -> Picture:
    """Show a run's loss beside its neutral twin's and, below, every knob of every group.

    The picture's size depends on the number of knobs only, so that the frames of a video agree.

    Args:
      trace: the run so far; it may still be empty.

    Returns:
      One panel for the loss, logarithmic when all of it is positive, and one per knob: a line per group for up to
      `MAX_LINES` groups, else a heat map.
    """
    curves = {"controlled": (trace.steps, trace.loss)}
    if trace.baseline is not None:
        curves["neutral twin"] = (trace.steps, trace.baseline)
    heat_map = len(trace.groups) > MAX_LINES
    knobs = [replace(knob_panel(trace, name, heat_map=heat_map), title=name) for name in trace.knobs]
    return Picture((replace(loss_panel(curves, legend="own"), title="loss"), *knobs), stacked=True)


def loss_panel(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    label: str = "loss",
    legend: str = "shared",
    x_label: str = "inner step",
) -> Panel:
    """Show losses over inner steps, a line each; logarithmic when all of them are positive.

    Args:
      curves: inner steps and losses by name, [T] each; losses that are not finite leave a gap.
      label: of the vertical axis.
      legend: as in `Panel`.
      x_label: of the horizontal axis.
    """
    lines = []
    for index, (name, (steps, values)) in enumerate(curves.items()):
        color, dash = style(index)[0], "dash" if index % 2 else "solid"
        lines.append(Line(steps, values, label=name, color=color, dash=dash, width=1.4, marker=_dot(steps)))
    axis = Axis(label, scale_for(values for _, values in curves.values()))
    return Panel(Axis(x_label, limits=(0, None)), axis, tuple(lines), legend=legend)


def knob_panel(trace: RunTrace, name: str, *, heat_map: bool, say: Callable[[str], str] = str) -> Panel:
    """Show one knob of every group over inner steps.

    Args:
      trace: the run.
      name: the knob.
      heat_map: colour cells, groups from top to bottom, in place of a line per group.
      say: translates what stands at the axes.
    """
    unit, scale = KNOB_AXES.get(name, ("", "linear"))
    label = f"{name}\n({say(unit)})" if unit else name
    values = floats(trace.knobs[name])  # [T, G]
    log = scale == "log" and all_positive([values])
    x = Axis(say("inner step"), limits=(0, None))
    if heat_map:
        layers = _cells(trace, values, label, log, FRACTION if unit == "fraction" else None)
        y = Axis(say("group"), limits=(len(trace.groups) - 0.5, -0.5), ticks=_group_ticks(trace.groups))
        return Panel(x, y, layers, height=1.5, legend="")
    names = short_names(trace.groups) if len(trace.groups) > 1 else [""]
    lines = []
    for g, group in enumerate(names):
        color, dash = style(g)
        dot = _dot(trace.steps)
        lines.append(
            Line(trace.steps, values[:, g], label=group, color=color, dash=dash, width=1.4, held=True, marker=dot)
        )
    limits = (-0.03, 1.03) if unit == "fraction" else (None, None)  # a line at the end of its range shows
    y = Axis(label, "log" if log else "linear", limits)
    # Every knob has the same groups: one panel's labels are enough.
    legend = "shared" if name == next(iter(trace.knobs)) else ""
    return Panel(x, y, tuple(lines), height=1.5, legend=legend)


def _cells(
    trace: RunTrace, values: NDArray[np.float64], label: str, log: bool, limits: tuple[float, float] | None
) -> tuple[Layer, ...]:
    if not np.isfinite(values).any():
        return ()
    cells = np.log10(values.T) if log else values.T  # [G, T]
    ticks = log_ticks(float(np.nanmin(cells)), float(np.nanmax(cells))) if log else ()
    rows = np.arange(len(trace.groups) + 1) - 0.5
    return (Field(_interval_edges(floats(trace.steps)), rows, cells, "heat", label, ticks, limits=limits),)


def _group_ticks(groups: Sequence[str]) -> Ticks:
    """Name the rows of a heat map: by group where there are few, else by number."""
    every = -(-len(groups) // 5) if len(groups) > MAX_LINES else 1
    names = short_names(groups) if every == 1 else [str(g) for g in range(len(groups))]
    return tuple((float(g), names[g]) for g in range(0, len(groups), every))


def _dot(steps: ArrayLike) -> str:
    """A single point needs a marker to be seen."""
    return "o" if np.size(steps) == 1 else ""


def _interval_edges(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of the intervals that end at each step, [T + 1]; the first is as long as the second."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    return np.concatenate([[2 * steps[0] - steps[1]], steps])


def short_names(names: Sequence[str], length: int = 20) -> list[str]:
    """Shorten dotted names for a legend: without the parts all begin with, and with a gap where still too long.

    >>> short_names(["model.blocks.0.attention.query_key_value", "model.blocks.1.norm"])
    ['0.attention…ey_value', '1.norm']
    """
    parts = [name.split(".") for name in names]
    shared = 0
    while len(names) > 1 and len({tuple(p[: shared + 1]) for p in parts}) == 1 and min(map(len, parts)) > shared + 1:
        shared += 1
    tails = [".".join(p[shared:]) for p in parts]
    return [t if len(t) <= length else f"{t[: length // 2 + 1]}…{t[length // 2 + 2 - length :]}" for t in tails]
