"""Background jobs: threads whose events a page polls; they stop on request, or once nobody polls them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

PATIENCE = 60.0
"""Seconds without a poll after which a job stops, because its page is gone."""

# At most this many jobs work at once; the others wait their turn, so that the pages stay quick for everybody.
_turns = threading.BoundedSemaphore(max(1, (os.cpu_count() or 2) - 1))


class Job:
    """Work that yields events, done in a thread of its own.

    Attributes:
      settings: what it was made from.
      state: "waiting", "running", "done", "stopped" or "failed".
      error: what went wrong, if it failed.
    """

    def __init__(self, work: Callable[[], Iterator[Any]], settings: Any):
        """Begin.

        Args:
          work: makes the iterator whose items are the events.
          settings: what the work is made from, for whoever shows the events.
        """
        self.settings, self.state = settings, "waiting"
        self.error: Exception | None = None
        self._work, self._events = work, []  # type: Callable[[], Iterator[Any]], list[Any]
        self._stop, self._polled = threading.Event(), time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True, name="playground job")
        self._thread.start()

    def events(self) -> list[Any]:
        """Return all events so far, oldest first; polling keeps the job alive."""
        self._polled = time.monotonic()
        return list(self._events)

    @property
    def active(self) -> bool:
        """Whether there may be more events."""
        return self.state in ("waiting", "running")

    def stop(self) -> None:
        """Ask it to end after the event that it is working on."""
        self._stop.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most `timeout` seconds."""
        self._thread.join(timeout)

    def _run(self) -> None:
        import torch

        while not _turns.acquire(timeout=0.1):
            if self._abandoned():
                self.state = "stopped"
                return
        try:
            # Holds for this thread; the next one's numbers do not depend on how many there are.
            torch.set_num_threads(1)
            self.state = "running"
            self.state = self._follow()
        except Exception as error:  # noqa: BLE001 - whatever a task or an optimizer raises is shown, not lost
            self.error, self.state = error, "failed"
        finally:
            _turns.release()

    def _follow(self) -> str:
        if self._abandoned():
            return "stopped"
        for event in self._work():
            self._events.append(event)
            if self._abandoned():
                return "stopped"
        return "done"

    def _abandoned(self) -> bool:
        return self._stop.is_set() or time.monotonic() - self._polled > PATIENCE
