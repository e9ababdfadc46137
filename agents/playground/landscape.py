"""Pictures of a race: paths over contours or a surface with frames to play, and curves over iterations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agents.playground.measures import inside
from agents.playground.race import Race
from optenv.figures.picture import GREY, Axis, Field, Layer, Line, Panel, Picture, marker, scale_for, style
from optenv.tasks.functions import TestFunction

Array = np.ndarray
Say = Callable[[str], str]
Bounds = tuple[float, float, float, float]
GRID = 121
FRAMES = 40


@dataclass(frozen=True)
class Ground:
    """A function over its domain, as heights to draw.

    Attributes:
      function: the function.
      log: whether heights are log10(1 + loss) instead of the loss.
      x: columns, [W].
      y: rows, [H].
      heights: [H, W].
    """

    function: TestFunction
    log: bool
    x: Array
    y: Array
    heights: Array

    @classmethod
    def of(cls, function: TestFunction, *, log: bool, grid: int = GRID) -> Ground:
        """Evaluate a function on a grid of its domain."""
        low_x, high_x, low_y, high_y = function.bounds
        x, y = np.linspace(low_x, high_x, grid), np.linspace(low_y, high_y, grid)
        return cls(function, log, x, y, _height(function, np.stack(np.meshgrid(x, y), -1), log))

    def height(self, points: Array) -> Array:
        """Return the heights, [T], of the surface as it is drawn, and a little above, at points, [T, 2]."""
        columns = np.interp(points[:, 0], self.x, np.arange(len(self.x)))
        rows = np.interp(points[:, 1], self.y, np.arange(len(self.y)))
        i, j = rows.astype(int).clip(max=len(self.y) - 2), columns.astype(int).clip(max=len(self.x) - 2)
        u, v = rows - i, columns - j
        h = self.heights
        low, high = (1 - v) * h[i, j] + v * h[i, j + 1], (1 - v) * h[i + 1, j] + v * h[i + 1, j + 1]
        return (1 - u) * low + u * high + 0.01 * np.ptp(h)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Return places on the colour bar, with the losses there."""
        if not self.log:
            return ()
        top = 10 ** self.heights.max() - 1
        losses = [0.0, *(10.0**k for k in range(-2, 7) if 0.02 * top < 10.0**k <= top or 1 <= 10.0**k <= top)]
        return tuple((float(np.log10(1 + loss)), f"{loss:g}") for loss in losses)


def _height(function: TestFunction, points: Array, log: bool) -> Array:
    import torch

    loss = function.evaluate(torch.from_numpy(np.ascontiguousarray(points))).numpy()
    return np.log10(1 + np.maximum(loss, 0.0)) if log else loss


def landscape(race: Race, *, view: str, log: bool, colors: str, say: Say = str) -> Picture:
    """Show the paths of a race over its function.

    A path outside the domain is not drawn; where it leaves there is a cross, where it diverged an open one.

    Args:
      race: what happened.
      view: "contour" or "surface".
      log: whether heights and colours are log10(1 + loss).
      colors: the colour map.
      say: translates a word.
    """
    ground = Ground.of(race.function, log=log, grid=GRID if view == "contour" else 81)
    lift = ground.height if view == "surface" else None
    low_x, high_x, low_y, high_y = race.function.bounds
    minima = np.array(race.function.minima, float)
    kind = Field(ground.x, ground.y, ground.heights, view, say("loss"), ground.ticks(), colors)
    layers: list[Layer] = [kind, *_paths(race, lift, say)]
    layers.append(_marks(race.points[0, :1], lift, say("start"), "#FFFFFF", "o", 7))
    layers.append(_marks(minima, lift, say("minimum"), "#F0E442", "*", 9))
    frames = _frames(race, lift)
    z = Axis(say("log10(1 + loss)") if log else say("loss")) if lift else None
    x, y = Axis("x", limits=(low_x, high_x)), Axis("y", limits=(low_y, high_y))
    panel = Panel(x, y, tuple(layers), z=z, height=5.2, frames=frames, frame_names=_frame_names(race))
    return Picture((panel,), width=8.0)


def curves(race: Race, *, say: Say = str) -> Picture:
    """Show loss and gradient norm over iterations; a curve ends where its method diverged."""
    steps = np.arange(race.losses.shape[1])
    panels: list[Panel] = []
    for title, values in ((say("loss"), race.losses), (say("gradient norm (loss / distance)"), race.gradient_norms)):
        shown = np.where(values > 0, values, np.nan)  # on a logarithmic axis 0 has no place
        lines = []
        for k, label in enumerate(race.labels):
            color, dash = style(k)
            end = race.diverged_at[k] >= 0
            lines.append(Line(steps, shown[k], label=label, color=color, dash=dash))
            if end and np.isfinite(shown[k]).any():
                last = np.flatnonzero(np.isfinite(shown[k]))[-1]
                lines.append(Line([last], [shown[k, last]], color=color, marker="x", size=6, width=0))
        axis = Axis(title, scale_for(shown))
        x = Axis(say("iteration"), limits=(0, len(steps) - 1))
        panels.append(Panel(x, axis, tuple(lines), height=2.6, legend="" if panels else "shared"))
    return Picture(tuple(panels), width=8.0, stacked=True)


