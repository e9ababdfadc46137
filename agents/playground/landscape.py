"""Pictures of a race: paths over contours or a surface with frames to play, and curves over iterations."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np

from agents.playground.look import color_of, dash_of, marker_of, stand_out
from agents.playground.measures import inside
from agents.playground.race import Entrant, Race
from optenv.figures.picture import GREY, Axis, Field, Layer, Line, Panel, Picture, log_ticks, scale_for
from optenv.tasks.functions import TestFunction

Array = np.ndarray
Say = Callable[[str], str]
Bounds = tuple[float, float, float, float]
GRID = 121
FRAMES = 40
MOVING_POINTS = 60_000
LIFT = 0.015
"""How far above the surface a path is drawn, in shares of its height."""


@dataclass(frozen=True)
class Ground:
    """A function over its domain, as heights to draw.

    Attributes:
      log: whether heights are log10(offset + loss) instead of the loss.
      x: columns, [W].
      y: rows, [H].
      heights: [H, W]; NaN where there is none.
      offset: 1 where losses may be 0, else 0.
    """

    log: bool
    x: Array
    y: Array
    heights: Array
    offset: float = 1.0

    @classmethod
    def of(cls, function: TestFunction, *, log: bool, grid: int = GRID) -> Ground:
        """Evaluate a function on a grid of its domain."""
        low_x, high_x, low_y, high_y = function.bounds
        x, y = np.linspace(low_x, high_x, grid), np.linspace(low_y, high_y, grid)
        return cls(log, x, y, _height(function, np.stack(np.meshgrid(x, y), -1), log))

    def height(self, points: Array) -> Array:
        """Return the heights, [T], of the surface as it is drawn, and a little above, at points, [T, 2]."""
        columns = np.interp(points[:, 0], self.x, np.arange(len(self.x)))
        rows = np.interp(points[:, 1], self.y, np.arange(len(self.y)))
        i, j = rows.astype(int).clip(max=len(self.y) - 2), columns.astype(int).clip(max=len(self.x) - 2)
        u, v = rows - i, columns - j
        h = self.heights
        low, high = (1 - v) * h[i, j] + v * h[i, j + 1], (1 - v) * h[i + 1, j] + v * h[i + 1, j + 1]
        return (1 - u) * low + u * high + LIFT * (np.nanmax(h) - np.nanmin(h))

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Return places on the colour bar, with the losses there."""
        if not self.log:
            return ()
        low, high = float(np.nanmin(self.heights)), float(np.nanmax(self.heights))
        if not self.offset:
            return log_ticks(low, high, most=8)
        top = 10**high - 1
        losses = [0.0, *(10.0**k for k in range(-2, 7) if 0.02 * top < 10.0**k <= top or 1 <= 10.0**k <= top)]
        return tuple((float(np.log10(1 + loss)), f"{loss:g}") for loss in losses)

    @property
    def label(self) -> str:
        """What the heights are."""
        return ("log10(1 + loss)" if self.offset else "log10(loss)") if self.log else "loss"


def _height(function: TestFunction, points: Array, log: bool) -> Array:
    import torch

    loss = function.evaluate(torch.from_numpy(np.ascontiguousarray(points))).numpy()
    loss = np.where(np.isfinite(loss), loss, np.nan)  # a gap where a formula has no value
    return np.log10(1 + np.maximum(loss, 0.0)) if log else loss


def landscape(
    race: Race, *, view: str, log: bool, colors: str, chosen: Collection[str] = (), say: Say = str
) -> Picture:
    """Show the paths of a race over its function; as an animation they appear as they were run.

    A path outside the domain is not drawn; where it leaves there is a cross, where it diverged an open one.

    Args:
      race: what happened.
      view: "contour" or "surface".
      log: whether heights and colours are log10(1 + loss).
      colors: the colour map.
      chosen: labels of the methods that stand out.
      say: translates a word.
    """
    ground = Ground.of(race.function, log=log, grid=GRID if view == "contour" else 81)
    times = np.arange(race.points.shape[1])
    return paths_over(ground, race, times, (Axis("x"), Axis("y")), view=view, colors=colors, chosen=chosen, say=say)


