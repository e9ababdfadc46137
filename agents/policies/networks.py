"""Building blocks of policies in numpy: their file, activations, normalisation, feed-forward networks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

from optenv.control.controller import Controller
from optenv.control.knobs import clipped
from optenv.control.policy_file import VERSION, PolicyFile, check_tensors, size_of
from optenv.registry import Registry

Array = np.ndarray


def relu(x: Array) -> Array:
    """Return max(x, 0)."""
    return np.maximum(x, 0.0)


def gelu(x: Array) -> Array:
    """Return x times the normal distribution function of x, by its tanh form."""
    return 0.5 * x * (1.0 + np.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def silu(x: Array) -> Array:
    """Return x sigmoid(x)."""
    return 0.5 * x * (1.0 + np.tanh(0.5 * x))


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x))."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def identity(x: Array) -> Array:
    """Return x."""
    return x


# Functions with names: what holds one can be pickled.
ACTIVATIONS: Registry[Callable[[Array], Array]] = Registry(
    "activation", [("tanh", np.tanh), ("relu", relu), ("gelu", gelu), ("silu", silu), ("identity", identity)]
)


class FilePolicy(Controller):
    """A policy made from a file; what it remembers of runs is not part of that.

    Attributes:
      kind: of such files.
      file: what it was made from.
    """

    kind = ""
    optional_knobs: tuple[str, ...] = ("second_moment",)

    def __init__(self, file: PolicyFile):
        """Take the file."""
        self.interface, self.file = file.interface, file
        self.returns = file.interface.control == "relative" and "scale" in file.interface.knobs

    def __repr__(self) -> str:
        """Say which policy it is: the file, whose stem is the name of a policy that ships, and its version."""
        source = self.file.source
        where = f"{source.stem!r}, file {source}" if source else "made in this process"
        return f"{type(self).__name__}({where}, format {VERSION})"

    def save(self, path: str | Path) -> None:
        """Write the file to exactly `path`."""
        self.file.write(path)


def normalise(file: PolicyFile, observation: Array) -> Array:
    """Return the observation in units of the statistics it was trained under, within 10 of their mean."""
    return clipped((observation - file.tensors["mean"]) / file.tensors["std"], -10.0, 10.0)


def feed_forward(
    file: PolicyFile, inputs: int, *, observed: int | None = None, actions: int | None = None
) -> Callable[[Array], Array]:
    """Build the network of a file's tensors `weight0`, `bias0`, `weight1`, ...; weights are [out, in].

    Args:
      file: with the network.
      inputs: numbers that the network takes.
      observed: numbers that `mean` and `std` are of; by default those of one group's view.
      actions: numbers that it returns; by default one group's.

    Settings: `hidden` and `output` name the activations; what comes out is clipped to [-1, 1].

    Raises:
      ValueError: if a tensor is missing, misshapen or not finite, or an activation unknown.
    """
    tensors = file.tensors
    features, knobs = observed or len(file.interface.features), actions or len(file.interface.knobs)
    depth = max(1, sum(name.startswith("weight") for name in tensors))
    widths = [inputs, *(size_of(tensors, f"bias{i}") for i in range(depth - 1)), knobs]
    shapes: dict[str, tuple[int, ...]] = {"mean": (features,), "std": (features,)}
    for i, (entering, leaving) in enumerate(pairwise(widths)):
        shapes |= {f"weight{i}": (leaving, entering), f"bias{i}": (leaving,)}
    check_tensors(tensors, shapes)
    layers = [(tensors[f"weight{i}"], tensors[f"bias{i}"]) for i in range(depth)]
    hidden, output = (ACTIVATIONS[str(file.settings.get(part))] for part in ("hidden", "output"))

    def network(x: Array) -> Array:
        for weight, bias in layers[:-1]:
            x = hidden(x @ weight.T + bias)
        weight, bias = layers[-1]
        return clipped(output(x @ weight.T + bias), -1.0, 1.0)

    return network