def clip_path(points: Array, bounds: Bounds) -> Array:
    """Cut a path at the border of a box.

    Args:
      points: the path, [T, 2]; NaN after a divergence.
      bounds: (x low, x high, y low, y high).

    Returns:
      The part inside with the places where it crosses the border, [S, 2]; a row of NaN stands for each
      part outside.
    """
    kept: list[Array] = []
    gap = np.full(2, np.nan)
    for start, end in zip(points[:-1], points[1:], strict=True):
        piece = _clip_segment(start, end, bounds)
        if piece is None:
            kept.append(gap)
            continue
        first, last = piece
        if not kept or not np.array_equal(kept[-1], first):
            kept += [gap, first] if kept else [first]
        kept.append(last)
    if not kept and len(points) and inside(points[:1], bounds)[0]:
        kept.append(points[0])
    return np.array(kept).reshape(-1, 2)


def _clip_segment(start: Array, end: Array, bounds: Bounds) -> tuple[Array, Array] | None:
    """Liang and Barsky's (1984) clipping of a segment to a box."""
    if not (np.isfinite(start).all() and np.isfinite(end).all()):
        return None
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    enter, leave = 0.0, 1.0
    for a, d, least, most in zip(start, end - start, low, high, strict=True):
        if d == 0:
            if not least <= a <= most:
                return None
            continue
        near, far = sorted(((least - a) / d, (most - a) / d))
        enter, leave = max(enter, near), min(leave, far)
    if enter > leave:
        return None
    first = start if enter == 0.0 else np.clip(start + enter * (end - start), low, high)
    return first, end if leave == 1.0 else np.clip(start + leave * (end - start), low, high)


def exits(race: Race) -> list[Array | None]:
    """Return where each path first crosses the border of the domain, [2], or None where it never does."""
    result: list[Array | None] = []
    for path in race.points:
        out = np.flatnonzero(~inside(path, race.function.bounds) & np.isfinite(path).all(-1))
        if not out.size or out[0] == 0:
            result.append(None)
            continue
        piece = _clip_segment(path[out[0] - 1], path[out[0]], race.function.bounds)
        result.append(None if piece is None else piece[1])
    return result


def _paths(race: Race, lift: Callable[[Array], Array] | None, say: Say) -> list[Line]:
    lines: list[Line] = []
    left: list[Line] = []
    lost: list[Line] = []
    for k, (label, out) in enumerate(zip(race.labels, exits(race), strict=True)):
        color, dash = style(k)
        x, y, z = _coordinates(clip_path(race.points[k], race.function.bounds), lift)
        lines.append(Line(x, y, z, label, color, dash, width=1.6, halo=lift is None, opacity=0.75))
        diverged = race.diverged_at[k] >= 0
        place = out if out is not None else _last_inside(race, k) if diverged else None
        if place is not None:
            (lost if diverged else left).append(
                Line(*_coordinates(place[None], lift), color=color, width=0, marker="x" if diverged else "X", size=8)
            )
    named = []
    for marks, label in ((left, say("leaves the view")), (lost, say("diverges"))):
        if marks:
            named.append(
                Line([], [], None if lift is None else [], label, GREY, marker=marks[0].marker, width=0, size=8)
            )
    return [*lines, *left, *lost, *named]


def _last_inside(race: Race, k: int) -> Array | None:
    finite = np.flatnonzero(inside(race.points[k], race.function.bounds))
    return race.points[k, finite[-1]] if finite.size else None


def _marks(points: Array, lift: Callable[[Array], Array] | None, label: str, color: str, sign: str, size: int) -> Line:
    return Line(*_coordinates(points, lift), label, color, width=0, marker=sign, size=size, halo=True)


def _frame_steps(race: Race) -> Array:
    last = race.points.shape[1] - 1
    return np.unique(np.linspace(0, last, min(FRAMES, last) + 1).round().astype(int))


def _frame_names(race: Race) -> tuple[str, ...]:
    return tuple(map(str, _frame_steps(race)))


def _frames(race: Race, lift: Callable[[Array], Array] | None) -> tuple[tuple[Line, ...], ...]:
    """Draw each method as a head with a tail over the last two frames; whoever is outside or lost is not drawn."""
    steps, frames = _frame_steps(race), []
    for number, t in enumerate(steps):
        begin = steps[max(0, number - 2)]
        lines = []
        for k, path in enumerate(race.points):
            color, dash = style(k)
            tail = clip_path(path[begin : t + 1], race.function.bounds)
            here = path[t : t + 1] if inside(path[t : t + 1], race.function.bounds)[0] else path[:0]
            lines.append(Line(*_coordinates(tail, lift), "", color, dash, width=3.0))
            lines.append(
                Line(*_coordinates(here, lift), "", color, width=0, marker=marker(k), size=6.5, halo=lift is None)
            )
        frames.append(tuple(lines))
    return tuple(frames)


def _coordinates(points: Array, lift: Callable[[Array], Array] | None) -> tuple[Array, Array, Array | None]:
    """Return x, y and, over a surface, heights, [T] each."""
    if lift is None:
        return points[:, 0], points[:, 1], None
    known = np.isfinite(points).all(-1)
    heights = np.full(len(points), np.nan)
    heights[known] = lift(points[known])
    return points[:, 0], points[:, 1], heights