def paths_over(
    ground: Ground,
    race: Race,
    times: Array,
    axes: tuple[Axis, Axis],
    *,
    view: str,
    colors: str,
    chosen: Collection[str] = (),
    say: Say = str,
) -> Picture:
    """Show paths over any ground; `times`, [T], are what the iterations are called, and `axes` names x and y."""
    lift = ground.height if view == "surface" else None
    low_x, high_x, low_y, high_y = race.function.bounds
    kind = Field(ground.x, ground.y, ground.heights, view, say("loss"), ground.ticks(), colors)
    layers: list[Layer] = [kind, *_ends(race, lift, say)]
    layers.append(_marks(race.points[0, :1], lift, say("start"), "#FFFFFF", "o", 7))
    if race.function.minima:
        layers.append(_marks(np.array(race.function.minima, float), lift, say("minimum"), "#F0E442", "*", 9))
    x, y = replace(axes[0], limits=(low_x, high_x)), replace(axes[1], limits=(low_y, high_y))
    z = Axis(say(ground.label)) if lift else None
    names = tuple(str(times[step]) for step in _frame_steps(race))
    frames = _frames(race, lift, chosen)
    return Picture(
        (Panel(x, y, tuple(layers), z=z, height=4.4 if lift is None else 5.2, frames=frames, frame_names=names),),
        width=8.0,
    )


def curves(race: Race, *, chosen: Collection[str] = (), say: Say = str) -> Picture:
    """Show loss and gradient norm over iterations; a curve ends where its method diverged."""
    steps = np.arange(race.losses.shape[1])
    panels: list[Panel] = []
    for title, values in ((say("loss"), race.losses), (say("gradient norm (loss / distance)"), race.gradient_norms)):
        shown = np.where(values > 0, values, np.nan)  # on a logarithmic axis 0 has no place
        lines = []
        for k, (label, method) in enumerate(zip(race.labels, race.methods, strict=True)):
            lines.append(_styled(Line(steps, shown[k], label=label), method, chosen))
            if race.diverged_at[k] >= 0 and np.isfinite(shown[k]).any():
                last = np.flatnonzero(np.isfinite(shown[k]))[-1]
                color = color_of(method.optimizer)
                lines.append(Line([last], [shown[k, last]], color=color, marker="x", size=6, width=0))
        axis = Axis(title, scale_for(shown))
        x = Axis(say("iteration"), limits=(0, len(steps) - 1))
        panels.append(Panel(x, axis, tuple(lines), height=2.6, legend="" if panels else "shared"))
    return Picture(tuple(panels), width=8.0, stacked=True)


def _styled(line: Line, method: Entrant, chosen: Collection[str]) -> Line:
    """Give a method's line its optimizer's colour and its controller's dash; under a penalty it is thinner."""
    color, dash = color_of(method.optimizer), dash_of(method.controller)
    thin = 0.6 if method.l1 or method.l2 else 1.0
    return stand_out(replace(line, color=color, dash=dash, width=line.width * thin), method.label, chosen)


def clip_path(points: Array, bounds: Bounds) -> Array:
    """Cut a path at the border of a box.

    Args:
      points: the path, [T, 2]; NaN after a divergence.
      bounds: (x low, x high, y low, y high).

    Returns:
      The part inside with the places where it crosses the border, [S, 2]; a row of NaN stands for each
      part outside.
    """
    return clip_steps(points, bounds)[0]


def clip_steps(points: Array, bounds: Bounds) -> tuple[Array, list[int]]:
    """Cut a path as `clip_path`, and say for each of its points how many rows of the result lead up to it, [T]."""
    kept: list[Array] = []
    gap = np.full(2, np.nan)
    if len(points) and inside(points[:1], bounds)[0]:
        kept.append(points[0])
    ends = [len(kept)]
    for start, end in zip(points[:-1], points[1:], strict=True):
        piece = _clip_segment(start, end, bounds)
        if piece is None:
            kept.append(gap)
        else:
            if not kept or not np.array_equal(kept[-1], piece[0]):
                kept += [gap, piece[0]] if kept else [piece[0]]
            kept.append(piece[1])
        ends.append(len(kept))
    return np.array(kept).reshape(-1, 2), ends


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


