"""OptBrain: a brain for one training run, in numpy alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from agents.optbrain.brain import DECISIONS, Brain, checked
from agents.optbrain.file import read, write
from agents.optbrain.sense import Sense, coordinates
from optenv.control.knobs import KNOBS

Array = np.ndarray
THINNING = 10
Decisions = dict[int, tuple[float, float, float]]


class OptBrain:
    """A small brain that learns, while a model trains, how to scale each parameter group's steps.

    Around an optimizer it is a `torch.optim.Optimizer`:

        optimizer = OptBrain(torch.optim.Adam(model.parameters(), lr=1e-3))
        loss.backward(); optimizer.step(loss=loss.item()); optimizer.zero_grad()

    Without one it needs numpy alone, and whoever steps applies its decisions:

        brain = OptBrain(None, n_groups=5)
        decisions = brain.get_decisions(loss=loss)      # {group: (scale, clip, dampen)}
        brain.record_grads(group, grad_flat)            # for every group
        brain.finish_step()

    `scale` multiplies the learning rate; `clip` is a threshold for the gradient's norm over the largest
    norm of late (5 to 0.1, 1 never clips); the update and the momentum it carries on are multiplied by
    `1 - dampen`. All are neutral, (1, 1, 0), until the brain has learned something: see
    `agents.optbrain.brain` for how it learns. Clip and dampen move only once it was paid rewards.
    Around an optimizer scales fall before that where weights move too far (`agents.optbrain.bound`); in numpy
    alone nobody shows the brain any weights, and that bound is off.

    A loss that is not finite is not heard, a gradient that is not finite not looked at.

    Attributes:
      num_groups: parameter groups, G.
      total_steps: budget of the run in steps, or None.
      step_count: steps taken.
    """

    def __new__(cls, base_optimizer: Any = None, *arguments: Any, **keywords: Any) -> OptBrain:
        """Make a torch optimizer where there is one to wrap."""
        if cls is OptBrain and base_optimizer is not None:
            from agents.optbrain.optimizer import OptBrainOptimizer

            return object.__new__(OptBrainOptimizer)
        return object.__new__(cls)

    def __init__(self, base_optimizer: Any = None, n_groups: int | None = None, brain_hidden: int = 8,
                 brain_lr: float = 1.0, brain_update_every: int = 10, seed: int = 0,
                 pretrained: str | Path | None = None, *, total_steps: int | None = None):  # fmt: skip
        """Make a brain.

        Args:
          base_optimizer: anything with `step()` and `param_groups`; None for numpy alone.
          n_groups: parameter groups; by default those of `base_optimizer`.
          brain_hidden: random features of the policy.
          brain_lr: how far the log scale moves for a unit of credit.
          brain_update_every: steps between decisions, of which the brain makes fewer as a run gets longer:
            after t steps it waits t / 10 steps if that is more.
          seed: of the random features and, where rewards are paid, of the exploration.
          pretrained: a file of a brain or of the controller "optbrain", to go on learning from.
          total_steps: budget of the run in steps, if known; rates then settle towards its end.

        Raises:
          TypeError: if `base_optimizer` is no optimizer.
          ValueError: if a number is out of range, or the file is damaged.
        """
        if n_groups is None:
            raise ValueError("n_groups: expected the number of parameter groups, where there is no optimizer")
        for name, value in (("n_groups", n_groups), ("brain_hidden", brain_hidden),
                            ("brain_update_every", brain_update_every), ("total_steps", total_steps or 1)):  # fmt: skip
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1; received {value!r}")
        self.num_groups, self.total_steps, self._every = int(n_groups), total_steps, int(brain_update_every)
        self._brain = Brain(brain_hidden, brain_lr, seed)
        if pretrained is not None:
            self._learn_from(pretrained)
        self._begin()

    def _begin(self) -> None:
        self._brain.begin(1)
        self._sense = Sense(self.num_groups)
        self.step_count, self._since_look, self._wait = 0, 0, self._every
        self._start_sketch()
        self._obey(np.zeros((self.num_groups, len(DECISIONS))))

    def _start_sketch(self) -> None:
        shape = (self.num_groups, coordinates(self.num_groups))
        self._seen, self._moved = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def get_decisions(self, loss: float) -> Decisions:
        """Take in the loss of this step and return what every group is to do in it: {group: (scale, clip, dampen)}."""
        self._sense.hear(float(loss))
        return self._decisions()

    def record_grads(self, group: int, grad_flat: Array) -> None:
        """Take in a group's gradient of this step; at most 1024 of its numbers are read.

        Raises:
          ValueError: if there is no such group.
        """
        if not 0 <= group < self.num_groups:
            raise ValueError(f"group: expected a number from 0 to {self.num_groups - 1}; received {group!r}")
        flat = np.asarray(grad_flat).reshape(-1)
        part = flat[:: max(1, -(-flat.size // self._seen.shape[1]))]
        if self._since_look == 0:
            self._seen[group, : part.size] = part
        else:
            self._move(group, part)

    def _move(self, group: int, gradient: Array) -> None:
        """Note a step against the gradient: how else the weights moved, only whoever steps knows."""
        if np.isfinite(gradient).all():
            self._moved[group, : len(gradient)] -= self._factors[group] * gradient

    def finish_step(self) -> None:
        """End the step; where it is time to look at the gradients, the brain learns from them and decides anew."""
        if self._since_look == 0:
            inputs = self._sense.look(self._seen, self._moved)
            self._moved[:] = 0.0
            for group, gradient in enumerate(self._seen):
                self._move(group, gradient)
            self._seen[:] = 0.0  # a group that is not recorded when the brain looks again shows it nothing
            self._decide(inputs)
        self._count()

    def learn(self, reward: float) -> None:
        """Pay for the decision in force; from the first reward on the brain explores. What is not finite is ignored."""
        self._brain.reward(np.array([reward], float))

    def get_brain_state(self) -> dict[str, Any]:
        """Return what the brain has learned and decided.

        Returns:
          "step_count", steps taken; "learned", whether it is no longer neutral; "decisions", as from
          `get_decisions`; "weights", the read-out, [3, 1 + H]; "descent", each group's credit, a cosine, [G].
        """
        descent = self._sense.state()["cosines"][:, -1]
        return {"step_count": self.step_count, "learned": not self._neutral, "decisions": self._decisions(),
                "weights": self._brain.weights[0].copy(), "descent": descent.copy()}  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write the brain and the run under way to exactly `path`; at most 50 KB with 47 groups."""
        write(path, self._state())

    def load(self, path: str | Path) -> None:
        """Go on from a saved brain as it would have gone on.

        Raises:
          FileNotFoundError: if there is no such file.
          ValueError: if it is damaged, or of another number of groups; then nothing has changed.
        """
        self._restore(read(path), str(path))

    def _state(self) -> dict[str, Any]:
        counts = [self.num_groups, self._every, self._wait, self.step_count, self._since_look, self.total_steps or 0]
        return {"knowledge": self._brain.knowledge(), "run": self._brain.run_state(), "sense": self._sense.state(),
                "counts": np.array(counts), "actions": self._actions, "sketch": self._sketch_state()}  # fmt: skip

    def _restore(self, state: dict[str, Any], source: str) -> None:
        """Go on from what `_state` returned; everything is checked before anything changes."""
        try:
            counts = np.asarray(state["counts"]).astype(int).tolist()
            if counts[0] != self.num_groups:
                raise ValueError(f"expected the brain of {self.num_groups} parameter groups; received {counts[0]}")
            brain, sense = Brain(), Sense(self.num_groups)
            brain.learn_all(state["knowledge"])
            brain.go_on(state["run"])
            sense.go_on(state["sense"])
            actions = checked(state, {"actions": (self.num_groups, len(DECISIONS))})["actions"]
            self._restore_sketch(state["sketch"])
        except (KeyError, TypeError, IndexError, ValueError) as error:
            reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{source}: not a state of this brain: {reason}") from error
        self._brain, self._sense = brain, sense
        _, self._every, self._wait, self.step_count, self._since_look, total = counts
        self.total_steps = total or None
        self._obey(actions)

    def _sketch_state(self) -> dict[str, Any]:
        return {"seen": self._seen, "moved": self._moved}

    def _restore_sketch(self, state: dict[str, Any]) -> None:
        own = checked(state, dict.fromkeys(("seen", "moved"), self._seen.shape))
        self._seen, self._moved = own["seen"].astype(np.float32), own["moved"].astype(np.float32)

    def _learn_from(self, pretrained: str | Path) -> None:
        state = read(pretrained)
        knowledge = dict(state.get("knowledge", {}))
        if "run" in state:  # what a run has learned of its own, but for how it settled at its end
            knowledge["prior"] = np.asarray(state["run"]["weights"])[0]
        try:
            self._brain.learn_all({**knowledge, "rate": self._brain.rate, "seed": self._brain.seed})
        except (KeyError, ValueError) as error:
            raise ValueError(f"{pretrained}: expected a saved brain; {error}") from error

    def _decide(self, inputs: Array, moved: Array | None = None) -> None:
        progress = -1.0 if self.total_steps is None else min(self.step_count / self.total_steps, 1.0)
        self._obey(self._brain.decide(inputs, np.array([progress]), self.step_count / self._wait, moved)[0])

    def _obey(self, actions: Array) -> None:
        """Put actions, [G, 3], in force."""
        self._actions, self._neutral = actions, not actions.any()
        self._values = [_values(name, row) for name, row in zip(DECISIONS, actions.T, strict=True)]
        scales, self._clips, self._dampens = self._values
        self._factors = [s * (1.0 - d) for s, d in zip(scales, self._dampens, strict=True)]

    def _decisions(self) -> Decisions:
        return dict(enumerate(zip(*self._values, strict=True)))

    def _count(self) -> None:
        self.step_count += 1
        self._since_look += 1
        if self._since_look >= self._wait:
            self._since_look, self._wait = 0, max(self._every, self.step_count // THINNING)


def _values(name: str, actions: Array) -> list[float]:
    """Return the values of one knob; most of the time most are neutral, which need not be computed."""
    knob = KNOBS[name]
    return knob.absolute(actions).tolist() if actions.any() else [float(knob.neutral or 0.0)] * len(actions)
