"""GARO's policy before it has learned anything."""

from __future__ import annotations

import numpy as np

from optenv.control.controller import Interface
from optenv.control.features import FEATURE_NAMES
from optenv.control.gated import EMITTED, GATES, GruController
from optenv.control.policy import PolicyFile

# The knob multiplies weight decay, and what is 0 stays 0: so GARO's own SGD has one, too small to matter by itself.
BASE_DECAY = 1e-4


def untrained(
    seed: int = 0, width: int = 16, layerwise: bool = False, interface: Interface | None = None
) -> PolicyFile:
    """Return a policy with random recurrent weights and a head of zeros, which is neutral.

    Args:
      seed: of the recurrent weights.
      width: of the hidden state, H.
      layerwise: whether every group has a state.
      interface: what it is made for; by default relative control from the base rate.
    """
    generator, features = np.random.default_rng(seed), len(FEATURE_NAMES)
    tensors = {
        "gru_input": generator.normal(0.0, features**-0.5, (GATES * width, features)),
        "gru_hidden": generator.normal(0.0, width**-0.5, (GATES * width, width)),
        "gru_input_bias": np.zeros(GATES * width),
        "gru_hidden_bias": np.zeros(GATES * width),
        "weight0": np.zeros((len(EMITTED), width)),
        "bias0": np.zeros(len(EMITTED)),
        "mean": np.zeros(features),
        "std": np.ones(features),
    }
    return PolicyFile(
        GruController.kind,
        interface or Interface(knobs=EMITTED, control="relative"),
        {name: tensor.astype(np.float32) for name, tensor in tensors.items()},
        {"layerwise": layerwise},
    )


def make(seed: int = 0, width: int = 16, layerwise: bool = False) -> GruController:
    """Make an untrained controller; the arguments are those of `untrained`."""
    return GruController(untrained(seed, width, layerwise))
