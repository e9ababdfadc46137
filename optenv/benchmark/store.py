"""Where results live: one SQLite file, one writer, every cell written once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from optenv.benchmark.work import Work

AnyWork = TypeVar("AnyWork", bound=Work)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS cells (
    key TEXT PRIMARY KEY,
    task TEXT NOT NULL,
    method TEXT NOT NULL,
    identity TEXT NOT NULL,
    result TEXT NOT NULL,
    finished TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) WITHOUT ROWID
"""


class Store:
    """Finished cells by key. Only the process that drives a benchmark writes; anybody may read meanwhile.

    Every cell is a transaction of its own, on the disk before the next is taken in: whatever kills the process, the
    file holds whole cells, and the run that follows goes on behind the last.
    """

    def __init__(self, path: str | Path):
        """Open a store, or make one.

        Raises:
          ValueError: if the file is something else.
        """
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(self.path, timeout=30.0)
        try:
            # A log beside the file: three times the writes a second, and readers do not wait for the writer.
            self._connection.execute("PRAGMA journal_mode=WAL")
            with self._connection:
                self._connection.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise ValueError(f"{self.path}: expected a benchmark's SQLite file; {error}") from error

    def __enter__(self) -> Store:
        """Return the store; it is closed on leaving."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file."""
        self.close()

    def __len__(self) -> int:
        """Return the number of finished cells, of all benchmarks in the file."""
        return int(self._connection.execute("SELECT count(*) FROM cells").fetchone()[0])

    def put(self, cell: Work, result: dict[str, Any]) -> bool:
        """Write a finished cell; one that is there already stays as it is.

        Returns:
          Whether it was new.
        """
        row = (cell.key, cell.task, cell.name, json.dumps(cell.identity), json.dumps(result))
        with self._connection:
            done = self._connection.execute(
                "INSERT OR IGNORE INTO cells (key, task, method, identity, result) VALUES (?, ?, ?, ?, ?)", row
            )
        return done.rowcount == 1

    def get(self, cell: Work) -> dict[str, Any] | None:
        """Return the result of a cell, None where it is not finished."""
        found = self._connection.execute("SELECT result FROM cells WHERE key = ?", (cell.key,)).fetchone()
        return None if found is None else json.loads(found[0])

    def missing(self, cells: Iterable[AnyWork]) -> list[AnyWork]:
        """Return the cells that are not finished, in their order."""
        finished = {key for (key,) in self._connection.execute("SELECT key FROM cells")}
        return [cell for cell in cells if cell.key not in finished]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
