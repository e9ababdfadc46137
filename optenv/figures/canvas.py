"""What all figures share: panels, colours, tidy axes, one legend, and the way to pixels.

Matplotlib is loaded when a figure is made, and only its object interface is used: no window opens, no state of pyplot
changes. The colours are Okabe and Ito's (2008), which colour-blind readers tell apart, without the yellow, too pale for
a line on white; markers and dashes repeat the difference for print.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optenv.errors import missing_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "0.45"


def new_panels(count: int, *, columns: int, width: float, heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Make a figure whose panels are filled row by row.

    Args:
      count: number of panels.
      columns: panels in a row.
      width: of the figure, in inches of 100 pixels.
      heights: of each row, in the same; the figure is 0.6 higher, for a legend.

    Returns:
      The figure and its panels.

    Raises:
      ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("matplotlib", "plot") from error
    figure = Figure(figsize=(width, sum(heights) + 0.6), dpi=100, layout="constrained")
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    panels = [figure.add_subplot(grid[index // columns, index % columns]) for index in range(count)]
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="0.9", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=8)
    return figure, panels


def log_if_positive(panel: Axes, curves: Iterable[ArrayLike]) -> None:
    """Make the vertical axis logarithmic if there are finite values and all of them are positive."""
    if all_positive(curves):
        panel.set_yscale("log")
        plain_log_ticks(panel.yaxis)


def plain_log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers, a handful, also where it spans less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    log_locator = LogLocator(subs=(1, 2, 5) if decades < 2 else (1,), numticks=5)
    axis.set_major_locator(MaxNLocator(4) if decades < 0.7 else log_locator)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def legend_below(figure: Figure, panels: Sequence[Axes]) -> None:
    """Put one legend for all panels below the figure, in as many columns as its longest label allows."""
    handles = {label: line for panel in panels for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    if handles:
        column = 50 + 6 * max(map(len, handles))  # pixels: the sample line and its gaps, then the label
        columns = max(1, int(figure.bbox.width // column))
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=columns, fontsize=8, frameon=False
        )


def figure_to_rgb(figure: Figure) -> NDArray[np.uint8]:
    """Render a figure to pixels.

    Returns:
      Red, green and blue, uint8 [H, W, 3].
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def all_positive(arrays: Iterable[ArrayLike]) -> bool:
    """Tell whether there are finite values and all of them are positive.

    >>> all_positive([[1.0, float("inf")], [0.1]]), all_positive([[1.0, 0.0]]), all_positive([[]])
    (True, False, False)
    """
    values = np.concatenate([floats(array).ravel() for array in arrays])
    finite = values[np.isfinite(values)]
    return finite.size > 0 and bool((finite > 0).all())


def floats(values: ArrayLike) -> NDArray[np.float64]:
    """The values as an array of floats."""
    return np.asarray(values, dtype=np.float64)


def finite_or_gap(values: ArrayLike) -> NDArray[np.float64]:
    """The same values with NaN, which a line skips, where they are infinite."""
    values = floats(values)
    return np.where(np.isfinite(values), values, np.nan)


def check_shape(subject: str, values: ArrayLike, expected: tuple[int, ...]) -> None:
    """Complain about an array that does not fit its neighbours.

    >>> check_shape("loss", [2.3, 1.9], (3,))
    Traceback (most recent call last):
        ...
    ValueError: loss has shape (2,); expected (3,)
    """
    if np.shape(values) != expected:
        raise ValueError(f"{subject} has shape {np.shape(values)}; expected {expected}")
