"""The shape of an Opt2Vec policy, and how an untrained one is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agents.policies.networks import ACTIVATIONS
from agents.policies.opt2vec.controller import WindowedMlpController, width
from optenv.control.controller import Interface
from optenv.control.policy_file import PolicyFile

Array = np.ndarray
INTERFACE = Interface(knobs=("scale", "momentum", "second_moment"), control="relative", first_update_norm=0.35)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of an Opt2Vec policy.

    Attributes:
      embedding_dim: size of the embedding.
      history_length: decisions it looks back, the present one among them.
      activation: a key of `agents.policies.networks.ACTIVATIONS`.
      use_extended_features: whether it also sees what `agents.policies.opt2vec.controller.EXTENDED` lists.
      hidden: width of the encoder's hidden layer.
    """

    embedding_dim: int = 64
    history_length: int = 16
    activation: str = "gelu"
    use_extended_features: bool = True
    hidden: int = 32

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
          ValueError: if a number is not a positive whole number, or the activation unknown.
        """
        for name in ("embedding_dim", "history_length", "hidden"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1; received {value!r}")
        ACTIVATIONS[self.activation]  # refuses an unknown one

    @property
    def inputs(self) -> int:
        """Numbers that are embedded."""
        return self.history_length * width(self.use_extended_features)

    @property
    def settings(self) -> dict[str, Any]:
        """What a policy file records besides the weights' shapes."""
        return {
            "history_length": self.history_length,
            "activation": self.activation,
            "extended": self.use_extended_features,
        }

    @classmethod
    def of(cls, file: PolicyFile) -> Architecture:
        """Read the shape of a policy file's network."""
        return cls(
            embedding_dim=file.tensors["bias1"].size,
            history_length=file.settings["history_length"],
            activation=file.settings["activation"],
            use_extended_features=file.settings["extended"],
            hidden=file.tensors["bias0"].size,
        )

    def __str__(self) -> str:
        """List the fields."""
        return ", ".join(f"{name}={value!r}" for name, value in asdict(self).items())


def make(*, interface: Interface = INTERFACE, seed: int = 0, **architecture: Any) -> WindowedMlpController:
    """Make a policy that has learned nothing: its encoder is drawn at random, its heads are zero, so it acts 0.

    Args:
      interface: what it observes and turns.
      seed: of the encoder.
      **architecture: see `Architecture`.

    Raises:
      ValueError: if a field of the architecture is out of range.
      TypeError: if it has no such field.
    """
    shape = Architecture(**architecture)
    return WindowedMlpController(
        PolicyFile(WindowedMlpController.kind, interface, draw(shape, interface, seed), shape.settings)
    )


def draw(shape: Architecture, interface: Interface, seed: int) -> dict[str, Array]:
    """Draw an encoder of unit gain (He et al. 2015), and heads of zero."""
    generator, knobs = np.random.default_rng(seed), len(interface.knobs)

    def layer(outputs: int, inputs: int) -> Array:
        return (generator.normal(size=(outputs, inputs)) * (2.0 / inputs) ** 0.5).astype(np.float32)

    return {
        "weight0": layer(shape.hidden, shape.inputs),
        "bias0": np.zeros(shape.hidden, np.float32),
        "weight1": layer(shape.embedding_dim, shape.hidden),
        "bias1": np.zeros(shape.embedding_dim, np.float32),
        "head_weight": np.zeros((knobs, shape.embedding_dim), np.float32),
        "head_bias": np.zeros(knobs, np.float32),
    }
