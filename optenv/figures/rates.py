"""A sweep over base learning rates: where each method ends, and how much the base rate matters to it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optenv.figures.picture import (
    GREY,
    Axis,
    Crosses,
    Layer,
    Level,
    Line,
    Panel,
    Picture,
    check_shape,
    floats,
    marker,
    scale_for,
    style,
)

MAX_COLUMNS = 4


def rate_picture(
    rates: ArrayLike,
    curves: Mapping[str, Mapping[str, ArrayLike]],
    *,
    references: Mapping[str, float] | None = None,
    loss_label: str = "final validation loss",
    rate_label: str = "base learning rate",
    diverged_label: str = "diverged",
    height: float = 2.2,
    width: float | None = None,
    styles: Mapping[str, tuple[str, str, str]] | None = None,
) -> Picture:
    """Show final loss against base learning rate, one panel per task and one line per method.

    Args:
      rates: base learning rates, [R], positive.
      curves: final losses by task and method, [R] each. Infinity is drawn as a cross near the panel's upper edge: the
        run diverged. NaN leaves a gap where `rate_picture` is asked while runs are still to come.
      references: the tuned optimizer's final loss by task, drawn as a dashed line.
      loss_label: what the vertical axis measures, with its unit.
      rate_label: what the horizontal axis measures.
      diverged_label: the crosses' name in the legend.
      height: of a panel, in inches of 100 pixels.
      width: of the whole, likewise; by default as the number of panels asks.
      styles: colour, dash and marker by method; by default in order of appearance.

    Returns:
      Log-log panels, at most four in a row; a task with a loss that is not positive has a linear loss axis.

    Raises:
      ValueError: if there is no task, or a curve does not have one value per rate.
    """
    if not curves:
        raise ValueError("curves is empty; expected at least one task")
    columns = min(MAX_COLUMNS, len(curves))
    methods = list(dict.fromkeys(method for by_method in curves.values() for method in by_method))
    looks = {method: (style(index)[0], "solid", marker(index)) for index, method in enumerate(methods)} | dict(
        styles or {}
    )
    panels = []
    for index, (task, by_method) in enumerate(curves.items()):
        layers = _layers(floats(rates), by_method, looks, (references or {}).get(task), diverged_label)
        heights = [*by_method.values(), *([[references[task]]] if references and task in references else [])]
        x = Axis(rate_label if index >= len(curves) - columns else "", "log")
        panels.append(Panel(x, Axis("", scale_for(heights)), layers, title=task, height=height))
    return Picture(tuple(panels), columns=columns, width=width or max(4.2, 2.7 * columns), label=loss_label)


def _layers(
    rates: NDArray[np.float64],
    by_method: Mapping[str, ArrayLike],
    looks: Mapping[str, tuple[str, str, str]],
    reference: float | None,
    diverged_label: str,
) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for method, losses in by_method.items():
        check_shape(f"final loss of '{method}'", losses, rates.shape)
        color, dash, sign = looks[method]
        layers.append(Line(rates, losses, label=method, color=color, dash=dash, marker=sign))
        lost = rates[~np.isfinite(floats(losses))]
        # One row of crosses per method, so that those lost at the same rate do not hide each other.
        layers.append(Crosses(lost, 0.97 - 0.08 * list(looks).index(method), color))
    if reference is not None:
        layers.append(Level(reference, "tuned"))
    if not np.isfinite([floats(losses) for losses in by_method.values()]).all():
        layers.append(Line([], [], label=diverged_label, color=GREY, marker="x", size=5, width=0))
    return tuple(layers)
