"""The decisions of a run: thinned in memory, and whole in a file of JSON lines or TensorBoard where asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np

from optenv.control.knobs import rate_factor
from optenv.errors import needed_for
from optenv.files import MOST_TEXT, check_file, read_object, reading
from optenv.wrapper.param_groups import ParamGroup, base_rate, group_names

Array = np.ndarray
Record = dict[str, Any]
Packed = tuple[int, float, int, tuple[str, ...], bytes]  # step, loss, skipped, knobs, rate and knobs of each group
NUMBERS_KEPT = 1024
MIN_RECORDS, MAX_RECORDS = 8, 256
MAX_SCALARS = 32
LARGEST = 1e100  # of a number that can be drawn


def capacity(num_groups: int, num_knobs: int = 3) -> int:
    """Return how many decisions are kept in memory, so that their numbers, a rate and the knobs a group, stay few.

    >>> capacity(1), capacity(12), capacity(1000)
    (256, 21, 8)
    """
    return min(MAX_RECORDS, max(MIN_RECORDS, NUMBERS_KEPT // max(1, num_groups * (1 + num_knobs))))


class DecisionLog:
    """Remembers decisions, and writes them where the user wants it.

    What is kept in memory is bounded: when it is full, every second record is dropped, and from then
    on every second decision recorded, so the whole run stays covered, evenly.
    """

    def __init__(self, to: Any = None):
        """Remember decisions, and write every one `to` what `open_writer` opens."""
        self._writer = open_writer(to)
        self._records: list[Packed] = []
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._stride, self._seen = 1, 0

    def stop_writing(self) -> None:
        """Write no more; decisions are still remembered."""
        self._writer = None

    def add(
        self, step: int, loss: float, groups: Sequence[ParamGroup], values: dict[str, Array], skipped: int = 0
    ) -> None:
        """Take in one decision.

        Args:
          step: steps taken before it.
          loss: mean loss of the last interval; NaN where there is none.
          groups: the base optimizer's parameter groups, with the rates the user set.
          values: knob values by name, [1, G] each.
          skipped: steps skipped so far.
        """
        rate = np.array([[base_rate(group) for group in groups]]) * rate_factor(values)
        numbers = np.concatenate([rate, *values.values()]).astype(np.float32)  # [1 + knobs, G]
        names = tuple(values)
        # Bytes and shared names: of few groups an array's own header would weigh more than what is in it.
        record = (step, loss, skipped, self._names.setdefault(names, names), numbers.tobytes())
        if self._writer is not None:
            self._writer.add(_readable(*record), group_names(groups))
        self._keep(record, capacity(len(groups), len(values)))

    def _keep(self, record: Packed, most: int) -> None:
        while len(self._records) >= most:
            self._records, self._stride = self._records[::2], 2 * self._stride
        if self._seen % self._stride == 0:
            self._records.append(record)
        self._seen += 1

    def records(self) -> list[dict[str, Any]]:
        """Return what is kept, oldest first, as in the file."""
        return [_readable(*record) for record in self._records]


def _readable(step: int, loss: float, skipped: int, knobs: tuple[str, ...], numbers: bytes) -> dict[str, Any]:
    """Return a record in JSON's types: one number per group; what is not known is None."""
    rows = np.frombuffer(numbers, np.float32).reshape(1 + len(knobs), -1)
    by_name = dict(zip(("rate", *knobs), map(_numbers, rows), strict=True))
    return {"step": step, "loss": loss if math.isfinite(loss) else None, "skipped": skipped, **by_name}


def _numbers(values: Array) -> list[float | None]:
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values.tolist()]


class DecisionWriter(Protocol):
    """Writes decisions, as they are made."""

    def add(self, record: Record, groups: Sequence[str]) -> None:
        """Take in one decision.

        Args:
          record: "step" and "loss", and by name a list with a number, or None, for each group.
          groups: names of the parameter groups.
        """


def open_writer(trace: Any) -> DecisionWriter | None:
    """Return what writes decisions where `trace=` asks for it.

    Args:
      trace: a path that ends in `.jsonl` is a file of JSON lines, every other path a TensorBoard directory;
        anything with `add_scalar` is a TensorBoard writer; None writes nothing.

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
    with reading(path, "decisions of a controlled optimizer, lines of JSON"):
        for record in _records(path):
            if "groups" in record:
                groups = record["groups"]
                continue
            while decisions and decisions[-1][0]["step"] >= record["step"]:
                decisions.pop()
            decisions.append((record, groups))
    return decisions


def _records(path: Path) -> Iterator[Record]:
    """Yield what every line holds, but for a last one that was cut short."""
    with check_file(path).open("rb") as file:
        for number, line in enumerate(iter(partial(file.readline, MOST_TEXT), b""), start=1):
            try:
                record = read_object(line)
                _check(record)
            except ValueError as error:
                if file.read(1):
                    raise ValueError(f"line {number} is {line[:40]!r}: {error}") from error
                return
            yield record


def _check(record: Record) -> None:
    """Check that a line holds the groups' names, or a decision: whole step, loss, and numbers by knob."""
    names, step = record.get("groups"), record.get("step")
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return
    knobs = [value for name, value in record.items() if name not in ("step", "loss", "skipped")]
    lists = {"rate", "loss"} <= record.keys() and all(isinstance(value, list) for value in knobs)
    whole = type(step) is int and type(record.get("skipped", 0)) is int
    if not whole or not lists or not all(map(_is_number, [step, record["loss"], *chain(*knobs)])):
        raise ValueError("expected names of groups, or a step, a loss, and numbers for every group")


def _is_number(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and abs(value) <= LARGEST)


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
        for tag, value in scalars(record, groups).items():
            if value is not None:
                self._writer.add_scalar(tag, value, record["step"])
        if self._own:
            self._writer.flush()


def scalars(record: Record, groups: Sequence[str]) -> dict[str, float | None]:
    """Return a decision as numbers by tag: each group's, or with many groups the least, the median and the largest."""
    found = {"control/loss": record["loss"]}
    for name, values in record.items():
        if not isinstance(values, list):
            continue
        known = [value for value in values if value is not None]
        few = dict(zip(groups, values, strict=True))
        many = {"lowest": min(known), "median": median(known), "highest": max(known)} if known else {}
        chosen = few if len(groups) <= MAX_SCALARS else many
        found |= {f"control_{name}/{group}": value for group, value in chosen.items()}
    return found


def _summary_writer() -> Any:
    with needed_for("a log for TensorBoard"):
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter
