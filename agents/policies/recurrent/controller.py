"""A trained recurrent policy in numpy: a long short-term memory per run and group, then a feed-forward head."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.policies.networks import FilePolicy, feed_forward, normalise, sigmoid
from optenv.control.policy_file import PolicyFile, check_tensors, size_of
from optenv.control.signals import carried

Array = np.ndarray
GATES = 4


class LstmController(FilePolicy):
    """A recurrent policy shared by all groups; every run and group has a state of its own.

    Gates i, f, g, o in torch's order (Hochreiter and Schmidhuber 1997):

        c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c')

    Tensors: `lstm_input` [4H, F], `lstm_hidden` [4H, H] and their biases `lstm_input_bias` and
    `lstm_hidden_bias` [4H], then those of `MlpController` with H inputs.
    """

    kind = "lstm"
    needs_budget = True

    def __init__(self, file: PolicyFile):
        """Take the policy of a file.

        Raises:
          ValueError: if a tensor is missing, misshapen or not finite.
        """
        super().__init__(file)
        width = self._width = size_of(file.tensors, "lstm_hidden_bias") // GATES
        rows, features = GATES * width, len(file.interface.features)
        sides = {"lstm_input": (rows, features), "lstm_hidden": (rows, width)}
        check_tensors(file.tensors, {**sides, "lstm_input_bias": (rows,), "lstm_hidden_bias": (rows,)})
        self._head = feed_forward(file, self._width)
        self.reset(0, 0)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the file and the states: a network is a function, which cannot be."""
        return type(self), (self.file,), {"_hidden": self._hidden, "_cell": self._cell}

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin with states of zero."""
        self._hidden = np.zeros((num_runs, num_groups, self._width))
        self._cell = np.zeros_like(self._hidden)

    def act(self, observation: Array) -> Array:
        """Return the mean action of the policy, [N, G, knobs], and advance the states."""
        t = self.file.tensors
        x = normalise(self.file, observation)
        gates = x @ t["lstm_input"].T + t["lstm_input_bias"] + self._hidden @ t["lstm_hidden"].T + t["lstm_hidden_bias"]
        i, f, g, o = np.split(gates, GATES, axis=-1)
        self._cell = sigmoid(f) * self._cell + sigmoid(i) * np.tanh(g)
        self._hidden = sigmoid(o) * np.tanh(self._cell)
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
