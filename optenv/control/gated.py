"""A trained gated recurrent policy in numpy: it emits rate, momentum and weight decay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from optenv.control.controller import Controller
from optenv.control.knobs import KNOBS
from optenv.control.policy import PolicyFile, check_tensors, normalise
from optenv.control.signals import carried

Array = np.ndarray
GATES = 3
EMITTED = ("scale", "momentum", "weight_decay")
MAX_MOMENTUM = 0.9
ONE = float(np.log(np.e - 1.0))  # softplus(ONE) = 1, up to rounding
_STEP = np.array([KNOBS[name].step for name in EMITTED])


class GruController(Controller):
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

    def __init__(self, file: PolicyFile):
        """Take the policy of a file.

        Raises:
          ValueError: if a tensor is missing, misshapen or not finite, or the interface another.
        """
        _check(file)
        self.interface, self._file = file.interface, file
        self._width = file.tensors["gru_hidden"].shape[1]
        self._layerwise = bool(file.settings.get("layerwise", False))
        self.neutral_untrained = not (file.tensors["weight0"].any() or file.tensors["bias0"].any())
        self.reset(0, 0)

    @property
    def file(self) -> PolicyFile:
        """What it was made from."""
        return self._file

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin with hidden states of zero and every knob at neutral."""
        self._hidden = np.zeros((num_runs, num_groups if self._layerwise else 1, self._width))
        self._position = np.zeros((num_runs, num_groups, len(EMITTED)))

    def act(self, observation: Array) -> Array:
        """Return the actions of the three knobs, [N, G, 3], and advance the hidden states."""
        x = normalise(self._file, observation)
        if not self._layerwise:
            x = x.mean(axis=1, keepdims=True)
        self._hidden = gated(self._file.tensors, x, self._hidden)
        emitted = self._hidden @ self._file.tensors["weight0"].T + self._file.tensors["bias0"]
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
        kept = self._position
        self._position = carried(kept, np.zeros((len(kept), len(sources), len(EMITTED))), sources)
        if self._layerwise:
            fresh = np.zeros((len(kept), len(sources), self._width))
            self._hidden = carried(self._hidden, fresh, sources)

    def save(self, path: str | Path) -> None:
        """Write the policy file to exactly `path`; states are not part of it."""
        self._file.write(path)


def gated(tensors: Any, x: Array, hidden: Array) -> Array:
    """Advance a gated recurrent unit, as `torch.nn.GRUCell` does.

    Args:
      tensors: `gru_input`, `gru_hidden` and their biases.
      x: inputs, [..., F].
      hidden: state, [..., H].

    Returns:
      The next state, [..., H].
    """
    seen = np.split(x @ tensors["gru_input"].T + tensors["gru_input_bias"], GATES, axis=-1)
    kept = np.split(hidden @ tensors["gru_hidden"].T + tensors["gru_hidden_bias"], GATES, axis=-1)
    r, z = (_sigmoid(a + b) for a, b in zip(seen[:2], kept[:2], strict=True))
    return (1.0 - z) * np.tanh(seen[2] + r * kept[2]) + z * hidden


def _check(file: PolicyFile) -> None:
    tensors = file.tensors
    check_tensors(tensors, ("gru_input", "gru_hidden", "gru_input_bias", "gru_hidden_bias", "weight0", "bias0",
                            "mean", "std"))  # fmt: skip
    features, width = len(file.interface.features), tensors["gru_hidden"].shape[-1]
    expected = {
        "gru_input": (GATES * width, features), "gru_hidden": (GATES * width, width),
        "gru_input_bias": (GATES * width,), "gru_hidden_bias": (GATES * width,),
        "weight0": (len(EMITTED), width), "bias0": (len(EMITTED),), "mean": (features,), "std": (features,),
    }  # fmt: skip
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise ValueError(f"policy file: expected {name!r} of shape {shape}; received {tensors[name].shape}")
    if not (tensors["std"] > 0).all():
        raise ValueError("policy file: expected positive numbers in 'std'")
    if file.interface.knobs != EMITTED or file.interface.control != "relative":
        received = f"{file.interface.control} control of {', '.join(file.interface.knobs)}"
        raise ValueError(f"policy file: expected relative control of {', '.join(EMITTED)}; received {received}")


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x) + 1e-30  # its logarithm is to stay finite


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


_UNIT = _softplus(np.array([ONE]))[0]
