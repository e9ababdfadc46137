"""A trained recurrent policy in numpy: a long short-term memory per run and group, then a feed-forward head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from optenv.control.controller import Controller
from optenv.control.policy import PolicyFile, check_tensors, feed_forward, normalise
from optenv.control.signals import carried

Array = np.ndarray
GATES = 4


class LstmController(Controller):
    """A recurrent policy shared by all groups; every run and group has a state of its own.

    Gates i, f, g, o in torch's order (Hochreiter and Schmidhuber 1997):

        c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c')

    Tensors: `lstm_input` [4H, F], `lstm_hidden` [4H, H] and their biases `lstm_input_bias` and
    `lstm_hidden_bias` [4H], then those of `MlpController` with H inputs.
    """

    kind = "lstm"

    def __init__(self, file: PolicyFile):
        """Take the policy of a file.

        Raises:
          ValueError: if a tensor is missing, misshapen or not finite.
        """
        self.interface, self._file = file.interface, file
        check_tensors(file.tensors, ("lstm_input", "lstm_hidden", "lstm_input_bias", "lstm_hidden_bias"))
        self._width = file.tensors["lstm_hidden"].shape[1]
        expected = (GATES * self._width, len(self.interface.features))
        if file.tensors["lstm_input"].shape != expected:
            raise ValueError(
                f"policy file: expected 'lstm_input' of shape {expected}; received {file.tensors['lstm_input'].shape}"
            )
        self._head = feed_forward(file, self._width)
        self.reset(0, 0)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the file and the states: a network is a function, which cannot be."""
        return type(self), (self._file,), {"_hidden": self._hidden, "_cell": self._cell}

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin with states of zero."""
        self._hidden = np.zeros((num_runs, num_groups, self._width))
        self._cell = np.zeros_like(self._hidden)

    def act(self, observation: Array) -> Array:
        """Return the mean action of the policy, [N, G, knobs], and advance the states."""
        t = self._file.tensors
        x = normalise(self._file, observation)
        gates = x @ t["lstm_input"].T + t["lstm_input_bias"] + self._hidden @ t["lstm_hidden"].T + t["lstm_hidden_bias"]
        i, f, g, o = np.split(gates, GATES, axis=-1)
        self._cell = _sigmoid(f) * self._cell + _sigmoid(i) * np.tanh(g)
        self._hidden = _sigmoid(o) * np.tanh(self._cell)
        return self._head(self._hidden)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all runs and groups, [N, G, H] each."""
        return {"hidden": self._hidden, "cell": self._cell}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from states.

        Raises:
          ValueError: if they are those of a network of another width.
        """
        hidden, cell = (np.array(state[name], dtype=float) for name in ("hidden", "cell"))
        if hidden.shape != cell.shape or hidden.shape[-1] != self._width:
            received = f"{hidden.shape} and {cell.shape}"
            raise ValueError(f"state: expected hidden and cell of shape [N, G, {self._width}]; received {received}")
        self._hidden, self._cell = hidden, cell

    def regroup(self, sources: Array) -> None:
        """Carry each group's state on; new groups begin with zero."""
        nothing = np.zeros((len(self._hidden), len(sources), self._width))
        self._hidden, self._cell = (carried(old, nothing, sources) for old in (self._hidden, self._cell))

    def save(self, path: str | Path) -> None:
        """Write the policy file to exactly `path`; states are not part of it."""
        self._file.write(path)


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
