"""The Plotly canvas: a picture to an interactive figure, with Play and Pause where the picture has frames.

Backgrounds are transparent and texts have no colour of their own, so the figure reads on light and dark pages alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from optenv.errors import needed_for
from optenv.figures.picture import (
    COLORS,
    GREY,
    Axis,
    Crosses,
    Field,
    Layer,
    Level,
    Line,
    Panel,
    Picture,
    finite_or_gap,
    floats,
)

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

FRAME_MILLISECONDS = 80
_MOVING = ("type", "x", "y", "z")


def plotly_figure(picture: Picture, *, play: str = "Play", pause: str = "Pause", step: str = "iteration") -> go.Figure:
    """Draw a picture with Plotly.

    Args:
      picture: what is drawn; of its panels at most one is animated.
      play: the word on the button that starts the animation.
      pause: the word on the one that stops it.
      step: what a frame is, beside the slider.

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
            _animate(figure, panel, index, picture, play, pause, step)
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
        elif isinstance(layer, Field) and layer.kind != "surface":
            _bar_beside(figure, place)
    if panel.z is not None:
        scene = {f"{name}axis": _scene_axis(axis) for name, axis in zip("xyz", (panel.x, panel.y, panel.z))}  # noqa: B905
        figure.update_scenes(**scene, aspectmode="cube", camera={"eye": {"x": 1.4, "y": -1.5, "z": 1.1}}, **place)
        return
    hidden = picture.stacked and index < len(picture.panels) - picture.columns
    figure.update_xaxes(**_axis(panel.x, titled=not hidden), **place)
    figure.update_yaxes(**_axis(panel.y), **place)
    if panel.y.scale == "log" and _decades(panel) < 3:
        figure.update_yaxes(dtick="D2", **place)  # labels at 1, 2 and 5 times a power of ten


def _decades(panel: Panel) -> float:
    """Return over how many decades a panel's lines reach upward."""
    lines = [floats(layer.y).ravel() for layer in panel.layers if isinstance(layer, Line)]
    values = np.concatenate([np.zeros(0), *lines])
    values = values[np.isfinite(values) & (values > 0)]
    return float(np.log10(values.max() / values.min())) if values.size else 0.0


def _axis(axis: Axis, *, titled: bool = True) -> Trace:
    limits = [None if end is None else np.log10(end) if axis.scale == "log" else end for end in axis.limits]
    shown: Trace = {"title": {"text": axis.label.replace("\n", "<br>") if titled else "", "standoff": 6}}
    shown |= {"type": axis.scale, "showline": True, "ticks": "outside", "zeroline": False, "automargin": True}
    shown["linecolor"] = shown["tickcolor"] = "#8A8A8A"
    shown["gridcolor"] = "rgba(138,138,138,0.25)"
    if axis.ticks:
        shown |= {"tickvals": [place for place, _ in axis.ticks], "ticktext": [text for _, text in axis.ticks]}
    if axis.scale == "log":
        shown |= {"exponentformat": "power", "dtick": 1 if axis.label.startswith("base") else None}
    return shown | ({} if limits == [None, None] else {"range": limits})


def _scene_axis(axis: Axis) -> Trace:
    limits = {} if None in axis.limits else {"range": list(axis.limits)}
    return {"title": {"text": axis.label}, "gridcolor": "rgba(138,138,138,0.4)", "showbackground": False} | limits


def _line(line: Line) -> list[Trace]:
    three = line.z is not None
    color = _ON_ANY_PAGE.get(line.color, line.color) if not line.halo else line.color
    rows = {"x": _numbers(line.x), "y": _numbers(line.y)} | ({"z": _numbers(line.z)} if three else {})
    mode = "+".join((["lines"] if line.width else []) + (["markers"] if line.marker else []))
    trace: Trace = {"type": "scatter3d" if three else "scatter", **rows, "mode": mode or "lines", "name": line.label}
    trace |= {"opacity": line.opacity, "legendgroup": line.label or None, "hoverinfo": "all" if line.label else "skip"}
    if line.width:
        trace["line"] = {"color": color, "width": line.width * (2.5 if three else 1.3), "dash": line.dash}
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


