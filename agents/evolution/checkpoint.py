"""Where a search stands, as a file that executes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from agents.evolution.strategy import Search
from agents.run_folder import replace_file

NAME = "search.safetensors"
_VECTORS = ("mean", "average", "first", "second")


def save_search(folder: Path, search: Search, log: list[dict[str, float]]) -> None:
    """Write the search and its log in a single step: a process killed at any moment leaves the old file or the new."""
    from safetensors.numpy import save

    vectors = {name: getattr(search, name) for name in _VECTORS}
    content = save(vectors, {"generation": str(search.generation), "log": json.dumps(log)})
    replace_file(folder / NAME, content)


def load_search(folder: Path, size: int) -> tuple[Search, list[dict[str, float]]]:
    """Read the search of a run folder, and its log.

    Args:
      folder: of the run.
      size: number of weights, D.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is damaged, or of another policy.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a checkpoint to resume from; there is none")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            vectors: dict[str, np.ndarray] = {name: file.get_tensor(name) for name in _VECTORS}
        search, log = Search(**vectors, generation=int(metadata["generation"])), json.loads(metadata["log"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected the checkpoint of a search; it is damaged ({error})") from error
    if search.mean.shape != (size,):
        raise ValueError(f"{path}: expected {size} weights, as the policy has; received {len(search.mean)}")
    return search, log
