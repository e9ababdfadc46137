"""The brain as a controller of many runs at once, each with what it has learned by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from agents.policies.optbrain.brain import DECISIONS, INPUTS, Brain, checked
from agents.policies.optbrain.file import read, write
from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURE_NAMES
from optenv.control.knobs import KNOBS
from optenv.control.signals import carried
from optenv.files import reading

Array = np.ndarray
Decision = tuple[float, float, float]
NEUTRAL: Decision = (1.0, 1.0, 0.0)
_PROGRESS = FEATURE_NAMES.index("progress")
_UPDATE = FEATURE_NAMES.index("update_ratio")
_DESCENT = FEATURE_NAMES.index("descent")
_COLUMNS = [FEATURE_NAMES.index(name) for name in INPUTS]


class OptBrainController(Controller):
    """Learn online, from the sketched gradient in every run and from reward over runs: see `Brain`.

    What a run has learned of itself ends with it; what rewards have taught stays, and is what `save`
    writes. It does not act before `PATIENCE` decisions, nor before there is evidence, but for bounding how
    far weights move in a control step, from the second decision on (`agents.policies.optbrain.credit`).

    Attributes:
      brain: what learns and decides.
      descent: the feature of that name at the last decision, [N, G].
    """

    interface = Interface(knobs=DECISIONS, decisions=50)
    authority = (KNOBS["scale"].low, KNOBS["scale"].high)
    learns = True

    def __init__(
        self, brain_hidden: int = 8, brain_lr: float = 1.0, seed: int = 0, pretrained: str | Path | None = None
    ):
        """Make a controller; the arguments are those of `OptBrain`."""
        self.brain = Brain(brain_hidden, brain_lr, seed)
        if pretrained is not None:
            self._begin_with(pretrained)
        self.reset(0, 0)

    def _begin_with(self, path: str | Path) -> None:
        state = read(path)
        with reading(path, "a saved brain"):
            knowledge = {**state["knowledge"], "rate": self.brain.rate, "seed": self.brain.seed}
            if "learned" in state:
                knowledge["prior"] = state["learned"]
            self.brain.learn_all(knowledge)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin runs from what rewards have taught so far."""
        self.brain.begin(num_runs)
        self.descent = np.zeros((num_runs, num_groups))

    def act(self, observation: Array) -> Array:
        """Learn from what came of the last action, and return the next, [N, G, 3]."""
        moved = 10.0 ** (2.0 * observation[..., _UPDATE].astype(float) - 2.0)  # see the feature
        progress = observation[:, 0, _PROGRESS].astype(float)
        self.descent = observation[..., _DESCENT].astype(float)
        return self.brain.decide(observation[..., _COLUMNS], progress, moved=moved)

    def learn(self, reward: Array, ended: Array) -> None:
        """Learn from the reward of the last action, [N]; what is not finite teaches nothing."""
        self.brain.reward(np.asarray(reward, float))

    def state_dict(self) -> dict[str, Any]:
        """Return everything: what rewards have taught, and what the runs under way have learned, as arrays."""
        return {"knowledge": self.brain.knowledge(), "run": self.brain.run_state(), "descent": self.descent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
          ValueError: if it is not finite, or that of something else; then nothing has changed.
        """
        brain = Brain()
        try:
            brain.learn_all(state["knowledge"])
            brain.go_on(state["run"])
            runs, groups = np.shape(state["run"]["settled"])[0], np.shape(state["descent"])[-1]
            descent = checked(state, {"descent": (runs, groups)})["descent"]
        except KeyError as error:
            raise ValueError(f"state: expected that of a brain; {error.args[0]!r} is missing") from error
        self.brain, self.descent = brain, descent

    def regroup(self, sources: Array) -> None:
        """Go on with other groups under the same policy."""
        self.brain.regroup(sources)
        self.descent = carried(self.descent, np.zeros((len(self.descent), len(sources))), sources)

    def brain_state(self, step_count: int, values: dict[str, Array]) -> dict[str, Any]:
        """Return what the brain has learned and decided in the one run that a drop-in steers.

        Args:
          step_count: steps taken.
          values: the knob values in force by name, [G] each; without any all groups are neutral.

        Returns:
          "step_count", steps taken; "learned", whether it is no longer neutral; "decisions", {group: (scale, clip,
          dampen)}; "weights", the read-out, [3, 1 + H]; "descent", each group's credit, a cosine, [G].
        """
        made = decisions(values, self.descent.shape[1])
        return {
            "step_count": step_count,
            "learned": any(decision != NEUTRAL for decision in made.values()),
            "decisions": made,
            "weights": self.brain.weights[0].copy(),
            "descent": self.descent[0].copy(),
        }

    def saved(self, control: dict[str, Any]) -> dict[str, Any]:
        """Return what the file of a drop-in holds, see `agents.policies.optbrain.file`; `control`: the run's state."""
        return {"knowledge": self.brain.knowledge(), "learned": self.brain.weights[0], "control": control}

    def save(self, path: str | Path) -> None:
        """Write what rewards have taught to exactly `path`, an npz."""
        write(path, {"knowledge": self.brain.knowledge()})

    @classmethod
    def from_file(cls, path: str | Path) -> OptBrainController:
        """Read a controller, or begin one from the brain that an `OptBrain` saved.

        Raises:
          FileNotFoundError: if there is no such file.
          ValueError: if it is damaged or something else.
        """
        controller, state = cls(), read(path)
        with reading(path, "a saved brain"):
            controller.brain.learn_all(state["knowledge"])
        return controller


def decisions(values: dict[str, Array], num_groups: int) -> dict[int, Decision]:
    """Return knob values, [G] each, as {group: (scale, clip, dampen)}."""
    if not values:
        return dict.fromkeys(range(num_groups), NEUTRAL)
    return dict(enumerate(zip(*(values[name].tolist() for name in DECISIONS), strict=True)))
