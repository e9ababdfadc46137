"""The brain's file: an npz without pickled objects, so that loading executes nothing."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "optcontrol-optbrain"
VERSION = 1
SEPARATOR = "/"


def write(path: str | Path, state: dict[str, Any]) -> None:
    """Write nested arrays to exactly `path`; a crash leaves the old file or the new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, format=np.array(FORMAT), version=np.array(VERSION), **flattened(state))
    part = path.with_name(path.name + ".part")
    part.write_bytes(buffer.getvalue())
    part.replace(path)


def read(path: str | Path) -> dict[str, Any]:
    """Read what `write` wrote.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, something else, or of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a brain file (.npz); there is none")
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            flat = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected a brain file (.npz); it is damaged or something else ({error})") from error
    if str(flat.pop("format", None)) != FORMAT:
        raise ValueError(f"{path}: expected a brain file with format {FORMAT!r}; received another npz")
    if int(flat.pop("version", VERSION + 1)) > VERSION:
        raise ValueError(f"{path}: expected file version {VERSION} or older; received a newer one")
    return nested(flat)


def is_brain_file(path: str | Path) -> bool:
    """Say whether a file begins as an npz does, whatever its name."""
    path = Path(path)
    if not path.is_file():
        return path.suffix == ".npz"
    with path.open("rb") as file:
        return file.read(2) == b"PK" or path.suffix == ".npz"


def flattened(state: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join the names of nested arrays.

    >>> flattened({"a": {"b": 1}, "c": 2})
    {'a/b': 1, 'c': 2}
    """
    flat: dict[str, Any] = {}
    for name, value in state.items():
        inner = flattened(value, f"{prefix}{name}{SEPARATOR}") if isinstance(value, dict) else {prefix + name: value}
        flat |= inner
    return flat


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Undo `flattened`."""
    state: dict[str, Any] = {}
    for name, value in flat.items():
        *above, last = name.split(SEPARATOR)
        place = state
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return state
