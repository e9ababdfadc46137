"""The ratios of every release, `benchmarks/history.csv`, so that a loss of speed is seen."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HISTORY = Path(__file__).with_name("history.csv")
CASES = ("model", "task", "runs", "mode", "parameters", "groups", "every")  # columns that say what a row is of
COLUMNS = ("release", "benchmark", "table", "case", "figure", "value")


def record(
    release: str, benchmark: str, tables: Mapping[str, Iterable[Mapping[str, Any]]], path: Path = HISTORY
) -> None:
    """Add a line for every ratio, in place of those that the same release has of the same table.

    Args:
      release: as in the changelog, such as "0.2.0".
      benchmark: name of the script.
      tables: rows by table; `is_ratio` says which of their columns are written, and `CASES` are those that say of what.
      path: the file.
    """
    fresh = [(release, benchmark, table, *cells) for table, rows in tables.items() for cells in _ratios(rows)]
    replaced = {line[:3] for line in fresh}
    kept = [line for line in read(path) if line[:3] not in replaced]
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *kept, *fresh])


def read(path: Path = HISTORY) -> list[tuple[str, ...]]:
    """Return the lines of the file, oldest first; none where there is no file."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return [tuple(line) for line in csv.reader(file)][1:]


def _ratios(rows: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str, str]]:
    for row in rows:
        case = " ".join(str(value) for name, value in row.items() if name in CASES)
        for name, value in row.items():
            if is_ratio(name):
                yield case, name, str(value)


def is_ratio(column: str) -> bool:
    """Say whether a column holds figures that do not depend on how fast a machine is.

    >>> is_ratio("environment / bare"), is_ratio("bare steps/s")
    (True, False)
    """
    return " / " in column or column in ("cost over stacked", "share", "step")
