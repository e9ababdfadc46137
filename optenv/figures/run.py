"""One run: its loss beside its neutral twin's, and what was done to every knob."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optenv.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LINES = 12
"""Groups drawn as one line each; with more of them a knob is drawn as a heat map."""

KNOB_AXES = {
    "scale": ("× base rate", "log"),
    "clip": ("× reference", "log"),
    "dampen": ("fraction", "linear"),
}
"""Unit and axis by knob; a knob without a row is a plain number on a linear axis."""


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
        canvas.check_shape("loss", self.loss, (length,))
        if self.baseline is not None:
            canvas.check_shape("baseline", self.baseline, (length,))
        for name, values in self.knobs.items():
            canvas.check_shape(f"knob '{name}'", values, (length, len(self.groups)))


def run_figure(trace: RunTrace) -> Figure:
    """Draw a run's loss beside its neutral twin's and, below, every knob of every group.

    The figure's size depends on the number of knobs only, so that the frames of a video agree.

    Args:
      trace: the run so far; it may still be empty.

    Returns:
      One panel for the loss, logarithmic when all of it is positive, and one per knob: a line per group for up to
      `MAX_LINES` groups, else a heat map.

    Raises:
      ImportError: if matplotlib is not installed.
    """
    heights = [2.2] + [1.5] * len(trace.knobs)
    figure, (loss_panel, *knob_panels) = canvas.new_panels(len(heights), columns=1, width=6.4, heights=heights)
    draw_knob = _draw_lines if len(trace.groups) <= MAX_LINES else _draw_heat_map
    for panel, (name, values) in zip(knob_panels, trace.knobs.items(), strict=True):
        panel.sharex(loss_panel)
        draw_knob(panel, name, canvas.floats(values), trace)
    _draw_loss(loss_panel, trace)
    loss_panel.set_xlim(left=0)
    for panel in (loss_panel, *knob_panels):
        panel.label_outer()
    (loss_panel, *knob_panels)[-1].set_xlabel("inner step", fontsize=9)
    figure.align_ylabels()
    if 1 < len(trace.groups) <= MAX_LINES:
        canvas.legend_below(figure, knob_panels[:1])
    return figure


def _draw_loss(panel: Axes, trace: RunTrace) -> None:
    panel.plot(canvas.floats(trace.steps), canvas.finite_or_gap(trace.loss), label="controlled", **_line(trace, 0))
    curves = [trace.loss]
    if trace.baseline is not None:
        curves.append(trace.baseline)
        twin = _line(trace, 1) | {"linestyle": "--"}
        panel.plot(canvas.floats(trace.steps), canvas.finite_or_gap(trace.baseline), label="neutral twin", **twin)
    canvas.log_if_positive(panel, curves)
    panel.set_ylabel("loss", fontsize=9)
    # Above the panel, where no curve runs.
    panel.legend(loc="lower right", bbox_to_anchor=(1, 0.98), fontsize=8, frameon=False, ncols=2)


def _draw_lines(panel: Axes, name: str, values: NDArray[np.float64], trace: RunTrace) -> None:
    """One line per group; steps-pre, because a value holds over the interval that ends at its step."""
    for index, label in enumerate(short_names(trace.groups)):
        column = canvas.finite_or_gap(values[:, index])
        panel.plot(canvas.floats(trace.steps), column, label=label, drawstyle="steps-pre", **_line(trace, index))
    unit, scale = KNOB_AXES.get(name, ("", "linear"))
    if scale == "log":
        canvas.log_if_positive(panel, [values])
    panel.set_ylabel(_knob_label(name, unit), fontsize=9)


def _draw_heat_map(panel: Axes, name: str, values: NDArray[np.float64], trace: RunTrace) -> None:
    """Groups from top to bottom in their order in the model; cividis reads the same to colour-blind eyes."""
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.ticker import MaxNLocator

    panel.set_ylabel("group", fontsize=9)
    panel.set_ylim(len(trace.groups) - 0.5, -0.5)
    panel.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    if not np.isfinite(values).any():
        return
    unit, scale = KNOB_AXES.get(name, ("", "linear"))
    norm = LogNorm() if scale == "log" and canvas.all_positive([values]) else Normalize()
    rows = np.arange(len(trace.groups) + 1) - 0.5
    cells = np.ma.masked_invalid(values.T)  # [G, T]
    mesh = panel.pcolormesh(_interval_edges(canvas.floats(trace.steps)), rows, cells, norm=norm, cmap="cividis")
    bar = panel.figure.colorbar(mesh, ax=panel, pad=0.01, aspect=12)
    bar.set_label(_knob_label(name, unit), fontsize=9)
    bar.ax.tick_params(labelsize=8)
    if isinstance(norm, LogNorm):
        canvas.plain_log_ticks(bar.ax.yaxis)


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


def _line(trace: RunTrace, index: int) -> dict[str, Any]:
    """Once through the colours, then again dashed; a single point needs a marker to be seen."""
    second_round, color = divmod(index, len(canvas.COLORS))
    marker = "o" if np.size(trace.steps) == 1 else ""
    return {"color": canvas.COLORS[color], "linestyle": ("-", "--")[second_round], "linewidth": 1.4, "marker": marker}


def _knob_label(name: str, unit: str) -> str:
    return f"{name}\n({unit})" if unit else name


def _interval_edges(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of the intervals that end at each step, [T + 1]; the first is as long as the second."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    return np.concatenate([[2 * steps[0] - steps[1]], steps])
