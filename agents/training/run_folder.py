"""Run folders: the files that every training writes under the same names."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from optenv.files import read_bytes, read_object, reading

Settings = TypeVar("Settings")
SETTINGS = "settings.json"
MOST_SETTINGS = 2**20  # bytes
MOST_COUNT = 1_000_000  # no setting of a training is larger, but for the seed
MOST_SEED = 2**63
CONTROLLER = "controller.safetensors"


def holds_run(folder: Path) -> bool:
    """Say whether a training was begun in a folder, or has ended there."""
    return any((folder / name).exists() for name in (SETTINGS, CONTROLLER))


def begin(folder: Path, settings: Any, *, resume: bool, progress: Iterable[str]) -> bool:
    """Begin a training in a folder, or go on with one; a process killed at any moment leaves what can be gone on with.

    A training that was killed before it had made any progress begins again from its settings, which is the same.

    Args:
      folder: of the run, made if there is none.
      settings: of the training, a dataclass.
      resume: whether to go on; otherwise what an earlier training left there is removed.
      progress: names, or patterns of names, of the files that a resumed training goes on from.

    Returns:
      Whether there is nothing left to do, because this very training has ended.

    Raises:
      FileNotFoundError: if there is nothing to resume.
    """
    if resume and not holds_run(folder):
        raise FileNotFoundError(f"{folder}: expected a checkpoint or trials to resume from; there is nothing to resume")
    if resume and read_fields(folder) == _fields(json.dumps(asdict(settings))):
        return (folder / CONTROLLER).is_file()
    _remove(folder, () if resume else (SETTINGS, *progress))  # in this order: what is left is never taken for whole
    _remove(folder, (CONTROLLER,))
    write_fields(folder, settings)
    return False


def _remove(folder: Path, names: Iterable[str]) -> None:
    for path in [path for name in names for path in folder.glob(name)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def write_fields(folder: Path, settings: Any) -> None:
    """Write the settings of a run, a dataclass, into its folder, which is made if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / SETTINGS, (json.dumps(asdict(settings), indent=2) + "\n").encode())


def replace_file(path: Path, content: bytes) -> None:
    """Write in a single step: a process killed at any moment, or a full disk, leaves the old file or the new."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def read_fields(folder: Path) -> dict[str, Any]:
    """Read the settings of a run folder, by name, lists as tuples.

    Raises:
      FileNotFoundError: if the folder holds no run.
    """
    with reading(folder, f"a run folder with {SETTINGS}"):
        return _fields(read_bytes(folder / SETTINGS, MOST_SETTINGS))


def _fields(text: str | bytes) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in read_object(text).items()}


def settings_of(folder: Path, kind: type[Settings]) -> Settings:
    """Read the settings of a run folder as `kind`, a dataclass; every value is checked against its field's type.

    Raises:
      FileNotFoundError: if the folder holds no run.
      ValueError: if they are damaged, or those of another kind of training.
    """
    found, hints = read_fields(folder), get_type_hints(kind)
    with reading(folder, f"a run folder with the settings of {kind.__name__}"):
        for name, value in found.items():
            most = MOST_SEED if name == "seed" else MOST_COUNT
            if name not in hints or not fits(value, hints[name], most):
                raise ValueError(f"{name}: expected {hints.get(name, 'no such setting')}; received {value!r}")
        return kind(**found)


def fits(value: Any, hint: Any, most: int = MOST_COUNT) -> bool:
    """Say whether a JSON value is of a type; numbers are to be finite, whole ones from 0 to `most`.

    >>> fits((1, 2), Sequence[int]), fits("ab", Sequence[str]), fits(None, float | None), fits(-1, int)
    (True, False, True, False)
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, one, most) for one in inner)
    if origin is Mapping:
        return isinstance(value, dict) and all(fits(v, inner[1], most) for v in value.values())
    if origin is Sequence:
        return isinstance(value, (list, tuple)) and all(fits(v, inner[0], most) for v in value)
    if hint is int:
        return type(value) is int and 0 <= value <= most
    if hint is float:
        return type(value) in (int, float) and abs(value) <= MOST_COUNT
    return type(value) is hint
