"""A trained policy as a file that executes nothing: safetensors with weights and metadata; numpy inference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from optenv.control.controller import Interface
from optenv.files import read_object, read_safetensors, reading

Array = np.ndarray
FORMAT = "optcontrol-policy"
VERSION = 1
LARGEST = 1e6  # a network with larger numbers overflows; trained ones stay below 2


@dataclass
class PolicyFile:
    """The contents of a policy file.

    Attributes:
      kind: which controller class reads it, such as "mlp".
      interface: the features and knobs it was trained with.
      tensors: weights and observation statistics by name.
      settings: what else the controller needs, as JSON values.
      notes: how it was trained, as JSON values.
      source: the file it was read from.
    """

    kind: str
    interface: Interface
    tensors: Mapping[str, Array]
    settings: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    source: Path | None = field(default=None, compare=False)

    def write(self, path: str | Path) -> None:
        """Write to exactly `path`; a crash leaves the old file or the new one, never a part."""
        from safetensors.numpy import save

        metadata = {
            "format": FORMAT,
            "version": str(VERSION),
            "kind": self.kind,
            "interface": json.dumps(asdict(self.interface)),
            "settings": json.dumps(self.settings),
            "notes": json.dumps(self.notes),
        }
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(save({k: np.ascontiguousarray(v) for k, v in self.tensors.items()}, metadata))
        part.replace(path)

    @classmethod
    def read(cls, path: str | Path) -> PolicyFile:
        """Read a policy file; nothing in it is executed.

        Raises:
          FileNotFoundError: if there is no such file.
          ValueError: if it is damaged, foreign, newer, or made for other features or knobs.
        """
        with reading(path, "a controller file (.safetensors)"):
            metadata, tensors = read_safetensors(path)
            if metadata.get("format") != FORMAT:
                raise ValueError(f"expected format {FORMAT!r}; received {metadata.get('format')!r}")
            version = metadata.get("version", "")
            if not (version.isdecimal() and len(version) < 9) or int(version) > VERSION:
                raise ValueError(f"expected file version {VERSION} or older; received {version!r}")
            interface = read_object(metadata["interface"])
            interface |= {name: tuple(interface[name]) for name in ("features", "knobs")}
            settings, notes = (read_object(metadata[name]) for name in ("settings", "notes"))
            return cls(metadata["kind"], Interface(**interface), tensors, settings, notes, Path(path))


def check_tensors(tensors: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that tensors are there, of the right shapes, and hold numbers that a network can be computed with.

    Args:
      tensors: what was found.
      shapes: what is needed, by name; "std" has to be positive.

    Raises:
      ValueError: if one is missing, misshapen, empty, not of floating point, not finite, or beyond `LARGEST`.
    """
    missing = [name for name in shapes if name not in tensors]
    if missing:
        raise ValueError(f"policy file: expected tensors {', '.join(shapes)}; missing {', '.join(missing)}")
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.shape != shape or not tensor.size or tensor.dtype.kind != "f":
            raise ValueError(
                f"policy file: expected {name!r} of shape {shape}, floats; received {tensor.shape}, {tensor.dtype}"
            )
        if not np.isfinite(tensor).all() or float(np.abs(tensor).max()) > LARGEST:
            raise ValueError(f"policy file: expected finite numbers in {name!r}, none beyond {LARGEST:g}")
        if name == "std" and float(tensor.min()) < 1.0 / LARGEST:
            raise ValueError(f"policy file: expected positive numbers in 'std'; received {tensor.min()}")


def size_of(tensors: Mapping[str, Array], name: str) -> int:
    """Return the number of elements of a tensor, 0 where there is none; what it has to be, `check_tensors` says."""
    return int(tensors[name].size) if name in tensors else 0
