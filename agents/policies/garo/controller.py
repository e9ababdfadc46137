"""A trained gated recurrent unit (GRU) in numpy; it emits rate, momentum and weight decay."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.policies.networks import FilePolicy, normalise, sigmoid
from optenv.control.controller import Interface
from optenv.control.features import FEATURE_NAMES
from optenv.control.knobs import KNOBS
from optenv.control.policy_file import PolicyFile, check_tensors, size_of
from optenv.control.signals import carried

Array = np.ndarray
GATES = 3
# The knob multiplies weight decay, and what is 0 stays 0: so GARO's own SGD has one, too small to matter by itself.
BASE_DECAY = 1e-4
EMITTED = ("scale", "momentum", "weight_decay")
MAX_MOMENTUM = 0.9
ONE = float(np.log(np.e - 1.0))  # softplus(ONE) = 1, up to rounding
_STEP = np.array([KNOBS[name].step for name in EMITTED])


class GruController(FilePolicy):
    """A gated recurrent unit (Cho et al. 2014) whose hidden state h emits three hyperparameters.

        r, z = sigmoid(...);  n = tanh(W x + b + r (U h + c));  h' = (1 - z) n + z h
        lr_t  = lr_{t-1} softplus(a_t + softplus^-1(1))         at most a factor e either way at a time
        mom_t = 0.9 max(tanh(b_t), 0)                           from a base momentum of 0
        wd_t  = wd_0 softplus(c_t + softplus^-1(1))             at most tenfold either way
        (a_t, b_t, c_t) = V h_t + v

    The knobs reach momentum and weight decay in several control steps, so that no decision jolts the
    run. With V = v = 0, as it is made, every emission is neutral: the base optimizer, bit for bit.

    Global by default: x is the mean of the groups' views, one state decides for all of them. With the
    setting `layerwise` every group has a state of its own.

    Tensors: `gru_input` [3H, F] and `gru_hidden` [3H, H] with gates r, z, n in torch's order, their
    biases `gru_input_bias` and `gru_hidden_bias` [3H], the head `weight0` [3, H] and `bias0` [3], and
    the statistics `mean` and `std` [F] of the features.
    """

    kind = "gru"
    needs_budget = True
    optional_knobs = ("momentum", "weight_decay")
    needs_losses = False  # as published: its state reads the gradients too

    def __init__(self, file: PolicyFile):
        """Take the policy of a file.

        Raises:
          ValueError: if a tensor is missing, misshapen or not finite, or the interface another.
        """
        _check(file)
        super().__init__(file)
        self.returns = False  # false alarms cost it more than returns gain, see docs/research.md
        self._width = file.tensors["gru_hidden"].shape[1]
        self._layerwise = file.settings.get("layerwise", False)
        self.neutral_untrained = not (file.tensors["weight0"].any() or file.tensors["bias0"].any())
        self.reset(0, 0)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin with hidden states of zero and every knob at neutral."""
        self._hidden = np.zeros((num_runs, num_groups if self._layerwise else 1, self._width))
        self._position = np.zeros((num_runs, num_groups, len(EMITTED)))

    def act(self, observation: Array) -> Array:
        """Return the actions of the three knobs, [N, G, 3], and advance the hidden states."""
        x = normalise(self.file, observation)
        if not self._layerwise:
            x = x.mean(axis=1, keepdims=True)
        self._hidden = gru_step(self.file.tensors, x, self._hidden)
        emitted = self._hidden @ self.file.tensors["weight0"].T + self.file.tensors["bias0"]
        action = np.clip(self._towards(emitted) / _STEP, -1.0, 1.0)
        self._position = self._position + action * _STEP
        return action

    def _towards(self, emitted: Array) -> Array:
        """Return how far each knob's position is from where the emission, [N, 1 or G, 3], wants it, [N, G, 3]."""
        change, decay = (np.log(_softplus(emitted[..., k] + ONE) / _UNIT) for k in (0, 2))
        momentum = -np.log10(1.0 - MAX_MOMENTUM * np.maximum(np.tanh(emitted[..., 1]), 0.0))
        wanted = np.stack([change, momentum, np.clip(decay / np.log(10.0), -1.0, 1.0)], axis=-1)
        # The rate's emission is a change as it stands; the others are levels.
        return wanted - self._position * np.array([0.0, 1.0, 1.0])

    def state_dict(self) -> dict[str, Any]:
        """Return the hidden states, [N, 1 or G, H], and the positions of the knobs, [N, G, 3]."""
        return {"hidden": self._hidden, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
          ValueError: if it is that of a network of another width.
        """
        hidden, position = (np.array(state[name], dtype=float) for name in ("hidden", "position"))
        if hidden.shape[-1] != self._width:
            raise ValueError(f"state: expected hidden states of width {self._width}; received {hidden.shape[-1]}")
        self._hidden, self._position = hidden, position

    def regroup(self, sources: Array) -> None:
        """Carry each group's position, and its state if it has one of its own, on; new groups begin at neutral."""
        old = self._position
        self._position = carried(old, np.zeros((len(old), len(sources), len(EMITTED))), sources)
        if self._layerwise:
            fresh = np.zeros((len(old), len(sources), self._width))
            self._hidden = carried(self._hidden, fresh, sources)


def gru_step(tensors: Any, x: Array, hidden: Array) -> Array:
    """Advance a gated recurrent unit, as `torch.nn.GRUCell` does.

    Args:
      tensors: `gru_input`, `gru_hidden` and their biases.
      x: inputs, [..., F].
      hidden: state, [..., H].

    Returns:
      The next state, [..., H].
    """
    from_input = np.split(x @ tensors["gru_input"].T + tensors["gru_input_bias"], GATES, axis=-1)
    from_hidden = np.split(hidden @ tensors["gru_hidden"].T + tensors["gru_hidden_bias"], GATES, axis=-1)
    r, z = (sigmoid(a + b) for a, b in zip(from_input[:2], from_hidden[:2], strict=True))
    return (1.0 - z) * np.tanh(from_input[2] + r * from_hidden[2]) + z * hidden


def _check(file: PolicyFile) -> None:
    features, width = len(file.interface.features), size_of(file.tensors, "gru_hidden_bias") // GATES
    shapes = {
        "gru_input": (GATES * width, features),
        "gru_hidden": (GATES * width, width),
        "gru_input_bias": (GATES * width,),
        "gru_hidden_bias": (GATES * width,),
        "weight0": (len(EMITTED), width),
        "bias0": (len(EMITTED),),
        "mean": (features,),
        "std": (features,),
    }
    check_tensors(file.tensors, shapes)
    if not isinstance(file.settings.get("layerwise", False), bool):
        raise ValueError(f"policy file: expected layerwise true or false; received {file.settings['layerwise']!r}")
    if file.interface.knobs != EMITTED or file.interface.control != "relative":
        received = f"{file.interface.control} control of {', '.join(file.interface.knobs)}"
        raise ValueError(f"policy file: expected relative control of {', '.join(EMITTED)}; received {received}")


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x) + 1e-30  # its logarithm is to stay finite


_UNIT = _softplus(np.array([ONE]))[0]


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