def _ends(race: Race, lift: Callable[[Array], Array] | None, say: Say) -> list[Line]:
    """Mark where paths leave the view or are lost."""
    left: list[Line] = []
    lost: list[Line] = []
    for k, (method, out) in enumerate(zip(race.methods, exits(race), strict=True)):
        diverged = race.diverged_at[k] >= 0
        place = out if out is not None else _last_inside(race, k) if diverged else None
        if place is not None:
            color, sign = color_of(method.optimizer), "x" if diverged else "X"
            mark = Line(*_coordinates(place[None], lift), color=color, width=0, marker=sign, size=8)
            (lost if diverged else left).append(mark)
    named = []
    for marks, label in ((left, say("leaves the view")), (lost, say("diverges"))):
        if marks:
            nowhere: list[float] | None = None if lift is None else []
            named.append(Line([], [], nowhere, label, GREY, marker=marks[0].marker, width=0, size=8))
    return [*left, *lost, *named]


def _last_inside(race: Race, k: int) -> Array | None:
    finite = np.flatnonzero(inside(race.points[k], race.function.bounds))
    return race.points[k, finite[-1]] if finite.size else None


def _marks(points: Array, lift: Callable[[Array], Array] | None, label: str, color: str, sign: str, size: int) -> Line:
    return Line(*_coordinates(points, lift), label, color, width=0, marker=sign, size=size, halo=True)


def _frame_steps(race: Race) -> Array:
    last = race.points.shape[1] - 1
    return np.unique(np.linspace(0, last, min(FRAMES, last) + 1).round().astype(int))


def _frames(race: Race, lift: Callable[[Array], Array] | None, chosen: Collection[str]) -> tuple[tuple[Line, ...], ...]:
    """Draw each method's path so far and its head; whoever is outside or lost has no head."""
    steps, bounds = _frame_steps(race), race.function.bounds
    # Long paths are drawn with every few points while they move, so that the page stays light; whole at rest.
    every = max(1, len(race.methods) * len(steps) * race.points.shape[1] // (2 * MOVING_POINTS))
    coarse = np.unique(np.append(np.arange(0, race.points.shape[1], every), steps))
    paths = [clip_steps(path[coarse], bounds) for path in race.points]
    frames = [
        tuple(
            line
            for k, (kept, ends) in enumerate(paths)
            for line in _moment(race, k, t, kept[: ends[np.searchsorted(coarse, t)]], lift, chosen)
        )
        for t in steps[:-1]
    ]
    last, full = int(steps[-1]), [clip_path(path, bounds) for path in race.points]
    rest = (line for k, path in enumerate(full) for line in _moment(race, k, last, path, lift, chosen))
    return (*frames, tuple(rest))


def _moment(
    race: Race, k: int, t: int, path: Array, lift: Callable[[Array], Array] | None, chosen: Collection[str]
) -> tuple[Line, Line]:
    """Draw one method at one iteration: the path that led there, and where it is."""
    method, label = race.methods[k], race.labels[k]
    here = race.points[k, t : t + 1]
    here = here if inside(here, race.function.bounds)[0] else here[:0]
    line = Line(*_coordinates(path, lift), label, width=1.8, halo=lift is None)
    head = Line(*_coordinates(here, lift), "", width=0, marker=marker_of(method.controller), size=6, halo=lift is None)
    return _styled(line, method, chosen), replace(_styled(head, method, chosen), width=0)


def _coordinates(points: Array, lift: Callable[[Array], Array] | None) -> tuple[Array, Array, Array | None]:
    """Return x, y and, over a surface, heights, [T] each."""
    if lift is None:
        return points[:, 0], points[:, 1], None
    known = np.isfinite(points).all(-1)
    heights = np.full(len(points), np.nan)
    heights[known] = lift(points[known])
    return points[:, 0], points[:, 1], heights
