"""A trained policy as a file that executes nothing: safetensors with weights and metadata; numpy inference."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from optenv.control.controller import Controller, Interface
from optenv.errors import unknown_name

Array = np.ndarray
FORMAT = "optcontrol-policy"
VERSION = 1
ACTIVATIONS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0.0), "identity": lambda x: x}


@dataclass
class PolicyFile:
    """The contents of a policy file.

    Attributes:
      kind: which controller class reads it, such as "mlp".
      interface: the features and knobs it was trained with.
      tensors: weights and observation statistics by name.
      settings: what else the controller needs, as JSON values.
      notes: how it was trained, as JSON values.
    """

    kind: str
    interface: Interface
    tensors: Mapping[str, Array]
    settings: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def write(self, path: str | Path) -> None:
        """Write to exactly `path`; a crash leaves the old file or the new one, never a part."""
        from safetensors.numpy import save

        metadata = {"format": FORMAT, "version": str(VERSION), "kind": self.kind,
                    "interface": json.dumps(asdict(self.interface)), "settings": json.dumps(self.settings),
                    "notes": json.dumps(self.notes)}  # fmt: skip
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
        metadata, tensors = _open(Path(path))
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path}: expected a controller file with format {FORMAT!r}; received {metadata.get('format')!r}")
        if not str(metadata.get("version", "")).isdecimal() or int(metadata["version"]) > VERSION:
            raise ValueError(f"{path}: expected file version {VERSION} or older; received {metadata.get('version')!r}")
        try:
            interface = json.loads(metadata["interface"])
            interface = Interface(**{**interface, "features": tuple(interface["features"]), "knobs": tuple(interface["knobs"])})
            return cls(metadata["kind"], interface, tensors, json.loads(metadata["settings"]), json.loads(metadata["notes"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: made for another interface or damaged: {error}") from error


def _open(path: Path) -> tuple[dict[str, str], dict[str, Array]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a controller file (.safetensors); there is none")
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a safetensors file; it is damaged or something else ({error})") from error


class MlpController(Controller):
    """A feed-forward policy shared by all groups: `[run features | own features] -> own knobs`.

    Tensors: `mean` and `std` of the observation, [F], then `weight0`, `bias0`, `weight1`, ... with
    weights [out, in]. Settings: `hidden` and `output` name the activations; actions are then clipped
    to [-1, 1].
    """

    kind = "mlp"

    def __init__(self, file: PolicyFile):
        """Take the policy of a file.

        Raises:
          ValueError: if a tensor is missing, misshapen or not finite.
        """
        self.interface, self._file = file.interface, file
        self._layers = _layers(file.tensors, len(self.interface.features), len(self.interface.knobs))
        self._hidden, self._output = (_activation(file.settings, part) for part in ("hidden", "output"))

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Nothing to forget: the policy has no memory."""

    def act(self, observation: Array) -> Array:
        """Return the mean action of the policy, [N, G, knobs]."""
        x = (observation - self._file.tensors["mean"]) / self._file.tensors["std"]
        x = np.clip(x, -10.0, 10.0)
        for weight, bias in self._layers[:-1]:
            x = self._hidden(x @ weight.T + bias)
        weight, bias = self._layers[-1]
        return np.clip(self._output(x @ weight.T + bias), -1.0, 1.0)

    def save(self, path: str | Path) -> None:
        """Write the policy file to exactly `path`."""
        self._file.write(path)


def _activation(settings: Mapping[str, Any], part: str) -> Callable[[Array], Array]:
    name = settings.get(part)
    if name not in ACTIVATIONS:
        raise unknown_name(f"{part} activation of a policy file", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def _layers(tensors: Mapping[str, Array], num_features: int, num_knobs: int) -> list[tuple[Array, Array]]:
    depth = sum(name.startswith("weight") for name in tensors)
    needed = ["mean", "std", *(f"{part}{i}" for i in range(depth) for part in ("weight", "bias"))]
    missing = [name for name in needed if name not in tensors]
    if missing or depth == 0:
        raise ValueError(f"policy file: expected tensors {', '.join(needed)}; missing {', '.join(missing) or 'weight0'}")
    for name in needed:
        if not np.isfinite(tensors[name]).all():
            raise ValueError(f"policy file: expected finite numbers in {name!r}")
    layers = [(tensors[f"weight{i}"], tensors[f"bias{i}"]) for i in range(depth)]
    widths = [num_features, *(len(bias) for _, bias in layers)]
    fits = all(w.shape == (o, i) for (w, _), i, o in zip(layers, widths[:-1], widths[1:], strict=True))
    if not fits or widths[-1] != num_knobs or tensors["mean"].shape != (num_features,):
        raise ValueError(f"policy file: expected layers from {num_features} features to {num_knobs} knobs; received widths {widths}")
    return layers


KINDS: dict[str, type] = {MlpController.kind: MlpController}


def load_policy(path: str | Path) -> Controller:
    """Read a policy file and build its controller.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, foreign, newer, or of an unknown kind.
    """
    file = PolicyFile.read(path)
    if file.kind not in KINDS:
        raise unknown_name("kind of controller", file.kind, KINDS)
    return KINDS[file.kind](file)
