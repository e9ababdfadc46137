"""Where decisions are written to, besides memory: lines of JSON, or TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from optenv.errors import missing_extra

Record = dict[str, Any]
MAX_SCALARS = 32


class Sink(Protocol):
    """Takes decisions, as they are made."""

    def add(self, record: Record, groups: Sequence[str]) -> None:
        """Take in one decision.

        Args:
          record: "step" and "loss", and by name a list with a number, or None, for each group.
          groups: names of the parameter groups.
        """


def open_sink(trace: Any) -> Sink | None:
    """Return the sink that `trace=` asks for, by one rule.

    Args:
      trace: a path that ends in `.jsonl` is a file of JSON lines, every other path a TensorBoard directory;
        anything with `add_scalar` is a TensorBoard writer; None is no sink.

    Raises:
      ImportError: if TensorBoard is asked for and not installed.
      TypeError: if it is none of these.
    """
    if trace is None:
        return None
    if isinstance(trace, (str, Path)):
        return JsonLines(Path(trace)) if Path(trace).suffix == ".jsonl" else TensorBoard(trace)
    if callable(getattr(trace, "add_scalar", None)):
        return TensorBoard(trace.log_dir if hasattr(trace, "log_dir") else ".", trace)
    raise TypeError(
        "trace: expected a path ending in .jsonl, a directory for TensorBoard, or a writer with add_scalar; "
        f"received {type(trace).__name__}"
    )


class JsonLines:
    """A file with a line for each decision and, before the first and where they change, one with the groups' names."""

    def __init__(self, path: Path):
        """Append to `path`."""
        self._path, self._groups = path, None
        path.parent.mkdir(parents=True, exist_ok=True)

    _groups: list[str] | None

    def add(self, record: Record, groups: Sequence[str]) -> None:
        """Append a line; it is on disk when this returns."""
        lines = [record]
        if list(groups) != self._groups:
            self._groups = list(groups)
            lines.insert(0, {"groups": self._groups})
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def read_lines(path: Path) -> list[tuple[Record, list[str]]]:
    """Return the decisions of a JSON-lines file, each with its groups' names; of steps written twice the last.

    A run that goes on from a checkpoint repeats decisions. A last line that was cut short is left out.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if a line is no record.
    """
    decisions: list[tuple[Record, list[str]]] = []
    groups: list[str] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        record = _parsed(line)
        if isinstance(record.get("groups"), list):
            groups = record["groups"]
        elif isinstance(record.get("step"), int) and isinstance(record.get("rate"), list):
            while decisions and decisions[-1][0]["step"] >= record["step"]:
                decisions.pop()
            decisions.append((record, groups))
        elif number < len(lines):
            raise ValueError(f"{path}: expected decisions of a controlled optimizer; line {number} is {line[:40]!r}")
    return decisions


def _parsed(line: str) -> Record:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return record if isinstance(record, dict) else {}


class TensorBoard:
    """Scalars for TensorBoard: each group's, or with many groups the least, the median and the largest."""

    def __init__(self, directory: str | Path, writer: Any = None):
        """Write to the user's own `writer`, or to a new one in `directory`, opened at the first decision.

        Raises:
          ImportError: if TensorBoard is not installed.
        """
        self._directory, self._writer, self._own = str(directory), writer, writer is None
        if self._own:
            _summary_writer()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy writes to the same directory; a writer holds threads and cannot be copied."""
        return TensorBoard, (self._directory,)

    def add(self, record: Record, groups: Sequence[str]) -> None:
        """Write the scalars "control/loss" and "control_rate/GROUP", "control_scale/GROUP" and so on."""
        if self._writer is None:
            self._writer = _summary_writer()(self._directory)
        for tag, value in _scalars(record, groups).items():
            if value is not None:
                self._writer.add_scalar(tag, value, record["step"])
        if self._own:
            self._writer.flush()


def _scalars(record: Record, groups: Sequence[str]) -> dict[str, float | None]:
    scalars = {"control/loss": record["loss"]}
    for name, values in record.items():
        if not isinstance(values, list):
            continue
        known = [value for value in values if value is not None]
        few = dict(zip(groups, values, strict=True))
        many = {"lowest": min(known), "median": median(known), "highest": max(known)} if known else {}
        chosen = few if len(groups) <= MAX_SCALARS else many
        scalars |= {f"control_{name}/{group}": value for group, value in chosen.items()}
    return scalars


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing_extra("tensorboard", "rl") from error
    return SummaryWriter
