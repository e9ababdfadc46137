"""Exports: numbers, pictures or a page, each with the settings that reproduce it."""

from __future__ import annotations

import csv
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.playground.fields import Settings
from agents.playground.settings import to_link
from optenv.benchmark.page import table
from optenv.figures import draw, figure_to_rgb
from optenv.figures.picture import Picture
from optenv.figures.plotly_animation import Words
from optenv.figures.plotly_canvas import ENGLISH, plotly_figure

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Exhibit:
    """What a page shows.

    Attributes:
      settings: what it was made from.
      summary: its table.
      rows: its numbers.
      pictures: its figures by title.
      words: on the controls of its animations.
    """

    settings: Settings
    summary: Rows
    rows: Rows
    pictures: Mapping[str, Picture]
    words: Words = ENGLISH


def to_csv(exhibit: Exhibit) -> bytes:
    """Return the numbers as CSV; the first line is a comment with the settings as JSON."""
    names = list(dict.fromkeys(name for row in exhibit.rows for name in row))
    text = io.StringIO()
    text.write(f"# {json.dumps(exhibit.settings.to_dict())}\n")
    writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(exhibit.rows)
    return text.getvalue().encode()


def to_json(exhibit: Exhibit) -> bytes:
    """Return settings, table and numbers as JSON; what is not finite is null. The page reads the settings back."""
    document = {
        "settings": exhibit.settings.to_dict(),
        "link": f"?settings={to_link(exhibit.settings)}",
        "summary": [_plain(row) for row in exhibit.summary],
        "rows": [_plain(row) for row in exhibit.rows],
    }
    return json.dumps(document, indent=1, allow_nan=False).encode()


def to_png(exhibit: Exhibit) -> bytes:
    """Return the figures below each other as a PNG, the settings as JSON in its text entry `settings`.

    Raises:
      ImportError: if matplotlib is not installed.
    """
    frames = [figure_to_rgb(draw(picture)) for picture in exhibit.pictures.values()]  # matplotlib: it needs no browser
    from matplotlib.image import imsave

    width = max(frame.shape[1] for frame in frames)
    sides = [((0, 0), (0, width - frame.shape[1]), (0, 0)) for frame in frames]
    padded = [np.pad(frame, side, constant_values=255) for frame, side in zip(frames, sides, strict=True)]
    file = io.BytesIO()
    metadata = {"settings": json.dumps(exhibit.settings.to_dict())}
    imsave(file, np.concatenate(padded), format="png", metadata=metadata)
    return file.getvalue()


def to_html(exhibit: Exhibit) -> bytes:
    """Return figures that can be played and turned, table and settings as one page that needs no network."""
    figures: list[str] = []
    for title, picture in exhibit.pictures.items():
        drawn = plotly_figure(picture, exhibit.words).to_html(
            full_html=False, include_plotlyjs=not figures, auto_play=False
        )
        figures.append(f"<h2>{html.escape(title)}</h2>\n{drawn}")
    settings = json.dumps(exhibit.settings.to_dict(), indent=1)
    inert = settings.replace("<", "\\u003c")  # a script element must not be closed from inside
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>OptControl playground</title>\n'
        "<style>body{font-family:sans-serif;max-width:70rem;margin:auto;padding:1rem}"
        "td,th{padding:.2rem .6rem;text-align:right}</style></head><body>\n<h1>OptControl playground</h1>\n"
        f'<script type="application/json" id="settings">{inert}</script>\n'
        + "\n".join(figures)
        + f"\n{_table(exhibit.summary)}\n<h2>settings</h2>\n<pre>{html.escape(settings)}</pre>\n</body></html>\n"
    ).encode()


FORMATS = {
    "CSV": (to_csv, "csv", "text/csv"),
    "JSON": (to_json, "json", "application/json"),
    "PNG": (to_png, "png", "image/png"),
    "HTML": (to_html, "html", "text/html"),
}
"""What makes a file of each format, the end of its name, and its media type."""


def _table(rows: Rows) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return table(names, [[_text(row.get(name)) for name in names] for row in rows])


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
