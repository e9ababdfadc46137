"""The Opt2Vec policy in numpy: a perceptron over a window of recent features, with an embedding as its last layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from agents.policies.networks import ACTIVATIONS, FilePolicy
from optenv.control.features import FEATURE_NAMES
from optenv.control.policy_file import PolicyFile, check_tensors, size_of
from optenv.control.signals import carried

Array = np.ndarray
EXTENDED = {
    "travel": "1 + log10 of the displacements so far over the parameters' norm, halved; a hundredth is 0",
    "diversity": "log2 of the gradient diversity of the last two gradients, |a|^2 + |b|^2 over |a + b|^2, within 4",
    "curvature": "change of the improvement since the last decision: the bend of the loss curve",
}
_UPDATE, _GRADIENT_NORM = FEATURE_NAMES.index("update_ratio"), FEATURE_NAMES.index("gradient_norm")
_COSINE, _IMPROVEMENT = FEATURE_NAMES.index("gradient_persistence"), FEATURE_NAMES.index("improvement")


def width(extended: bool) -> int:
    """Return the number of features of one moment."""
    return len(FEATURE_NAMES) + len(EXTENDED) * extended


class Window:
    """The last observations of N runs with G groups, and what is derived from their succession.

    Kept in the order of time, the newest last: at such lengths moving all by one place costs no more
    than reading a ring in order. Moments before the first are zeros.

    Attributes:
      values: [N, G, H, features] float32.
      travel: displacements so far over the parameters' norm, [N, G].
      started: whether anything was observed.
    """

    def __init__(self, num_runs: int, num_groups: int, length: int, extended: bool):
        """Begin with nothing observed."""
        self._extended = extended
        self.values: Array = np.zeros((num_runs, num_groups, length, width(extended)), np.float32)
        self.travel: Array = np.zeros((num_runs, num_groups), np.float32)
        self.started = False

    def append(self, observation: Array) -> Array:
        """Take in every group's view, [N, G, 12], and return the window as one row a group, [N, G, H * features]."""
        newest = observation
        if self._extended:
            newest = np.concatenate([observation, self._derived(observation)], axis=-1)
        self.values = np.concatenate([self.values[:, :, 1:], newest[:, :, None]], axis=2, dtype=np.float32)
        self.started = True
        return self.values.reshape(*observation.shape[:2], -1)

    def _derived(self, now: Array) -> Array:
        """Return the rows of `EXTENDED`, [N, G, 3]; see there. Gradient diversity: Yin et al. 2018."""
        if not self.started:
            return np.zeros((*now.shape[:2], len(EXTENDED)), np.float32)
        last = self.values[:, :, -1]
        self.travel = self.travel + 10.0 ** (2.0 * now[..., _UPDATE] - 2.0)
        ratio = 10.0 ** (2.0 * (now[..., _GRADIENT_NORM] - last[..., _GRADIENT_NORM]))
        sum_of_squares = 1.0 + ratio * ratio
        # Two gradients that cancel have no bound; 1/16 of their squares is where it ends.
        square_of_sum = np.maximum(sum_of_squares + 2.0 * ratio * now[..., _COSINE], sum_of_squares / 16.0)
        bend = now[..., _IMPROVEMENT] - last[..., _IMPROVEMENT]
        return np.stack(
            [1.0 + 0.5 * np.log10(0.01 + self.travel), np.log2(sum_of_squares / square_of_sum), bend], axis=-1
        )

    def regroup(self, sources: Array) -> None:
        """Carry each group's past on; a new group begins with none."""
        groups = len(sources)
        self.values = carried(self.values, np.zeros_like(self.values, shape=self._shape(groups)), sources)
        self.travel = carried(self.travel, np.zeros((len(self.travel), groups), np.float32), sources)

    def _shape(self, groups: int) -> tuple[int, ...]:
        runs, _, length, features = self.values.shape
        return runs, groups, length, features


