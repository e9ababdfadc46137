"""A sweep over base learning rates: where each method ends, and how much the base rate matters to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optenv.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COLUMNS = 4


def rate_figure(
    rates: ArrayLike,
    curves: Mapping[str, Mapping[str, ArrayLike]],
    *,
    references: Mapping[str, float] | None = None,
    loss_label: str = "final validation loss",
) -> Figure:
    """Draw final loss against base learning rate, one panel per task and one line per method.

    Args:
      rates: base learning rates, [R], positive.
      curves: final losses by task and method, [R] each. A value that is not finite is drawn as a cross near the panel's
        upper edge: the run diverged.
      references: the tuned optimizer's final loss by task, drawn as a dashed line.
      loss_label: what the vertical axis measures, with its unit.

    Returns:
      Log-log panels, at most four in a row; a task with a loss that is not positive has a linear loss axis.

    Raises:
      ImportError: if matplotlib is not installed.
      ValueError: if there is no task, or a curve does not have one value per rate.
    """
    if not curves:
        raise ValueError("curves is empty; expected at least one task")
    columns = min(MAX_COLUMNS, len(curves))
    heights = [2.2] * -(-len(curves) // columns)
    figure, panels = canvas.new_panels(len(curves), columns=columns, width=max(4.2, 2.7 * columns), heights=heights)
    methods = list(dict.fromkeys(method for by_method in curves.values() for method in by_method))
    for panel, (task, by_method) in zip(panels, curves.items(), strict=True):
        panel.set_title(task, fontsize=9)
        _draw_task(panel, canvas.floats(rates), by_method, methods, (references or {}).get(task))
    for lowest in panels[-columns:]:
        lowest.set_xlabel("base learning rate", fontsize=9)
    figure.supylabel(loss_label, fontsize=9)
    canvas.legend_below(figure, panels)
    return figure


def _draw_task(
    panel: Axes,
    rates: NDArray[np.float64],
    by_method: Mapping[str, ArrayLike],
    methods: Sequence[str],
    reference: float | None,
) -> None:
    for method, losses in by_method.items():
        canvas.check_shape(f"final loss of '{method}'", losses, rates.shape)
        _draw_curve(panel, rates, canvas.floats(losses), method, methods.index(method))
    if reference is not None:
        panel.axhline(reference, color=canvas.GREY, linestyle="--", linewidth=1.2, label="tuned", zorder=1)
    if not np.isfinite([canvas.floats(losses) for losses in by_method.values()]).all():
        panel.plot([], [], "x", color=canvas.GREY, markersize=5, mew=1.5, label="diverged")
    panel.set_xscale("log")
    canvas.log_if_positive(panel, [*by_method.values(), *([] if reference is None else [reference])])


def _draw_curve(panel: Axes, rates: NDArray[np.float64], losses: NDArray[np.float64], label: str, index: int) -> None:
    # The markers move on by one with every round of the colours, so that no two of 49 lines look alike.
    round_, place = divmod(index, len(canvas.COLORS))
    color, marker = canvas.COLORS[place], canvas.MARKERS[(place + round_) % len(canvas.MARKERS)]
    panel.plot(
        rates, canvas.finite_or_gap(losses), color=color, marker=marker, markersize=4, linewidth=1.5, label=label
    )
    lost = rates[~np.isfinite(losses)]
    # One row of crosses per method, so that those lost at the same rate do not hide each other.
    height = np.full(lost.size, 0.97 - 0.08 * index)  # fraction of the panel's height
    panel.plot(lost, height, "x", color=color, markersize=5, mew=1.5, transform=panel.get_xaxis_transform())
