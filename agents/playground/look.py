"""How a method is drawn on every page: its colour is its optimizer's, its dash its controller's."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from agents.registry import names
from optenv.figures.picture import GREY, MARKERS, Line

COLORS = {
    "gd": "#6E6E6E",
    "sgd": "#0072B2",
    "rmsprop": "#A6761D",
    "adagrad": "#999933",
    "adam": "#D55E00",
    "amsgrad": "#CC6677",
    "adamw": "#E69F00",
    "nadam": "#B0307A",
    "sophia": "#CC79A7",
    "lion": "#009E73",
    "lars": "#56B4E9",
    "adan": "#7B61FF",
    "mars": "#E7298A",
    "prodigy": "#44AA99",
}
"""One colour for each optimizer, readable on light and dark."""

DASHES = (
    "7,4", "2,3", "7,3,2,3", "14,4", "14,4,2,4", "7,3,2,3,2,3", "14,4,7,4", "2,7", "14,4,2,4,2,4", "14,9", "7,9",
    "14,4,14,4,2,4", "2,3,2,7", "7,3,7,9", "14,4,7,4,7,4",
)  # fmt: skip
"""Strokes and gaps in pixels, for controllers; an optimizer alone is solid."""

_FIRST = ("ppo", "cosine", "auto", "adaptive", "optbrain")  # those most often compared get the plainest dashes
PALE = 0.18


def color_of(optimizer: str) -> str:
    """Return the colour of an optimizer, "#RRGGBB"; grey for one that has none."""
    return COLORS.get(optimizer, GREY)


def dash_of(controller: str) -> str:
    """Return the dash of a controller; "solid" for "neutral" and for none."""
    order = _controllers()
    return DASHES[order.index(controller) % len(DASHES)] if controller in order else "solid"


def marker_of(controller: str) -> str:
    """Return the marker of a controller's points."""
    order = ["neutral", *_controllers()]
    return MARKERS[order.index(controller) % len(MARKERS)] if controller in order else MARKERS[0]


def _controllers() -> list[str]:
    """Return the controllers that have a dash and a marker of their own, in a fixed order."""
    return [name for name in dict.fromkeys((*_FIRST, *names())) if name != "neutral"]


def stand_out(line: Line, name: str, chosen: Collection[str]) -> Line:
    """Return the line of a method as it is drawn where some methods are chosen: the others step back."""
    if not chosen:
        return line
    return replace(line, width=1.5 * line.width) if name in chosen else replace(line, opacity=PALE)
