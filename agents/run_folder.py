"""The folder of a training: what every trainer keeps in it under the same names."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

SETTINGS = "settings.json"
CONTROLLER = "controller.safetensors"


def write_fields(folder: Path, settings: Any) -> None:
    """Write the settings of a run, a dataclass, into its folder, which is made if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / SETTINGS, (json.dumps(asdict(settings), indent=2) + "\n").encode())


def replace_file(path: Path, content: bytes) -> None:
    """Write in a single step: a process killed at any moment leaves the old file or the new."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def read_fields(folder: Path) -> dict[str, Any]:
    """Read the settings of a run folder, by name, lists as tuples.

    Raises:
      FileNotFoundError: if the folder holds no run.
    """
    path = folder / SETTINGS
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: expected a run folder with {SETTINGS}")
    return {name: tuple(v) if isinstance(v, list) else v for name, v in json.loads(path.read_text()).items()}