def _field(values: Field) -> list[Trace]:
    z = floats(values.z)
    if not np.isfinite(z).any():
        return []
    bar: Trace = {"title": {"text": values.label.replace("\n", " "), "side": "right"}, "thickness": 12, "len": 0.9}
    if values.ticks:
        bar |= {"tickvals": [place for place, _ in values.ticks], "ticktext": [name for _, name in values.ticks]}
    trace: Trace = {
        "x": _numbers(values.x),
        "y": _numbers(values.y),
        "z": z.astype(np.float32),
        "colorbar": bar,
        "colorscale": _scale(values.colors),
        "hoverinfo": "skip",
    }
    if values.limits is not None:
        trace |= {"zmin": values.limits[0], "zmax": values.limits[1]}
    if values.kind == "surface":
        return [trace | {"type": "surface", "opacity": 0.8}]
    if values.kind == "contour":
        return [trace | {"type": "contour", "ncontours": 18, "line": {"width": 0.4}}]
    return [trace | {"type": "heatmap", "hoverinfo": "x+y+z"}]


def _scale(name: str) -> str:
    """Plotly's own maps of these names, the grey one from white to black as matplotlib's."""
    return {"Greys": "Greys_r"}.get(name, name)


def _bar_beside(figure: go.Figure, place: dict[str, int]) -> None:
    """Put the last field's colour bar beside its own panel, as high as it."""
    trace = figure.data[-1]
    low, high = next(figure.select_yaxes(**place)).domain
    _, right = next(figure.select_xaxes(**place)).domain
    trace.colorbar.update(x=right + 0.01, y=(low + high) / 2, len=high - low)


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
    Field: _field,
}


def _arrange(figure: go.Figure, picture: Picture) -> None:
    animated = any(panel.frames for panel in picture.panels)
    names = len({trace.name for trace in figure.data if trace.showlegend})
    below = 125 if animated else 55  # pixels for the slider, or for the axis' own label
    figure.update_layout(
        height=100 * sum(picture.heights) + 60 + below + 12 * min(names, 12),
        margin={"l": 60, "r": 20, "t": 40, "b": below},
        legend={"orientation": "h", "yanchor": "top", "y": -below / (100 * sum(picture.heights)), "x": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
    )


def _animate(figure: go.Figure, panel: Panel, index: int, picture: Picture, play: str, pause: str, step: str) -> None:
    """Add the moving lines as the last traces, a frame for each name, the two buttons and a slider."""
    first = len(figure.data)
    moving = [[t for line in lines for t in _line(line)] for lines in panel.frames]
    for trace in moving[-1]:
        figure.add_trace({**trace, "showlegend": False}, **_place(index, picture))
    traces = list(range(first, first + len(moving[-1])))
    axes: Trace = {key: figure.data[first][key] for key in ("xaxis", "yaxis", "scene") if key in figure.data[first]}
    figure.frames = [
        {"name": name, "traces": traces, "data": [axes | {k: t[k] for k in t if k in _MOVING} for t in lines]}
        for name, lines in zip(panel.frame_names, moving, strict=True)
    ]
    now = {"mode": "immediate", "frame": {"duration": 0, "redraw": panel.z is not None}, "transition": {"duration": 0}}
    running = {**now, "fromcurrent": True}
    running["frame"] = {"duration": FRAME_MILLISECONDS, "redraw": panel.z is not None}
    buttons = [
        {"label": f"▶ {play}", "method": "animate", "args": [None, running]},
        {"label": f"❚❚ {pause}", "method": "animate", "args": [[None], now]},
    ]
    steps = [{"label": name, "method": "animate", "args": [[name], now]} for name in panel.frame_names]
    figure.update_layout(
        updatemenus=[
            {
                "type": "buttons",
                "direction": "left",
                "buttons": buttons,
                "showactive": False,
                "x": 0,
                "y": 1.0,
                "xanchor": "left",
                "yanchor": "bottom",
                "pad": {"b": 4},
            }
        ],
        sliders=[
            {
                "steps": steps,
                "active": len(steps) - 1,
                "currentvalue": {"prefix": f"{step} "},
                "pad": {"t": 44},
                "x": 0,
                "len": 1.0,
                "y": 0,
                "yanchor": "top",
            }
        ],
    )


def _numbers(values: ArrayLike | None) -> Any:
    """Numbers with a gap where one is not finite, or so large that Plotly's axes lose their way."""
    numbers = finite_or_gap([np.nan] if values is None or np.size(values) == 0 else values)  # a legend's entry alone
    return np.where(np.abs(numbers) < 1e100, numbers, np.nan)
