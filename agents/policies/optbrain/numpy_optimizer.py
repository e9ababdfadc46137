"""OptBrain in numpy alone: a host of one run whose steps somebody else takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from agents.policies.optbrain.controller import Decision, OptBrainController, decisions
from agents.policies.optbrain.file import check_like, read, write
from optenv.control.guard import Guard
from optenv.control.loop import ControlLoop
from optenv.control.numpy_sketch import NumpySketchMemory, coordinates_per_group, stride
from optenv.control.signals import Interval, loss_statistics
from optenv.files import reading

Array = np.ndarray
EVERY = 10


class NumpyOptBrain:
    """The control loop around a brain, without torch; `OptBrain(None, n_groups=...)` makes it.

    It reads gradients, and takes them for what moves the weights, which it does not see: the bound on how far they
    move is off. As around a torch optimizer, a guard fades decisions to neutral while they do harm. Losses and
    gradients that are not finite are left out of what the brain observes.

    Attributes:
      num_groups: parameter groups, G.
      total_steps: budget of the run in steps, or None.
      steps_per_action: steps between decisions.
      step_count: steps taken.
      controller: what decides.
    """

    def __init__(
        self,
        n_groups: int | None,
        brain_hidden: int = 8,
        brain_lr: float = 1.0,
        brain_update_every: int | None = None,
        seed: int = 0,
        pretrained: str | Path | None = None,
        *,
        total_steps: int | None = None,
    ):
        """Make a brain; the arguments are those of `OptBrain`.

        Raises:
          ValueError: if a number is out of range, or the file is damaged.
        """
        numbers = {"brain_hidden": brain_hidden, "brain_update_every": brain_update_every, "total_steps": total_steps}
        for name, value in {"n_groups": n_groups, **{k: 1 if v is None else v for k, v in numbers.items()}}.items():
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1; received {value!r}")
        assert n_groups is not None
        self.controller = OptBrainController(brain_hidden, brain_lr, seed, pretrained)
        self.num_groups, self.total_steps, self.step_count = int(n_groups), total_steps, 0
        share = round(total_steps / self.controller.interface.decisions) if total_steps else EVERY
        self.steps_per_action = int(brain_update_every or max(1, share))
        self._guard, self._loop = self._hosted(self.controller)
        self._memory = NumpySketchMemory(self.num_groups, coordinates_per_group(self.num_groups))
        self._begin_control_step()
        self._values, self._last_loss = self._loop.values(), np.array([np.nan])

    def _hosted(self, controller: OptBrainController) -> tuple[Guard, ControlLoop]:
        guard = Guard(controller)
        guard.reset(1, self.num_groups)
        total = np.array([np.nan if self.total_steps is None else float(self.total_steps)])
        return guard, ControlLoop(guard.interface, total, self.num_groups, guard.authority)

    def _begin_control_step(self) -> None:
        shape = self._memory.directions.shape[1:]
        self._displacement, self._gradient = np.zeros(shape, np.float32), np.full(shape, np.nan, np.float32)
        self._losses: list[float] = []
        self._steps, self._decided = 0, False

    def get_decisions(self, loss: float) -> dict[int, Decision]:
        """Take in the loss of this step and return what every group is to do in it: {group: (scale, clip, dampen)}."""
        if not self._decided:
            self._values, self._decided = self._loop.decide(self._guard), True
        self._losses.append(float(loss))
        return decisions(self._knob_values(), self.num_groups)

    def _knob_values(self) -> dict[str, Array]:
        return {name: value[0] for name, value in self._values.items()}

    def record_grads(self, group: int, grad_flat: Array) -> None:
        """Take in a group's gradient of this step; at most 1024 of its numbers are read.

        Raises:
          ValueError: if there is no such group.
        """
        if not 0 <= group < self.num_groups:
            raise ValueError(f"group: expected a number from 0 to {self.num_groups - 1}; received {group!r}")
        flat = np.asarray(grad_flat).reshape(-1)
        part = flat[:: stride(flat.size, self._displacement.shape[1])]
        if self._steps + 1 == self.steps_per_action:
            self._gradient[group] = 0.0
            self._gradient[group, : part.size] = part
        if np.isfinite(part).all():
            factor = self._values["scale"][0, group] * (1.0 - self._values["dampen"][0, group])
            self._displacement[group, : part.size] -= factor * part

    def finish_step(self) -> None:
        """End the step, and with the last of a control step let the loop take in what happened."""
        self.step_count, self._steps = self.step_count + 1, self._steps + 1
        if self._steps == self.steps_per_action:
            self._loop.advance(self._interval())
            self._begin_control_step()

    def _interval(self) -> Interval:
        losses = np.array(self._losses)
        finite = losses[np.isfinite(losses)]
        mean = noise = np.array([np.nan])
        if finite.size:
            mean, noise = loss_statistics(finite[:, None], self._last_loss)
            self._last_loss = finite[-1:]
        products = self._memory.advance(self._gradient, self._displacement)
        return Interval(self._steps, mean, noise, products, np.array([finite.size < losses.size]))

    def learn(self, reward: float) -> None:
        """Reward the decision in force; from the first on the brain explores. What is not finite is ignored."""
        self.controller.learn(np.array([reward], float), np.array([False]))

    def get_brain_state(self) -> dict[str, Any]:
        """Return what the brain has learned and decided, see `OptBrainController.brain_state`."""
        return self.controller.brain_state(self.step_count, self._knob_values())

    def save(self, path: str | Path) -> None:
        """Write the brain and the run under way to exactly `path`; at most 50 KB with 47 groups."""
        write(path, self.controller.saved(self._state()))

    def load(self, path: str | Path) -> None:
        """Go on from a saved brain as it would have gone on.

        Raises:
          FileNotFoundError: if there is no such file.
          ValueError: if it is damaged, or of another number of groups; then nothing has changed.
        """
        saved = read(path)
        with reading(path, "the state of this brain"):
            self._restore(saved["control"])

    _NUMBERS = ("total_steps", "steps_per_action", "step_count")
    _RUN = ("_values", "_last_loss", "_displacement", "_gradient", "_losses", "_steps", "_decided")

    def _state(self) -> dict[str, Any]:
        return {
            "groups": self.num_groups,
            **{name: getattr(self, name) for name in (*self._NUMBERS, *self._RUN)},
            "directions": self._memory.directions,
            "loop": self._loop.state_dict(),
            "controller": self._guard.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from what `_state` returned; everything is checked before anything changes."""
        if state["groups"] != self.num_groups:
            raise ValueError(f"expected the brain of {self.num_groups} parameter groups; received {state['groups']}")
        check_like(_without_brain(state), _without_brain({**self._state(), "total_steps": None}))
        if not state["_steps"] < state["steps_per_action"]:
            raise ValueError(f"expected fewer steps than the control step has; received {state['_steps']}")
        own = {name: state[name] for name in (*self._NUMBERS, *self._RUN)}
        directions, loop_state = state["directions"], state["loop"]
        guard, loop = self._hosted(OptBrainController())
        guard.load_state_dict(state["controller"])
        loop.load_state_dict(loop_state)
        vars(self).update(own, controller=guard.controller, _guard=guard, _loop=loop)
        self._memory.directions = directions


def _without_brain(state: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the brain checks by itself, whose shapes its width decides."""
    return {**state, "controller": {**state["controller"], "controller": None}}
