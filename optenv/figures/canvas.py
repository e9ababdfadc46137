"""The matplotlib canvas: a picture to a figure, and a figure to pixels.

Matplotlib is loaded when a figure is made, and only its object interface is used: no window opens, no state of pyplot
changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optenv.errors import needed_for
from optenv.figures.picture import GREY, Crosses, Field, Layer, Level, Line, Panel, Picture, finite_or_gap, floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


def draw(picture: Picture) -> Figure:
    """Draw a picture with matplotlib; the figure is 0.6 inches higher than its panels, for a legend.

    Raises:
      ImportError: if matplotlib is not installed.
    """
    figure = new_figure(picture.width, sum(picture.heights) + 0.6)
    grid = figure.add_gridspec(len(picture.heights), picture.columns, height_ratios=picture.heights)
    axes: list[Axes] = []
    for index, panel in enumerate(picture.panels):
        place = grid[index // picture.columns, index % picture.columns]
        axes.append(_new_axes(figure, place, panel, axes[0] if picture.stacked and axes else None))
    for index, (ax, panel) in enumerate(zip(axes, picture.panels, strict=True)):
        _fill(ax, panel, hide_x=picture.stacked and index < len(axes) - picture.columns)
    figure.supylabel(picture.label, fontsize=9)
    if picture.stacked:
        figure.align_ylabels()
    _legend_below(figure, [ax for ax, panel in zip(axes, picture.panels, strict=True) if panel.legend == "shared"])
    return figure


def new_figure(width: float, height: float, dpi: int = 100) -> Figure:
    """Make an empty figure.

    Args:
      width: in inches.
      height: in inches.
      dpi: pixels per inch.

    Raises:
      ImportError: if matplotlib is not installed.
    """
    with needed_for("a picture"):
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def figure_to_rgb(figure: Figure) -> NDArray[np.uint8]:
    """Render a figure to pixels.

    Returns:
      Red, green and blue, uint8 [H, W, 3].
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _new_axes(figure: Figure, place: Any, panel: Panel, above: Axes | None) -> Any:
    if panel.z is not None:
        return figure.add_subplot(place, projection="3d", computed_zorder=False)
    ax = figure.add_subplot(place, sharex=above)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=8)
    return ax


def _fill(ax: Any, panel: Panel, *, hide_x: bool) -> None:
    if panel.z is None:
        ax.set(xscale=panel.x.scale, yscale=panel.y.scale)
    for order, layer in enumerate((*panel.layers, *(panel.frames[-1] if panel.frames else ()))):
        _DRAW[type(layer)](ax, layer, 2 + order / 100)
    ax.set_title(panel.title, fontsize=9)
    if hide_x:
        ax.tick_params(labelbottom=False)
    else:
        ax.set_xlabel(panel.x.label, fontsize=9)
    ax.set_ylabel(panel.y.label, fontsize=9)
    if panel.z is not None:
        ax.set_zlabel(panel.z.label, fontsize=9)
    ax.set_xlim(*panel.x.limits)
    ax.set_ylim(*panel.y.limits)
    if panel.y.scale == "log":
        _plain_log_ticks(ax.yaxis)
    for name, axis in (("x", panel.x), ("y", panel.y)):
        if axis.ticks:
            ax.set(
                **{f"{name}ticks": [place for place, _ in axis.ticks], f"{name}ticklabels": [t for _, t in axis.ticks]}
            )
    if panel.legend == "own":
        # Above the panel, where no curve runs.
        ax.legend(loc="lower right", bbox_to_anchor=(1, 0.98), fontsize=8, frameon=False, ncols=2)


def _plain_log_ticks(axis: Any) -> None:
    """Label a logarithmic axis with plain numbers, a handful, also where it spans less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    log_locator = LogLocator(subs=(1, 2, 5) if decades < 2 else (1,), numticks=5)
    axis.set_major_locator(MaxNLocator(4) if decades < 0.7 else log_locator)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_line(ax: Any, line: Line, order: float) -> None:
    from matplotlib.patheffects import Normal, Stroke

    rows = (line.x, line.y) if line.z is None else (line.x, line.y, line.z)
    ax.plot(
        *(finite_or_gap(row) for row in rows),
        label=line.label or "_",  # what begins with an underscore is in no legend
        color=line.color,
        linestyle=_dash(line) if line.width else "",
        linewidth=line.width,
        marker=line.marker,
        markersize=line.size,
        markeredgecolor=_rim(line),
        markeredgewidth=1.5 if line.marker == "x" else None,
        alpha=None if line.opacity == 1.0 else line.opacity,
        drawstyle="steps-pre" if line.held else "default",
        path_effects=[Stroke(linewidth=line.width + 1.6, foreground="white"), Normal()]
        if line.halo and line.width
        else None,
        zorder=order,
    )


def _dash(line: Line) -> Any:
    if "," not in line.dash:
        return _DASHES[line.dash]
    return 0, tuple(float(length) / 1.5 for length in line.dash.split(","))  # in units of the usual width


def _rim(line: Line) -> str:
    """White sets a marker off from what lies below it; a white marker needs the opposite."""
    return line.color if not line.halo or line.width else "#333333" if line.color == "#FFFFFF" else "white"


def _draw_crosses(ax: Any, crosses: Crosses, order: float) -> None:
    height = np.full(np.size(crosses.x), crosses.height)
    ax.plot(
        floats(crosses.x),
        height,
        "x",
        color=crosses.color,
        markersize=5,
        mew=1.5,
        label="_",
        transform=ax.get_xaxis_transform(),
        zorder=order,
    )


def _draw_level(ax: Any, level: Level, order: float) -> None:
    ax.axhline(level.y, color=GREY, linestyle="--", linewidth=1.2, label=level.label, zorder=1)


def _draw_field(ax: Any, values: Field, order: float) -> None:
    cells = np.ma.masked_invalid(floats(values.z))
    if not cells.count():
        return
    x, y = floats(values.x), floats(values.y)
    if values.kind == "surface":
        drawn = ax.plot_surface(*np.meshgrid(x, y), cells, cmap=values.colors, alpha=0.75, linewidth=0, zorder=order)
    elif values.kind == "contour":
        drawn = ax.contourf(x, y, cells, levels=18, cmap=values.colors, zorder=1)
    else:
        low, high = values.limits or (None, None)
        drawn = ax.pcolormesh(x, y, cells, cmap=values.colors, vmin=low, vmax=high)
    bar = ax.figure.colorbar(drawn, ax=ax, pad=0.01 if values.kind == "heat" else 0.04, aspect=12, shrink=0.9)
    bar.set_label(values.label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    if values.ticks:
        bar.set_ticks([place for place, _ in values.ticks], labels=[name for _, name in values.ticks])


_DRAW: dict[type[Layer], Callable[[Any, Any, float], None]] = {
    Line: _draw_line,
    Crosses: _draw_crosses,
    Level: _draw_level,
    Field: _draw_field,
}


def _legend_below(figure: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend for all panels below the figure, in as many columns as its longest label allows."""
    handles = {label: line for ax in axes for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    if handles:
        column = 50 + 6 * max(map(len, handles))  # pixels: the sample line and its gaps, then the label
        columns = max(1, int(figure.bbox.width // column))
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=columns, fontsize=8, frameon=False
        )
