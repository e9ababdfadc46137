"""The report of a benchmark: text for the terminal, CSV, PNG, and one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from optenv.benchmark import page
from optenv.benchmark.pictures import PICTURES, curve_figure
from optenv.benchmark.results import Results, Summary, summarise
from optenv.benchmark.tables import (
    HEADER,
    LEGEND,
    format_places,
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
      results: of one or more suites, by one or more scores.
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


def write_comparison(results: Sequence[Results], path: Path) -> str:
    """Write one suite's report, with a table by task and base rate and curves of the test losses for every score.

    Args:
      results: of the suite, by one or more scores.
      path: without an ending; the files beside it end in `.md`, `.csv` and `_SCORE.png`.

    Returns:
      The text of the `.md`, and a line more if there is no picture for want of matplotlib.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [part for r in results for part in (*_suite_text(r, summarise(r)), markdown(*format_places(r)))]
    text = "\n\n".join([*parts, LEGEND]) + "\n"
    path.with_suffix(".md").write_text(text)
    write_runs(results, path.with_suffix(".csv"))
    try:
        for result in results:
            curve_figure(result).savefig(f"{path}_{result.score.name}.png", dpi=110)
    except ImportError as error:
        text += f"\nNo picture was drawn: {error}\n"
    return text


def _suite_text(result: Results, rows: Sequence[Summary]) -> list[str]:
    header, lines = format_rates(result, [row.method for row in rows])
    return [
        f"## {_title(result)}: {_about(result)}",
        markdown(HEADER, format_rows(rows)),
        *([markdown(header, lines)] if lines else []),
        *(f"{name}: not run, {why}" for name, why in result.missing.items()),
    ]


def _text(results: Sequence[Results], rows: Sequence[Sequence[Summary]]) -> str:
    parts = [part for pair in zip(results, rows, strict=True) for part in _suite_text(*pair)]
    for title, summaries in _by_score(results, rows).items():
        parts += [f"## every suite on its own, {title}", markdown(*format_suites(summaries))]
    return "\n\n".join([*parts, LEGEND]) + "\n"


def _by_score(results: Sequence[Results], rows: Sequence[Sequence[Summary]]) -> dict[str, dict[str, Sequence[Summary]]]:
    """Return the summaries by the score's title and the suite's name, nothing where there is one suite alone."""
    tables: dict[str, dict[str, Sequence[Summary]]] = {}
    for result, own in zip(results, rows, strict=True):
        tables.setdefault(result.score.title, {})[result.suite.name] = own
    return {title: table for title, table in tables.items() if len(table) > 1}


def _title(result: Results) -> str:
    return f"{result.suite.name}, {result.score.title}"


def _about(result: Results) -> str:
    suite = result.suite
    rates = ", ".join(f"{rate:.0e}" for rate in suite.rates)
    why = f"{suite.why}; " if suite.why else ""
    runs = f"{len(suite.cases)} tasks, {suite.num_seeds} paired seeds, base rates {rates}"
    return f"{why}{runs}; reference: {result.reference}"


def _draw(result: Results, rows: Sequence[Summary], folder: Path) -> dict[str, bytes]:
    """Write a suite's pictures, and return them by caption."""
    images = {}
    for name, (caption, make) in PICTURES.items():
        buffer = BytesIO()
        make(result, rows).savefig(buffer, format="png")
        images[caption] = buffer.getvalue()
        (folder / f"{result.suite.name}_{result.score.name}_{name}.png").write_bytes(images[caption])
    return images


def _html(results: Sequence[Results], rows: Sequence[Sequence[Summary]], images: Sequence[dict[str, bytes]]) -> str:
    parts = [page.heading(TITLE, 1)]
    for title, summaries in _by_score(results, rows).items():
        parts += [page.heading(f"Every suite on its own, {title}"), page.table(*format_suites(summaries))]
    for result, own, pictures in zip(results, rows, images, strict=True):
        parts += _section(result, own, pictures)
    parts += [page.heading("How to read it"), page.notes(LEGEND), page.heading("Methods")]
    parts += [page.definitions({m.name: m.why for result in results for m in result.methods})]
    parts += [page.definitions(facts) for facts in [results[0].facts] if facts]
    return page.page(TITLE, parts)


def _section(result: Results, rows: Sequence[Summary], pictures: dict[str, bytes]) -> list[str]:
    classes = {row.method: row.role for row in rows}
    best = [row.method for row in rows]
    parts = [page.heading(f"Suite {_title(result)}"), page.paragraph(_about(result) + ".")]
    parts += [page.table(HEADER, format_rows(rows), classes)]
    header, lines = format_rates(result, best)
    if lines:
        parts += [page.heading("By base learning rate", 3), page.table(header, lines, classes)]
    parts += [page.heading("By task, the best methods", 3), page.table(*format_tasks(result, best[:MAX_COLUMNS]))]
    parts += [page.paragraph(f"{name}: not run, {why}.") for name, why in result.missing.items()]
    return [*parts, page.pictures(pictures)]
