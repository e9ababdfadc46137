"""Where results live: one SQLite file, one writer, every cell written once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from optenv.benchmark.work import Work
from optenv.files import MOST_TEXT, read_object, reading

AnyWork = TypeVar("AnyWork", bound=Work)
COLUMNS = "key, task, method, identity, result"
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
        with self._reading():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=30.0)
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def _open(self) -> None:
        run = self._connection.execute
        if fault := run("PRAGMA quick_check(1)").fetchone()[0].removeprefix("ok"):
            raise ValueError(fault)
        tables = [name for (name,) in run("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
        if tables and tables != ["cells"]:
            raise ValueError(f"expected the table 'cells'; received {', '.join(tables)}")
        # A log beside the file: three times the writes a second, and readers do not wait for the writer.
        run("PRAGMA journal_mode=WAL")
        with self._connection:
            run(_SCHEMA)
        run(f"SELECT {COLUMNS}, finished FROM cells LIMIT 0")

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self.path, "a benchmark's SQLite file")

    def __enter__(self) -> Store:
        """Return the store; it is closed on leaving."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file."""
        self.close()

    def __len__(self) -> int:
        """Return the number of finished cells, of all benchmarks in the file."""
        with self._reading():
            return int(self._connection.execute("SELECT count(*) FROM cells").fetchone()[0])

    def put(self, cell: Work, result: dict[str, Any]) -> bool:
        """Write a finished cell; one that is there already stays as it is.

        Returns:
          Whether it was new.
        """
        row = (cell.key, cell.task, cell.name, json.dumps(cell.identity), json.dumps(result))
        with self._reading(), self._connection:
            done = self._connection.execute(f"INSERT OR IGNORE INTO cells ({COLUMNS}) VALUES (?, ?, ?, ?, ?)", row)
        return done.rowcount == 1

    def get(self, cell: Work) -> dict[str, Any] | None:
        """Return the result of a cell, None where it is not finished.

        Raises:
          ValueError: if what the file holds is no result of it.
        """
        sized = "SELECT CASE WHEN length(result) <= ? THEN result END FROM cells WHERE key = ?"
        with self._reading():
            found = self._connection.execute(sized, (MOST_TEXT, cell.key)).fetchone()
            if found is None:
                return None
            result = read_object(found[0] or "")
            cell.check(result)
            return result

    def missing(self, cells: Iterable[AnyWork]) -> list[AnyWork]:
        """Return the cells that are not finished, in their order."""
        with self._reading():
            finished = {key for (key,) in self._connection.execute("SELECT key FROM cells")}
        return [cell for cell in cells if cell.key not in finished]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
