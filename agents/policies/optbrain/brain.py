"""The brain: a small policy shared by all groups, that learns in every run, and from reward over runs."""

from __future__ import annotations

from math import asinh, sqrt
from typing import Any

import numpy as np

from agents.policies.optbrain.credit import RAISE_UNTIL, bounded, credit, left_to_settle
from agents.policies.optbrain.file import LARGEST
from optenv.control.knobs import KNOBS
from optenv.files import NUMBERS

Array = np.ndarray
INPUTS = ("improvement", "significance", "gradient_persistence", "descent")
DECISIONS = ("scale", "clip", "dampen")
# Blocks are those of the section "OptBrain: learning online, within one run" of docs/research.md.
# Decisions before the first that follows the credit. Not tuned.
PATIENCE = 3
# Greatest scale over the user's rate. Block 11.
REACH = 4.0
# Least scale over the user's rate that descent may lead to where the budget is unknown, else a long run starves. See
# docs/research.md, "Without a budget".
SLOWEST = 0.7
# Decisions in which rates may rise where the budget is unknown. Block 9: the first 12 % of its hundred decisions.
RAISES = 12
# Weight of the random features beside the constant 1. Block 2 tried 1 and 2; 0.5 itself: not tuned.
SHARE = 0.5
# Standard deviation of the exploration, in units of a whole knob. Not tuned.
EXPLORATION = 0.15
# Step of REINFORCE, and the memory of the running mean and spread of rewards, a share kept. Not tuned.
REWARD_RATE = 0.3
REWARD_MEMORY = 0.95
# Memory of the speed at which the loss falls, a share kept in each decision. Not tuned.
_SPEED_MEMORY = 0.49
# Of the feature "improvement", asinh(_STEEP x) / asinh(_STEEP), which is undone here. Not tuned.
_STEEP = 40.0
_DESCENT, _AGREEMENT = INPUTS.index("descent"), INPUTS.index("gradient_persistence")
_IMPROVEMENT = INPUTS.index("improvement")
_UP, _DOWN = float(np.log(KNOBS["scale"].high)), float(-np.log(KNOBS["scale"].low))
_REACH, _SLOWEST = float(np.log(REACH)), float(np.log(SLOWEST))
_UNITS = np.array([_UP, 1.0, 1.0])


