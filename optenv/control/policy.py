"""A trained policy as a file that executes nothing: safetensors with weights and metadata; numpy inference."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from optenv.control.controller import Controller, Interface
from optenv.control.knobs import clipped
from optenv.errors import unknown_name

Array = np.ndarray
FORMAT = "optcontrol-policy"
VERSION = 1


def relu(x: Array) -> Array:
    """Return max(x, 0)."""
    return np.maximum(x, 0.0)


def gelu(x: Array) -> Array:
    """Return x times the normal distribution function of x, by its tanh form."""
    return 0.5 * x * (1.0 + np.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def silu(x: Array) -> Array:
    """Return x sigmoid(x)."""
    return 0.5 * x * (1.0 + np.tanh(0.5 * x))


def identity(x: Array) -> Array:
    """Return x."""
    return x


# Functions with names: what holds one can be pickled.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "relu": relu,
    "gelu": gelu,
    "silu": silu,
    "identity": identity,
}


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
            raise ValueError(
                f"{path}: expected a controller file with format {FORMAT!r}; received {metadata.get('format')!r}"
            )
        if not str(metadata.get("version", "")).isdecimal() or int(metadata["version"]) > VERSION:
            raise ValueError(f"{path}: expected file version {VERSION} or older; received {metadata.get('version')!r}")
        try:
            interface = json.loads(metadata["interface"])
            interface = Interface(
                **{**interface, "features": tuple(interface["features"]), "knobs": tuple(interface["knobs"])}
            )
            return cls(
                metadata["kind"],
                interface,
                tensors,
                dict(json.loads(metadata["settings"])),
                dict(json.loads(metadata["notes"])),
            )
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


def check_tensors(tensors: Mapping[str, Array], needed: Sequence[str]) -> None:
    """Check that tensors are there and finite.

    Raises:
      ValueError: if one is missing, or holds NaN or infinity.
    """
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise ValueError(f"policy file: expected tensors {', '.join(needed)}; missing {', '.join(missing)}")
    for name in needed:
        if not np.isfinite(tensors[name]).all():
            raise ValueError(f"policy file: expected finite numbers in {name!r}")


def normalise(file: PolicyFile, observation: Array) -> Array:
    """Return the observation in units of the statistics it was trained under, within 10 of their mean."""
    return clipped((observation - file.tensors["mean"]) / file.tensors["std"], -10.0, 10.0)


def feed_forward(file: PolicyFile, inputs: int) -> Callable[[Array], Array]:
    """Build the network of a file's tensors `weight0`, `bias0`, `weight1`, ...; weights are [out, in].

    Settings: `hidden` and `output` name the activations; what comes out is clipped to [-1, 1].

    Raises:
      ValueError: if a tensor is missing, misshapen or not finite, or an activation unknown.
    """
    tensors, features, knobs = file.tensors, len(file.interface.features), len(file.interface.knobs)
    depth = max(1, sum(name.startswith("weight") for name in tensors))
    check_tensors(tensors, ("mean", "std", *(f"{part}{i}" for i in range(depth) for part in ("weight", "bias"))))
    if not (tensors["std"] > 0).all():
        raise ValueError("policy file: expected positive numbers in 'std'")
    layers = [(tensors[f"weight{i}"], tensors[f"bias{i}"]) for i in range(depth)]
    widths = [inputs, *(bias.size for _, bias in layers)]
    sides = zip(layers, widths[:-1], widths[1:], strict=True)
    fits = all(weight.shape == (o, i) and bias.shape == (o,) for (weight, bias), i, o in sides)
    if not fits or widths[-1] != knobs or tensors["mean"].shape != (features,) or tensors["std"].shape != (features,):
        raise ValueError(
            f"policy file: expected layers from {inputs} inputs to {knobs} knobs; received widths {widths}"
        )
    hidden, output = _activation(file.settings, "hidden"), _activation(file.settings, "output")

    def network(x: Array) -> Array:
        for weight, bias in layers[:-1]:
            x = hidden(x @ weight.T + bias)
        weight, bias = layers[-1]
        return clipped(output(x @ weight.T + bias), -1.0, 1.0)

    return network


def _activation(settings: Mapping[str, Any], part: str) -> Callable[[Array], Array]:
    name = settings.get(part)
    if name not in ACTIVATIONS:
        raise unknown_name(f"{part} activation of a policy file", name, ACTIVATIONS)
    return ACTIVATIONS[name]


class MlpController(Controller):
    """A feed-forward policy shared by all groups: `[run features | own features] -> own knobs`."""

    kind = "mlp"

    def __init__(self, file: PolicyFile):
        """Take the policy of a file.

        Raises:
          ValueError: if a tensor is missing, misshapen or not finite.
        """
        self.interface, self._file = file.interface, file
        self._network = feed_forward(file, len(file.interface.features))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the file: a network is a function, which cannot be."""
        return type(self), (self._file,)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Nothing to forget: the policy has no memory."""

    def act(self, observation: Array) -> Array:
        """Return the mean action of the policy, [N, G, knobs]."""
        return self._network(normalise(self._file, observation))

    def save(self, path: str | Path) -> None:
        """Write the policy file to exactly `path`."""
        self._file.write(path)