class WindowedMlpController(FilePolicy):
    """Embed the recent past of every group and read its knobs off the embedding; shared by all groups.

        e = f(W1 f(W0 x + b0) + b1);  action = tanh(W e + b)

    with x the last H observations, of 12 features or, with the `EXTENDED` ones, 15. After Opt2Vec, an
    embedding of the run from which scale and momentum are read.

    Tensors: `weight0` [hidden, H * features], `weight1` [embedding, hidden], `head_weight` [knobs, embedding], and
    their biases. Settings: `history_length`, `activation`, `extended`.

    Attributes:
      embedding: of the last decision, [N, G, embedding].
    """

    kind = "opt2vec"
    needs_budget = True
    optional_knobs = ("momentum", "second_moment")

    def __init__(self, file: PolicyFile):
        """Take the policy of a file.

        Raises:
          ValueError: if a tensor is missing, misshapen or not finite, or a setting unknown.
        """
        super().__init__(file)
        self._length, self._extended = _window(file.settings)
        shapes = _shapes(file.tensors, self._length * width(self._extended), len(file.interface.knobs))
        check_tensors(file.tensors, shapes)
        self._activation = ACTIVATIONS[str(file.settings.get("activation"))]
        self._tensors = {name: np.asarray(file.tensors[name], np.float32) for name in shapes}
        self.neutral_untrained = not any(self._tensors[k].any() for k in ("head_weight", "head_bias"))
        self.reset(0, 0)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin with an empty past."""
        self.window = Window(num_runs, num_groups, self._length, self._extended)
        self.embedding = np.zeros((num_runs, num_groups, len(self._tensors["bias1"])), np.float32)

    def act(self, observation: Array) -> Array:
        """Return the action, [N, G, knobs], and remember what was observed and how it was embedded."""
        self.embedding = self.embed(self.window.append(observation))
        return np.tanh(self.embedding @ self._tensors["head_weight"].T + self._tensors["head_bias"])

    def embed(self, inputs: Array) -> Array:
        """Return the embeddings, [..., embedding], of windows of the past, [..., H * features]."""
        t = self._tensors
        hidden = self._activation(inputs @ t["weight0"].T + t["bias0"])
        return self._activation(hidden @ t["weight1"].T + t["bias1"])

    def state_dict(self) -> dict[str, Any]:
        """Return the past of all runs and groups."""
        past = self.window
        return {"window": past.values, "travel": past.travel, "begun": past.started}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a past.

        Raises:
          ValueError: if it is that of a policy with another window.
        """
        window, expected = np.array(state["window"], np.float32), (self._length, width(self._extended))
        if window.ndim != 4 or window.shape[2:] != expected:
            raise ValueError(f"state: expected a window of shape [N, G, {expected}]; received {window.shape}")
        self.reset(*window.shape[:2])
        self.window.values, self.window.travel = window, np.array(state["travel"], np.float32)
        self.window.started = bool(state["begun"])

    def regroup(self, sources: Array) -> None:
        """Carry each group's past on; a new group begins with none."""
        self.window.regroup(np.asarray(sources))


def _window(settings: Mapping[str, Any]) -> tuple[int, bool]:
    length, extended = settings.get("history_length"), settings.get("extended")
    if type(length) is not int or length < 1 or not isinstance(extended, bool):
        raise ValueError(
            "policy file: expected a history_length of at least 1 and extended true or false; "
            f"received {length!r} and {extended!r}"
        )
    return length, extended


def _shapes(tensors: Mapping[str, Array], inputs: int, knobs: int) -> dict[str, tuple[int, ...]]:
    hidden, embedding = size_of(tensors, "bias0"), size_of(tensors, "bias1")
    return {
        "weight0": (hidden, inputs),
        "bias0": (hidden,),
        "weight1": (embedding, hidden),
        "bias1": (embedding,),
        "head_weight": (knobs, embedding),
        "head_bias": (knobs,),
    }