class Brain:
    """Decides the scale, clip and dampening of every group of N runs, and learns from what comes of it.

    One policy for all groups: fixed random features of what a group observes, and a read-out,

        u = W phi,  phi = (1, SHARE tanh(V x + v) / sqrt(H))

    with u the log of the scale in nats, and the actions of clip and dampen. W begins at 0, which is
    neutral, bit for bit, while weights move less than `agents.policies.optbrain.credit` allows; where they move further
    the scale of the whole run falls at once, by as much as they do. It learns in two ways:

    - from the sketched gradient, in every decision, each run by itself: the gradient of the policy is
      the credit of `agents.policies.optbrain.credit` times phi, normalised so that the log scale moves by `rate`
      times the credit, up to about `REACH` times the user's rate. Nothing is drawn at random, and `begin`
      forgets it.
    - from reward, where the host reports one: REINFORCE (Williams 1992) with a running baseline. From the
      first reward on it explores; what it learns stays for all runs to come, as `prior`.

    Attributes:
      rate: of the learning within a run.
      seed: of the random features and the exploration.
      prior: the read-out W that runs begin with, [3, 1 + H].
      weights: W of every run, [N, 3, 1 + H].
    """

    def __init__(self, hidden: int = 8, rate: float = 1.0, seed: int = 0):
        """Make a brain that has learned nothing.

        Raises:
          ValueError: if a number is out of range.
        """
        if hidden < 1 or not 0.0 < rate < np.inf:
            raise ValueError(f"brain: expected hidden >= 1 and a finite rate > 0; received {hidden!r} and {rate!r}")
        self.rate, self.seed = float(rate), int(seed)
        drawn = np.random.default_rng(seed).normal(size=(len(INPUTS) + 1, hidden))
        self._input, self._bias = drawn[:-1], 0.5 * drawn[-1]
        self.prior = np.zeros((len(DECISIONS), 1 + hidden))
        self._baseline, self._spread, self._rewards = 0.0, 0.0, 0
        self.begin(0)

    @property
    def hidden(self) -> int:
        """Number of random features, H."""
        return self._input.shape[1]

    def begin(self, num_runs: int) -> None:
        """Begin N runs, each from the prior."""
        self.weights = np.repeat(self.prior[None], num_runs, axis=0)
        self._settled, self._bound = np.zeros(num_runs), np.zeros(num_runs)
        self._progress, self._speed = np.full(num_runs, -1.0), np.ones(num_runs)
        self._decisions = 0
        self._basis = np.zeros((num_runs, 0, 0))
        self._noise = np.zeros((num_runs, 0, len(DECISIONS)))

    def regroup(self, sources: Array) -> None:
        """Go on with other groups, under the same policy.

        Args:
          sources: for each group the index of the one that it was before, or -1 for a new one, [G].
        """
        if self._basis.shape[1]:
            kept = np.maximum(sources, 0)
            self._basis = self._basis[:, kept]
            self._noise = np.zeros((len(self._basis), len(sources), len(DECISIONS)))

    def decide(self, inputs: Array, progress: Array, moved: Array | None = None) -> Array:
        """Learn from what came of the last decision, and make the next.

        Args:
          inputs: what each group observes, [N, G, 4] in the order of `INPUTS`, finite.
          progress: share of the budget spent, [N]; negative where it is unknown.
          moved: displacement of each group in the last control step over the norm of its weights, [N, G], 0 where
            unknown; None where nobody knows the weights, which are then not bounded.

        Returns:
          Actions in [-1, 1], [N, G, 3] in the order of `DECISIONS`; 0 is neutral.
        """
        inputs = inputs.astype(float)
        if self._decisions > 1:
            self._watch(inputs[:, 0, _IMPROVEMENT])
        mean = inputs.sum(axis=1) / inputs.shape[1]
        if self._decisions >= PATIENCE:
            self._follow(mean, progress)
        if moved is not None:
            bound = bounded(self._bound, moved, mean[:, _DESCENT])
            self._bound = np.where(left_to_settle(progress) < 1.0, self._bound, bound)
        self._decisions += 1
        self._progress = progress
        self._basis = self._features(inputs)
        positions = self._positions()
        if self._rewards:
            self._noise = np.random.default_rng((self.seed, self._rewards)).normal(size=positions.shape)
            positions += self._noise * (EXPLORATION * _UNITS)
        return to_actions(positions)

    def reward(self, reward: Array) -> None:
        """Learn from the reward of the last decision, [N]; what is not finite teaches nothing."""
        good = np.isfinite(reward)
        if not good.any() or not len(self._basis):
            return
        advantage = self._advantage(np.where(good, reward, self._baseline))
        if self._noise.any():
            stir = np.einsum("n,ngk,ngf->kf", advantage, self._noise, self._basis) / (good.sum() * self._noise.shape[1])
            stir *= (EXPLORATION * REWARD_RATE * _UNITS)[:, None]
            self.prior += stir
            self.weights += stir

    def _advantage(self, reward: Array) -> Array:
        """Return the reward above its running mean in units of its running spread, [N], at most 3 of them."""
        self._rewards += 1
        keep = min(REWARD_MEMORY, 1.0 - 1.0 / self._rewards)
        deviation = reward - (self._baseline if self._rewards > 1 else reward.mean())
        self._baseline = keep * self._baseline + (1.0 - keep) * float(reward.mean())
        self._spread = keep * self._spread + (1.0 - keep) * float(np.square(deviation).mean())
        return np.clip(deviation / (np.sqrt(self._spread) + 1e-300), -3.0, 3.0)

    def _follow(self, mean: Array, progress: Array) -> None:
        """Take a step along the policy's gradient, within the last part of a budget on the settling alone."""
        ahead = np.maximum(progress - self._progress, 0.0)  # control steps are of equal length
        early = np.where(progress < 0.0, self._decisions < RAISES, progress < RAISE_UNTIL)
        change = self.rate * credit(mean[:, _DESCENT], mean[:, _AGREEMENT], self._speed, early, progress, ahead)
        if not change.any():
            return
        scale = self._positions()[..., 0]
        # At a limit, evidence must not pile up.
        least = np.where(progress < 0.0, _SLOWEST - self._bound, -_DOWN)[:, None]
        lowest, highest = np.minimum(least - scale, 0.0), np.maximum(_REACH - self._bound[:, None] - scale, 0.0)
        step = np.minimum(np.maximum(change[:, None], lowest), highest) / scale.shape[1]  # [N, G]
        learned = step * (left_to_settle(progress) >= 1.0)[:, None]
        self.weights[:, 0] += np.einsum("ng,ngf->nf", learned / np.square(self._basis).sum(-1), self._basis)
        self._settled += (step - learned).sum(1)

    def _watch(self, improvement: Array) -> None:
        """Average how fast the loss falls, in units of its mean speed so far; it begins at 1, a straight line."""
        share = np.sinh(improvement * asinh(_STEEP)) / _STEEP  # of the fall so far, see the feature
        self._speed = _SPEED_MEMORY * self._speed + (1.0 - _SPEED_MEMORY) * np.minimum(
            np.maximum(share * self._decisions, 0.0), 2.0
        )

    def _features(self, inputs: Array) -> Array:
        basis = np.ones((*inputs.shape[:2], 1 + self.hidden))
        np.multiply(np.tanh(inputs @ self._input + self._bias), SHARE / sqrt(self.hidden), out=basis[..., 1:])
        return basis

    def _positions(self) -> Array:
        positions = np.matmul(self._basis, self.weights.transpose(0, 2, 1))
        positions[..., 0] += (self._settled - self._bound)[:, None]
        return positions

    def knowledge(self) -> dict[str, Any]:
        """Return what stays when new runs begin, as arrays."""
        of_rewards = np.array([self._baseline, self._spread, float(self._rewards)])
        return {
            "input": self._input,
            "bias": self._bias,
            "prior": self.prior,
            "rewards": of_rewards,
            "rate": np.array(self.rate),
            "seed": np.array(self.seed),
        }

    def run_state(self) -> dict[str, Any]:
        """Return what the runs under way have learned and decided last, as arrays."""
        return {
            "weights": self.weights,
            "settled": self._settled,
            "bound": self._bound,
            "progress": self._progress,
            "speed": self._speed,
            "decisions": np.array(self._decisions),
            "basis": self._basis,
            "noise": self._noise,
        }

    def learn_all(self, knowledge: dict[str, Any]) -> None:
        """Take over what `knowledge` returned, finite and of the right shapes.

        Raises:
          ValueError: if it is neither.
        """
        hidden = np.shape(knowledge["prior"])[-1] - 1
        shapes = {
            "input": (len(INPUTS), hidden),
            "bias": (hidden,),
            "prior": (len(DECISIONS), 1 + hidden),
            "rewards": (3,),
            "rate": (),
            "seed": (),
        }
        own = checked(knowledge, shapes)
        if hidden < 1 or own["rate"] <= 0.0 or min(own["seed"], *own["rewards"][1:]) < 0.0:
            raise ValueError("brain: expected hidden >= 1, rate > 0, seed, spread and number of rewards >= 0")
        self._input, self._bias, self.prior = own["input"], own["bias"], own["prior"]
        self._baseline, self._spread = float(own["rewards"][0]), float(own["rewards"][1])
        self._rewards, self.rate, self.seed = int(own["rewards"][2]), float(own["rate"]), int(own["seed"])

    def go_on(self, state: dict[str, Any]) -> None:
        """Go on from what `run_state` returned.

        Raises:
          ValueError: if it is not finite, or that of a brain of another width.
        """
        runs, groups = np.shape(state["weights"])[0], np.shape(state["basis"])[1]
        decided = int(np.asarray(state["decisions"])) > 0
        width = 1 + self.hidden
        shapes = {
            "weights": (runs, len(DECISIONS), width),
            "settled": (runs,),
            "bound": (runs,),
            "progress": (runs,),
            "speed": (runs,),
            "decisions": (),
            "basis": (runs, groups, width if decided else 0),
            "noise": (runs, np.shape(state["noise"])[1], len(DECISIONS)),
        }
        own = checked(state, shapes)
        self.weights, self._settled, self._decisions = own["weights"], own["settled"], int(own["decisions"])
        self._basis, self._noise, self._progress = own["basis"], own["noise"], own["progress"]
        self._speed, self._bound = own["speed"], own["bound"]


def to_actions(positions: Array) -> Array:
    """Turn positions, log scales in nats and actions of clip and dampen, into actions, [..., 3]."""
    scale = positions[..., 0]
    positions[..., 0] = np.maximum(scale, 0.0) / _UP + np.minimum(scale, 0.0) / _DOWN
    return np.minimum(np.maximum(positions, -1.0), 1.0)


def checked(state: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """Return copies of the arrays in `state`.

    Raises:
      ValueError: if one is missing, misshapen or not finite.
    """
    found = {}
    for name, shape in shapes.items():
        if name not in state:
            raise ValueError(f"brain: expected an array {name!r}; there is none")
        received = np.asarray(state[name])
        if received.shape != shape or received.dtype.kind not in NUMBERS or not np.isfinite(received).all():
            raise ValueError(
                f"brain: expected {name!r} finite, of shape {shape}; received shape {received.shape}, {received.dtype}"
            )
        found[name] = np.array(received, dtype=float)
        if received.size and np.abs(found[name]).max() > LARGEST:
            raise ValueError(f"brain: expected numbers within {LARGEST:g} in {name!r}")
    return found
