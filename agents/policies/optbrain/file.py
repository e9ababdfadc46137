"""The brain's file: an npz without pickled objects, so that loading executes nothing.

It holds "knowledge", what rewards have taught; and of a drop-in "learned", the read-out of its run, and "control",
the whole state of the run.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from optenv.files import NUMBERS, read_npz, read_object, reading

FORMAT = "optcontrol-optbrain"
VERSION = 2
LARGEST = 1e30  # of what is read from a file: float32 holds it, and float64 its square
_ARRAY = "array"


def write(path: str | Path, state: dict[str, Any]) -> None:
    """Write a nested state to exactly `path`; a crash leaves the old file or the new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, format=np.array(FORMAT), version=np.array(VERSION), **packed(state))
    part = path.with_name(path.name + ".part")
    part.write_bytes(buffer.getvalue())
    part.replace(path)


def read(path: str | Path) -> dict[str, Any]:
    """Read what `write` wrote.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, something else, or of another version.
    """
    with reading(path, "a brain file (.npz)"):
        arrays = read_npz(path)
        if str(arrays.get("format")) != FORMAT:
            raise ValueError(f"expected format {FORMAT!r}; received another npz")
        if int(arrays.get("version", 0)) != VERSION:
            raise ValueError(f"expected file version {VERSION}; received {int(arrays.get('version', 0))}")
        return unpacked(arrays)


def is_brain_file(path: str | Path) -> bool:
    """Say whether a file begins as an npz does, whatever its name."""
    path = Path(path)
    if not path.is_file():
        return path.suffix == ".npz"
    with path.open("rb") as file:
        return file.read(2) == b"PK" or path.suffix == ".npz"


def packed(state: dict[str, Any]) -> dict[str, Any]:
    """Turn a nested state of arrays, tensors and plain values into two arrays, whatever it holds.

    >>> state = {"a": [1, None, {"b": np.array([True])}], "c": "d"}
    >>> unpacked(packed(state)) == state
    True
    """
    parts: list[bytes] = []

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(inner) for inner in value]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        array = np.asarray(value)
        start = sum(map(len, parts))
        parts.append(array.tobytes())
        return {_ARRAY: [array.dtype.str, array.shape, start]}

    text = json.dumps(plain(state))
    return {"text": np.array(text), "numbers": np.frombuffer(b"".join(parts), np.uint8)}


def unpacked(arrays: dict[str, Any]) -> dict[str, Any]:
    """Undo `packed`; tensors come back as arrays.

    Raises:
      ValueError: if it is damaged.
    """
    numbers, taken = arrays["numbers"].tobytes(), 0

    def restored(entry: Any) -> Any:
        nonlocal taken
        if isinstance(entry, list):
            return [restored(inner) for inner in entry]
        if not isinstance(entry, dict):
            return entry
        if set(entry) != {_ARRAY}:
            return {name: restored(inner) for name, inner in entry.items()}
        dtype, shape, start = entry[_ARRAY]
        array = np.frombuffer(numbers, dtype, math.prod(shape), start).reshape(shape).copy()
        taken += array.nbytes
        if taken > len(numbers) or array.dtype.kind not in NUMBERS:
            raise ValueError(f"expected arrays of numbers, {len(numbers)} bytes in all; received more, or {dtype}")
        return array

    return restored(read_object(str(arrays["text"])))


def check_like(state: Any, own: Any, name: str = "state") -> None:
    """Check that a nested state from a file has the form of one's own, and numbers to compute with; NaN is unknown.

    Raises:
      ValueError: at the first place where it has not.
    """
    if isinstance(own, dict) and isinstance(state, dict) and set(state) == set(own):
        for key, value in own.items():
            check_like(state[key], value, f"{name}[{key!r}]")
        return
    if isinstance(own, np.ndarray):
        good = isinstance(state, np.ndarray) and (state.shape, state.dtype) == (own.shape, own.dtype)
        good = good and not (np.abs(state.astype(float)) > LARGEST).any()
    elif isinstance(own, list):
        good = isinstance(state, list) and all(type(n) in (int, float) and not abs(n) > LARGEST for n in state)
    else:  # whole numbers, one of which may be unknown, and flags
        good = state is None if own is None else type(state) is type(own) and not isinstance(own, dict)
        good = (good or (own is None and type(state) is int)) and not (state is not None and not 0 <= state < 2**53)
    if not good:
        raise ValueError(f"expected {name} like {str(own)[:60]}; received {str(state)[:60]}")
