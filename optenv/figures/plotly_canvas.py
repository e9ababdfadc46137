"""The Plotly canvas: a picture to an interactive figure, with Play and Pause where the picture has frames.

Backgrounds are transparent and texts have no colour of their own, so the figure reads on light and dark pages alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from optenv.errors import needed_for
from optenv.figures.picture import COLORS, GREY, Axis, Crosses, Field, Layer, Level, Line, Panel, Picture, Ticks, floats
from optenv.figures.plotly_animation import HEIGHT, Words, animate
from optenv.figures.plotly_fields import add_contour, field_traces, numbers

if TYPE_CHECKING:
    import plotly.graph_objects as go

Trace = dict[str, Any]
_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "x": "x-thin-open",
    "*": "star",
}
_SYMBOLS_3D = {"s": "square", "D": "diamond", "P": "cross", "X": "cross", "x": "diamond-open", "*": "diamond"}
_ON_ANY_PAGE = {COLORS[-1]: "#8A8A8A"}
"""Black does not show on a dark page."""

ENGLISH = Words()
_SCENE: Trace = {
    "aspectmode": "manual",
    "aspectratio": {"x": 1.7, "y": 1.7, "z": 0.9},
    "camera": {"eye": {"x": 1.05, "y": -1.38, "z": 0.95}, "center": {"x": 0.0, "y": 0.0, "z": -0.18}},
}


def plotly_figure(picture: Picture, words: Words = ENGLISH) -> go.Figure:
    """Draw a picture with Plotly.

    Args:
      picture: what is drawn; of its panels at most one is animated.
      words: on the controls of an animation.

    Raises:
      ImportError: if Plotly is not installed.
    """
    with needed_for("an interactive picture"):
        from plotly.subplots import make_subplots
    rows = len(picture.heights)
    cells: list[Any] = [{"type": "xy" if panel.z is None else "scene"} for panel in picture.panels]
    cells += [None] * (rows * picture.columns - len(cells))
    figure = make_subplots(
        rows=rows,
        cols=picture.columns,
        row_heights=list(picture.heights),
        shared_xaxes=picture.stacked,
        specs=[cells[start : start + picture.columns] for start in range(0, len(cells), picture.columns)],
        subplot_titles=[panel.title for panel in picture.panels],
        y_title=picture.label or None,
        vertical_spacing=0.35 / sum(picture.heights),
        horizontal_spacing=0.46 / picture.columns,
    )
    named: set[str] = set()
    for index, panel in enumerate(picture.panels):
        _fill(figure, panel, index, picture, named)
    _arrange(figure, picture)
    for index, panel in enumerate(picture.panels):
        if panel.frames:
            moving = [[trace for line in lines for trace in _line(line)] for lines in panel.frames]
            animate(figure, moving, panel.frame_names, _place(index, picture), words)
    return figure


def _place(index: int, picture: Picture) -> dict[str, int]:
    return {"row": index // picture.columns + 1, "col": index % picture.columns + 1}


def _fill(figure: go.Figure, panel: Panel, index: int, picture: Picture, named: set[str]) -> None:
    place = _place(index, picture)
    for layer in panel.layers:
        for trace in _TRACES[type(layer)](layer):
            label = str(trace.get("name") or "")
            trace["showlegend"] = label not in named | {""} and panel.legend != ""
            named |= {label} if trace["showlegend"] else set()
            figure.add_trace(trace, **place)
        if isinstance(layer, Crosses):
            _cross(figure, layer, place)
        elif isinstance(layer, Level):
            figure.add_hline(y=layer.y, line={"color": GREY, "dash": "dash", "width": 1.2}, **place)
        elif isinstance(layer, Field) and layer.kind == "contour":
            add_contour(figure, layer, place)
        if isinstance(layer, Field) and layer.kind != "surface":
            _bar_beside(figure, place)
    if panel.z is not None:
        scene = {f"{name}axis": _scene_axis(axis) for name, axis in zip("xyz", (panel.x, panel.y, panel.z))}  # noqa: B905
        figure.update_scenes(**scene, **_SCENE, **place)
        return
    hidden = picture.stacked and index < len(picture.panels) - picture.columns
    figure.update_xaxes(**_axis(panel.x, titled=not hidden), **place)
    if panel.x.scale == "log":
        figure.update_xaxes(dtick=1, **place)
    figure.update_yaxes(**_axis(panel.y), **place)
    if panel.y.scale == "log" and (ticks := _log_ticks(panel)):
        figure.update_yaxes(tickvals=[place for place, _ in ticks], ticktext=[text for _, text in ticks], **place)


def _log_ticks(panel: Panel) -> Ticks:
    """Label 1, 2 and 5 times the powers of ten that a panel's lines reach, in full; none over three decades or more."""
    lines = [floats(layer.y).ravel() for layer in panel.layers if isinstance(layer, Line)]
    values = np.concatenate([np.zeros(0), *lines])
    values = np.log10(values[np.isfinite(values) & (values > 0)])
    if not values.size or np.ptp(values) >= 3:
        return ()
    decades = np.arange(np.floor(values.min()) - 1, np.ceil(values.max()) + 1)
    return tuple((float(tick), f"{tick:g}") for tick in np.outer(10.0**decades, (1, 2, 5)).ravel())


def _axis(axis: Axis, *, titled: bool = True) -> Trace:
    limits = [None if end is None else np.log10(end) if axis.scale == "log" else end for end in axis.limits]
    shown: Trace = {"title": {"text": axis.label.replace("\n", "<br>") if titled else "", "standoff": 6}}
    shown |= {"type": axis.scale, "showline": True, "ticks": "outside", "zeroline": False, "automargin": True}
    shown["linecolor"] = shown["tickcolor"] = "#8A8A8A"
    shown["gridcolor"] = "rgba(138,138,138,0.25)"
    if axis.ticks:
        shown |= {"tickvals": [place for place, _ in axis.ticks], "ticktext": [text for _, text in axis.ticks]}
    if axis.scale == "log":
        shown |= {"exponentformat": "power"}
    return shown | ({} if limits == [None, None] else {"range": limits})


def _scene_axis(axis: Axis) -> Trace:
    limits = {} if None in axis.limits else {"range": list(axis.limits)}
    return {"title": {"text": axis.label}, "gridcolor": "rgba(138,138,138,0.4)", "showbackground": False} | limits


def _line(line: Line) -> list[Trace]:
    three = line.z is not None
    color = _ON_ANY_PAGE.get(line.color, line.color) if not line.halo else line.color
    rows = {"x": numbers(line.x), "y": numbers(line.y)} | ({"z": numbers(line.z)} if three else {})
    mode = "+".join((["lines"] if line.width else []) + (["markers"] if line.marker else []))
    trace: Trace = {"type": "scatter3d" if three else "scatter", **rows, "mode": mode or "lines", "name": line.label}
    trace |= {"opacity": line.opacity, "legendgroup": line.label or None, "hoverinfo": "all" if line.label else "skip"}
    if line.width:
        trace["line"] = {"color": color, "width": line.width * (2.5 if three else 1.3), "dash": _dash(line)}
        if line.held:
            trace["line"]["shape"] = "vh"
    if line.marker:
        symbol = _SYMBOLS_3D.get(line.marker, "circle") if three else _SYMBOLS[line.marker]
        trace["marker"] = {"color": color, "size": line.size * (1.0 if three else 1.6), "symbol": symbol}
        rim = "#333333" if line.color == "#FFFFFF" else "white" if line.halo else color
        trace["marker"]["line"] = {"color": rim, "width": 0 if three and line.color != "#FFFFFF" else 1.2}
    if not line.halo or three or not line.width:
        return [trace]
    below: Trace = {"type": "scatter", **rows, "mode": "lines", "hoverinfo": "skip", "opacity": line.opacity}
    below["line"] = {"color": "white", "width": line.width * 1.3 + 2}
    below["legendgroup"] = line.label or None
    return [below, trace]


def _dash(line: Line) -> str:
    """Plotly's own name of a dash, or the lengths of a pattern; in space it knows the names alone."""
    if "," not in line.dash:
        return line.dash
    lengths = line.dash.split(",")
    if line.z is not None:
        return {2: "dash", 4: "dashdot"}.get(len(lengths), "longdashdot")
    return ",".join(f"{length}px" for length in lengths)


def _bar_beside(figure: go.Figure, place: dict[str, int]) -> None:
    """Put the last field's colour bar beside its own panel, as high as it."""
    trace = figure.data[-1]
    low, high = next(figure.select_yaxes(**place)).domain
    _, right = next(figure.select_xaxes(**place)).domain
    bar = trace.colorbar if trace.type == "heatmap" else trace.marker.colorbar
    bar.update(x=right + 0.01, y=(low + high) / 2, len=high - low)


def _cross(figure: go.Figure, crosses: Crosses, place: dict[str, int]) -> None:
    """Plotly draws no curve at a fraction of a panel's height: every cross is a text, on the axis' own scale."""
    logarithmic = next(figure.select_xaxes(**place)).type == "log"
    for x in floats(crosses.x):
        figure.add_annotation(
            x=np.log10(x) if logarithmic else x,
            y=crosses.height,
            yref="y domain",
            text="✕",
            showarrow=False,
            font={"color": _ON_ANY_PAGE.get(crosses.color, crosses.color), "size": 13},
            **place,
        )


def _level(level: Level) -> list[Trace]:
    line = {"color": GREY, "dash": "dash", "width": 1.2}
    return [{"type": "scatter", "x": [None], "y": [None], "mode": "lines", "name": level.label, "line": line}]


_TRACES: dict[type[Layer], Callable[[Any], list[Trace]]] = {
    Line: _line,
    Crosses: lambda crosses: [],
    Level: _level,
    Field: field_traces,
}


def _arrange(figure: go.Figure, picture: Picture) -> None:
    animated = any(panel.frames for panel in picture.panels)
    titled = bool(picture.panels[0].title)
    below = HEIGHT if animated else 55  # pixels for the controls, or for the axis' own label
    above = 32 + 24 * titled  # for a row of the legend; Plotly makes room for more
    panels = 100 * sum(picture.heights)
    figure.update_layout(
        height=panels + above + below,
        margin={"l": 50, "r": 10, "t": above, "b": below},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1 + (6 + 24 * titled) / panels, "x": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
    )
