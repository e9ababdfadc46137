"""Animations on the Plotly canvas: a frame for each name, Play and Pause, and a slider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

Trace = dict[str, Any]
FRAME_MILLISECONDS = 80
HEIGHT = 162
"""Pixels below a panel for its axis' label, the buttons and the slider."""
_MOVING = ("type", "x", "y", "z")


@dataclass(frozen=True)
class Words:
    """What stands on the controls of an animation."""

    play: str = "Play"
    pause: str = "Pause"
    step: str = "iteration"


def animate(
    figure: go.Figure, moving: Sequence[Sequence[Trace]], names: Sequence[str], place: dict[str, int], words: Words
) -> None:
    """Add moving traces as the figure's last, and what plays them.

    Args:
      figure: the figure.
      moving: the traces of every frame, equally many in each; the last frame is shown at rest.
      names: of the frames.
      place: row and column of the panel.
      words: on the controls.
    """
    first = len(figure.data)
    for trace in moving[-1]:
        figure.add_trace({**trace, "showlegend": bool(trace.get("name"))}, **place)
    traces = list(range(first, first + len(moving[-1])))
    axes: Trace = {key: figure.data[first][key] for key in ("xaxis", "yaxis", "scene") if key in figure.data[first]}
    figure.frames = [
        {"name": name, "traces": traces, "data": [axes | {k: t[k] for k in t if k in _MOVING} for t in lines]}
        for name, lines in zip(names, moving, strict=True)
    ]
    _add_controls(figure, names, words, redraw="scene" in axes)


def _add_controls(figure: go.Figure, names: Sequence[str], words: Words, *, redraw: bool) -> None:
    now = {"mode": "immediate", "frame": {"duration": 0, "redraw": redraw}, "transition": {"duration": 0}}
    running = {**now, "fromcurrent": True, "frame": {"duration": FRAME_MILLISECONDS, "redraw": redraw}}
    buttons = [
        {"label": f"▶ {words.play}", "method": "animate", "args": [None, running]},
        {"label": f"❚❚ {words.pause}", "method": "animate", "args": [[None], now]},
    ]
    corner = {"x": 0, "y": 0, "xanchor": "left", "yanchor": "top"}
    menu = {"type": "buttons", "direction": "left", "buttons": buttons, "showactive": False, "pad": {"t": 56}}
    slider: Trace = {
        "steps": [{"label": name, "method": "animate", "args": [[name], now]} for name in names],
        "active": len(names) - 1,
        # To the right of the buttons, above the slider.
        "currentvalue": {"prefix": f"{words.step} ", "xanchor": "right"},
        "pad": {"t": 70},
        "len": 1.0,
    }
    figure.update_layout(updatemenus=[menu | corner], sliders=[slider | corner])
