"""The brain as a controller of many runs at once, each with what it has learned by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from agents.optbrain.brain import DECISIONS, INPUTS, Brain
from agents.optbrain.file import flattened, nested, read, write
from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURE_NAMES
from optenv.control.knobs import KNOBS

Array = np.ndarray
_PROGRESS = FEATURE_NAMES.index("progress")
_UPDATE = FEATURE_NAMES.index("update_ratio")
_COLUMNS = [FEATURE_NAMES.index(name) for name in INPUTS]


class OptBrainController(Controller):
    """Learn online, from the sketched gradient in every run and from reward over runs: see `Brain`.

    What a run has learned of itself ends with it; what rewards have taught stays, and is what `save`
    writes. It does not act before `PATIENCE` decisions, nor before there is evidence, but for bounding how
    far weights move in a control step, from the second decision on (`agents.optbrain.bound`).
    """

    interface = Interface(knobs=DECISIONS, decisions=100)
    authority = (KNOBS["scale"].low, KNOBS["scale"].high)
    learns = True

    def __init__(self, brain_hidden: int = 8, brain_lr: float = 1.0, seed: int = 0):
        """Make an untrained controller; the arguments are those of `OptBrain`."""
        self._brain = Brain(brain_hidden, brain_lr, seed)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin runs from what rewards have taught so far."""
        self._brain.begin(num_runs)

    def act(self, observation: Array) -> Array:
        """Learn from what came of the last action, and return the next, [N, G, 3]."""
        moved = 10.0 ** (2.0 * observation[..., _UPDATE].astype(float) - 2.0)  # see the feature
        progress = observation[:, 0, _PROGRESS].astype(float)
        return self._brain.decide(observation[..., _COLUMNS], progress, moved=moved)

    def learn(self, reward: Array, ended: Array) -> None:
        """Learn from the reward of the last action, [N]; what is not finite teaches nothing."""
        self._brain.reward(np.asarray(reward, float))

    def state_dict(self) -> dict[str, Any]:
        """Return everything: what rewards have taught, and what the runs under way have learned, as arrays."""
        return flattened({"knowledge": self._brain.knowledge(), "run": self._brain.run_state()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
          ValueError: if it is not finite, or that of something else; then nothing has changed.
        """
        both, brain = nested(state), Brain()
        try:
            brain.learn_all(both["knowledge"])
            brain.go_on(both["run"])
        except KeyError as error:
            raise ValueError(f"state: expected that of a brain; {error.args[0]!r} is missing") from error
        self._brain = brain

    def regroup(self, sources: Array) -> None:
        """Go on with other groups under the same policy."""
        self._brain.regroup(sources)

    def save(self, path: str | Path) -> None:
        """Write what rewards have taught to exactly `path`, an npz."""
        write(path, {"knowledge": self._brain.knowledge()})

    @classmethod
    def from_file(cls, path: str | Path) -> OptBrainController:
        """Read a controller, or begin one from the brain that an `OptBrain` saved.

        Raises:
          FileNotFoundError: if there is no such file.
          ValueError: if it is damaged or something else.
        """
        controller, state = cls(), read(path)
        try:
            controller._brain.learn_all(state["knowledge"])
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path}: expected a saved brain; {error}") from error
        return controller
