"""What a figure shows, as data: panels of lines and fields, which a matplotlib and a Plotly canvas draw alike.

The colours are Okabe and Ito's (2008), which colour-blind readers tell apart, without the yellow, too pale for a line
on white; markers and dashes repeat the difference for print. Fields are drawn in maps of even lightness.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("solid", "dash", "dot", "dashdot")
GREY = "#737373"
COLOR_MAPS = ("cividis", "viridis", "magma", "Greys", "Blues")

Ticks = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Axis:
    """One axis of a panel.

    Attributes:
      label: what it measures, with the unit.
      scale: "linear" or "log".
      limits: lower and upper end, None where the data decide; the lower may be the greater.
      ticks: places with what is written there; `()` leaves them to the canvas.
    """

    label: str = ""
    scale: str = "linear"
    limits: tuple[float | None, float | None] = (None, None)
    ticks: Ticks = ()


@dataclass(frozen=True)
class Line:
    """A curve, or with `width` 0 its markers alone.

    Attributes:
      x: horizontal coordinates, [T].
      y: vertical coordinates, [T]; a value that is not finite leaves a gap.
      z: heights in a panel with a surface, [T], else None.
      label: name in the legend; without one it is in no legend.
      color: as "#RRGGBB".
      dash: one of `DASHES`, or lengths of strokes and gaps in pixels by turns, as "7,3,2,3".
      width: in points.
      marker: one of `MARKERS`, "x", "*" or "".
      size: of the marker, in points.
      held: whether a value holds over the interval that ends at its x.
      halo: whether a white rim sets the line off from what lies below it.
      opacity: from 0 to 1.
    """

    x: ArrayLike
    y: ArrayLike
    z: ArrayLike | None = None
    label: str = ""
    color: str = COLORS[-1]
    dash: str = "solid"
    width: float = 1.5
    marker: str = ""
    size: float = 4.0
    held: bool = False
    halo: bool = False
    opacity: float = 1.0


@dataclass(frozen=True)
class Crosses:
    """Crosses at a fraction of the panel's height, for what has no value there.

    Attributes:
      x: horizontal coordinates, [T].
      height: fraction of the panel's height.
      color: as "#RRGGBB".
    """

    x: ArrayLike
    height: float
    color: str


@dataclass(frozen=True)
class Level:
    """A dashed horizontal line through the whole panel."""

    y: float
    label: str


@dataclass(frozen=True)
class Field:
    """Values over a plane, shown by colour, as contours or as a surface.

    Attributes:
      x: columns: their edges, [W + 1], for a heat map, else their places, [W].
      y: rows: their edges, [H + 1], for a heat map, else their places, [H].
      z: values, [H, W]; one that is not finite leaves a gap.
      kind: "heat", "contour" or "surface".
      label: what is shown, with the unit.
      ticks: places on the colour bar with what is written there; `()` leaves them to the canvas.
      colors: one of `COLOR_MAPS`.
      limits: least and greatest value on the colour bar, or None where the data decide.
    """

    x: ArrayLike
    y: ArrayLike
    z: ArrayLike
    kind: str
    label: str = ""
    ticks: Ticks = ()
    colors: str = "cividis"
    limits: tuple[float, float] | None = None


Layer = Line | Crosses | Level | Field


@dataclass(frozen=True)
class Panel:
    """One pair of axes and what is drawn in it, from bottom to top.

    Attributes:
      x: the horizontal axis.
      y: the vertical axis.
      layers: what is drawn.
      title: above the panel.
      height: of the panel in inches of 100 pixels, in the row's first panel.
      legend: "own" above the panel, "shared" below the figure, or "" for none.
      z: the third axis of a panel with a surface, else None.
      frames: an animation: in each frame the same number of lines, drawn on top of the layers; at rest, and in a
        still picture, the last is shown.
      frame_names: what each frame is called, such as its iteration.
    """

    x: Axis
    y: Axis
    layers: tuple[Layer, ...]
    title: str = ""
    height: float = 2.2
    legend: str = "shared"
    z: Axis | None = None
    frames: tuple[tuple[Line, ...], ...] = ()
    frame_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """Panels, filled row by row.

    Attributes:
      panels: at least one.
      columns: panels in a row.
      width: of the whole, in inches of 100 pixels.
      stacked: whether the panels of a column share their horizontal axis.
      label: of the vertical axes together; for panels without labels of their own.
    """

    panels: tuple[Panel, ...]
    columns: int = 1
    width: float = 6.4
    stacked: bool = False
    label: str = ""
    heights: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Collect the heights of the rows."""
        object.__setattr__(self, "heights", tuple(panel.height for panel in self.panels[:: self.columns]))


def style(index: int) -> tuple[str, str]:
    """Return colour and dash of the line of a given index: once through the colours, then again dashed, and so on.

    >>> style(1), style(8)
    (('#0072B2', 'solid'), ('#0072B2', 'dash'))
    """
    round_, place = divmod(index, len(COLORS))
    return COLORS[place], DASHES[round_ % len(DASHES)]


def marker(index: int) -> str:
    """Return the marker of the line of a given index; it moves on by one with every round of the colours."""
    round_, place = divmod(index, len(COLORS))
    return MARKERS[(place + round_) % len(MARKERS)]


def scale_for(curves: Iterable[ArrayLike]) -> str:
    """Return "log" if there are finite values and all of them are positive, else "linear"."""
    return "log" if all_positive(curves) else "linear"


def log_ticks(low: float, high: float, most: int = 5) -> Ticks:
    """Return ticks for a field of logarithms to base 10 of positive numbers, at most `most`.

    >>> log_ticks(-1.0, 1.0)
    ((-1.0, '0.1'), (0.0, '1'), (1.0, '10'))
    >>> [name for _, name in log_ticks(0.0, 0.5)]
    ['1', '2']
    """
    decades = np.arange(np.ceil(low - 1e-9), np.floor(high + 1e-9) + 1)
    values = 10.0**decades if high - low >= 2 else np.outer(10.0 ** np.arange(np.floor(low), high + 1), (1, 2, 5))
    places = np.log10(values.ravel())
    places = places[(places >= low - 1e-9) & (places <= high + 1e-9)]
    if not places.size:
        places = np.unique([low, high])
    places = places[:: -(-len(places) // most)]
    return tuple((float(place), f"{10.0**place:.3g}") for place in places)


def all_positive(arrays: Iterable[ArrayLike]) -> bool:
    """Tell whether there are finite values and all of them are positive.

    >>> all_positive([[1.0, float("inf")], [0.1]]), all_positive([[1.0, 0.0]]), all_positive([[]])
    (True, False, False)
    """
    values = np.concatenate([np.zeros(0), *(floats(array).ravel() for array in arrays)])
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
