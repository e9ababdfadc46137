"""The report of a benchmark: text for the terminal, CSV, PNG, and one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from optenv.benchmark import page
from optenv.benchmark.pictures import PICTURES
from optenv.benchmark.results import Results, Row, summarise
from optenv.benchmark.tables import (
    HEADER,
    LEGEND,
    format_rates,
    format_rows,
    format_suites,
    format_tasks,
    markdown,
    write_runs,
)

TITLE = "OptControl benchmark"
MAX_COLUMNS = 8


def write_report(results: Sequence[Results], folder: Path) -> str:
    """Write `benchmark.md`, `runs.csv`, pictures and `benchmark.html` into a folder.

    Args:
      results: of one or more suites.
      folder: where to; it is made.

    Returns:
      The text of `benchmark.md`, and a line more if there are no pictures for want of matplotlib.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [summarise(result) for result in results]
    text = _text(results, rows)
    (folder / "benchmark.md").write_text(text)
    write_runs(results, folder / "runs.csv")
    try:
        images = [_draw(result, own, folder) for result, own in zip(results, rows, strict=True)]
    except ImportError as error:  # the numbers are worth having without the pictures
        images = [{} for _ in results]
        text += f"\nNo picture was drawn: {error}\n"
    (folder / "benchmark.html").write_text(_html(results, rows, images))
    return text


def _text(results: Sequence[Results], rows: Sequence[Sequence[Row]]) -> str:
    parts = []
    for result, own in zip(results, rows, strict=True):
        parts += [f"## {result.suite.name}: {_about(result)}", markdown(HEADER, format_rows(own))]
        header, lines = format_rates(result, [row.method for row in own])
        parts += [markdown(header, lines)] if lines else []
        parts += [f"{name}: not run, {why}" for name, why in result.missing.items()]
    if len(results) > 1:
        names = [result.suite.name for result in results]
        parts += ["## every suite on its own", markdown(*format_suites(dict(zip(names, rows, strict=True))))]
    return "\n\n".join([*parts, LEGEND]) + "\n"


def _about(result: Results) -> str:
    suite = result.suite
    rates = ", ".join(f"{rate:.0e}" for rate in suite.rates)
    why = f"{suite.why}; " if suite.why else ""
    return f"{why}{len(suite.cases)} tasks, {suite.num_seeds} paired seeds, base rates {rates}"


def _draw(result: Results, rows: Sequence[Row], folder: Path) -> dict[str, bytes]:
    """Write a suite's pictures, and return them by caption."""
    images = {}
    for name, (caption, make) in PICTURES.items():
        buffer = BytesIO()
        make(result, rows).savefig(buffer, format="png")
        images[caption] = buffer.getvalue()
        (folder / f"{result.suite.name}_{name}.png").write_bytes(images[caption])
    return images


def _html(results: Sequence[Results], rows: Sequence[Sequence[Row]], images: Sequence[dict[str, bytes]]) -> str:
    parts = [page.heading(TITLE, 1)]
    if len(results) > 1:
        names = [result.suite.name for result in results]
        parts += [page.heading("Every suite on its own"),
                  page.table(*format_suites(dict(zip(names, rows, strict=True))))]  # fmt: skip
    for result, own, pictures in zip(results, rows, images, strict=True):
        parts += _section(result, own, pictures)
    parts += [page.heading("How to read it"), page.notes(LEGEND), page.heading("Methods")]
    parts += [page.definitions({m.name: m.why for result in results for m in result.methods})]
    parts += [page.definitions(facts) for facts in [results[0].facts] if facts]
    return page.page(TITLE, parts)


def _section(result: Results, rows: Sequence[Row], pictures: dict[str, bytes]) -> list[str]:
    classes = {row.method: row.role for row in rows}
    best = [row.method for row in rows]
    parts = [page.heading(f"Suite {result.suite.name}"), page.paragraph(_about(result) + ".")]
    parts += [page.table(HEADER, format_rows(rows), classes)]
    header, lines = format_rates(result, best)
    if lines:
        parts += [page.heading("By base learning rate", 3), page.table(header, lines, classes)]
    parts += [page.heading("By task, the best methods", 3), page.table(*format_tasks(result, best[:MAX_COLUMNS]))]
    parts += [page.paragraph(f"{name}: not run, {why}.") for name, why in result.missing.items()]
    return [*parts, page.pictures(pictures)]
