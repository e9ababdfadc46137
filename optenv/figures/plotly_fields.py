"""Fields on the Plotly canvas: heat maps, surfaces, and contours as an image below the lines.

A contour is an image of the layout and not a trace, because an animation that plays without redrawing the figure loses
Plotly's contour layer.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optenv.errors import needed_for
from optenv.figures.picture import Field, finite_or_gap, floats

if TYPE_CHECKING:
    import plotly.graph_objects as go

Trace = dict[str, Any]
LEVELS = 18
_INCHES = (8.0, 5.0)


def field_traces(values: Field) -> list[Trace]:
    """Return the traces of a field: what it is drawn with, or for a contour its colour bar alone."""
    z = floats(values.z)
    if not np.isfinite(z).any():
        return []
    return [_colour_bar(values, z) if values.kind == "contour" else _field(values, z)]


def add_contour(figure: go.Figure, values: Field, place: dict[str, int]) -> None:
    """Put a contour's image below the lines of a panel."""
    x, y = floats(values.x), floats(values.y)
    figure.add_layout_image(
        source=contour_image(values),
        x=x[0],
        y=y[-1],
        sizex=x[-1] - x[0],
        sizey=y[-1] - y[0],
        sizing="stretch",
        layer="below",
        **place,
    )


def contour_image(values: Field) -> str:
    """Return filled contours without axes as a PNG in a `data:` address.

    Raises:
      ImportError: if matplotlib is not installed.
    """
    with needed_for("contours"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    figure = Figure(figsize=_INCHES, dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    x, y, z = floats(values.x), floats(values.y), np.ma.masked_invalid(floats(values.z))
    axes.contourf(x, y, z, levels=LEVELS, cmap=values.colors)
    axes.contour(x, y, z, levels=LEVELS, colors="black", linewidths=0.4, alpha=0.6, linestyles="solid")
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    file = io.BytesIO()
    canvas.print_png(file)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def numbers(values: ArrayLike | None) -> NDArray[np.float32]:
    """Return numbers with a gap where one is not finite, or so large that Plotly's axes lose their way."""
    given = finite_or_gap([np.nan] if values is None or np.size(values) == 0 else values)  # a legend's entry alone
    return np.where(np.abs(given) < 1e38, given, np.nan).astype(np.float32)


def _field(values: Field, z: NDArray[np.float64]) -> Trace:
    trace: Trace = {
        "x": numbers(values.x),
        "y": numbers(values.y),
        "z": z.astype(np.float32),
        "colorbar": _bar(values),
        "colorscale": _scale(values.colors),
    }
    if values.limits is not None:
        trace |= {"zmin": values.limits[0], "zmax": values.limits[1]}
    if values.kind == "surface":
        return trace | {"type": "surface", "opacity": 0.8, "hoverinfo": "skip"}
    return trace | {"type": "heatmap", "hoverinfo": "x+y+z"}


def _colour_bar(values: Field, z: NDArray[np.float64]) -> Trace:
    low, high = values.limits or (float(np.nanmin(z)), float(np.nanmax(z)))
    marker: Trace = {"color": [low], "cmin": low, "cmax": high, "colorscale": _scale(values.colors), "showscale": True}
    shown: Trace = {"x": [None], "y": [None], "mode": "markers", "hoverinfo": "skip", "name": ""}
    return {"type": "scatter", **shown, "marker": marker | {"colorbar": _bar(values)}}


def _bar(values: Field) -> Trace:
    bar: Trace = {"title": {"text": values.label.replace("\n", " "), "side": "right"}, "thickness": 12, "len": 0.9}
    if values.ticks:
        bar |= {"tickvals": [place for place, _ in values.ticks], "ticktext": [name for _, name in values.ticks]}
    return bar


def _scale(name: str) -> str:
    """Plotly's own maps of these names, the grey one from white to black as matplotlib's."""
    return {"Greys": "Greys_r"}.get(name, name)
