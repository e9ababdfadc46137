"""One run under control: the control loop, the stepper, the controller, and where in the run they are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.controller import Controller
from optenv.control.guard import Guard
from optenv.control.loop import ControlLoop
from optenv.control.signals import Interval
from optenv.wrapper.arguments import single
from optenv.wrapper.checkpoint import from_plain, to_plain
from optenv.wrapper.distributed import Ranks, ranks_of
from optenv.wrapper.snapshot import Snapshot
from optenv.wrapper.stepper import Stepper
from optenv.wrapper.trace import Trace
from optenv.wrapper.transfer import Transfer

Array = np.ndarray
CONTROL = "control"


class Steering:
    """Steps `base` under `controller`, or as it is while paused.

    Attributes:
      base: the base optimizer.
      controller: what decides.
      total_steps: budget in steps, or None.
      steps_per_action: steps between decisions.
      step_count: steps taken, steered or not.
      paused: whether the steps to come are those of the base optimizer alone.
      values: knob values in force by name, [1, G] each.
      trace: every decision, as it is made.
    """

    def __init__(self, base: Optimizer, controller: Controller, total_steps: int | None, steps_per_action: int,
                 trace: Trace, process_group: Any = None, rollback: bool = False, learn: bool = False):  # fmt: skip
        """Prepare a run; it begins with the groups and weights of its first steered step."""
        self.base, self.controller, self.trace = base, controller, trace
        self.total_steps, self.steps_per_action = total_steps, steps_per_action
        self.paused, self._process_group, self._learn = False, process_group, learn
        self._guard = controller if isinstance(controller, Guard) else None
        self._snapshot = Snapshot(base) if rollback else None
        self._forget()

    def _forget(self) -> None:
        self.step_count, self._since_decision, self._interrupted = 0, 0, False
        self._closing: Transfer[Interval] | None = None
        self._skips = False
        self.values: dict[str, Array] = {}
        self._stepper: Stepper | None = None
        self._joined, self._ranks = False, None

    _ranks: Ranks | None

    def take(self, loss: Any) -> None:
        """Take one step, with the other ranks where the training is distributed; `loss` as the user gave it."""
        if not self._joined:  # not before the first step: until then the process group may be set up
            self._joined, self._ranks = True, ranks_of(self._process_group)
            if self._stepper is not None:  # from a checkpoint
                self._stepper.ranks = self._ranks
        if self._ranks is None:
            self.step(None if self.paused else single(loss))
        else:
            self._ranks.step(self, loss)

    def step(self, loss: Tensor | float | None) -> None:
        """Take one step along the gradients that are there; `loss` may be None only while paused."""
        if loss is None or self.paused:
            self.base.step()
            self._interrupted = True
        else:
            stepper = self._stepper
            # After work that has emptied the caches what counts is how much is looked at: in most steps, no more.
            if stepper is None or self._since_decision == 0 or self._interrupted or not stepper.fits():
                stepper = self._prepared()
            if not self._skips:
                stepper.step(loss, self.values)
            self._since_decision, self._skips = self._since_decision + 1, False
            ends = self._learn and self.step_count + 1 == self.total_steps
            if self._since_decision == self.steps_per_action or ends:
                self._closing = stepper.close_interval() if stepper.steps else None
                self._since_decision = 0
            if ends:
                self.settle()  # no decision follows that would ask for the last control step, but a lesson does
        self.step_count += 1

    def _prepared(self) -> Stepper:
        stepper = self._ready()
        if self._since_decision == 0:
            self._decide()
            self._keep_or_go_back()
        return stepper

    def _keep_or_go_back(self) -> None:
        """Take a snapshot where all is well; where trust was lost, go back to the last."""
        if self._snapshot is None or self._guard is None or self._stepper is None:
            return
        if self._guard.troubled[0] and self._snapshot.restore():
            self._stepper.restart()
            self._skips = True  # the gradient that is there is that of the weights that are given up
        elif self._guard.calm[0]:
            self._snapshot.take()

    def attend(self, *, decide: bool) -> None:
        """Take part, though paused, in what the other ranks' steered step asks of all, `decide` where they do."""
        stepper = self._prepared() if decide else self._stepper
        assert stepper is not None
        stepper.attend(self.values)

    def interrupt(self) -> None:
        """Drop the control step that has ended: what the ranks saw of it does not fit together."""
        self._closing, self._interrupted = None, True

    @property
    def steps_into_interval(self) -> int:
        """Steps taken since the last decision was due, as of a checkpoint."""
        return 0 if self._stepper is None or self._interrupted else self._since_decision

    def settle(self) -> None:
        """Take in the control step that has ended; a moment later than its last step, whose numbers are then there."""
        if self._closing is not None:
            self._loop.advance(self._closing.read())
            self._closing = None
            if self._learn:
                self._loop.pay(self.controller)

    def _ready(self) -> Stepper:
        """Begin the run, or go on with what has changed since the last steered step."""
        if self._since_decision == 0:
            self.settle()
        if self._stepper is None:
            self._stepper = self._begin()
        elif not self._stepper.fits():
            self.settle()
            sources = self._stepper.regroup()
            self._loop.regroup(sources)
            self.controller.regroup(sources)
            self.values = self._loop.values()
        if self._interrupted:
            self._stepper.restart()
            self._loop.signals.step = np.array([float(self.step_count)])
            self._since_decision, self._interrupted = 0, False
        return self._stepper

    def _begin(self) -> Stepper:
        stepper = Stepper(self.base, skip_nonfinite=True)
        stepper.ranks = self._ranks
        self._loop = self._fresh_loop(stepper.num_groups)
        self.controller.reset(1, stepper.num_groups)
        if self.controller.interface.first_update is not None:
            self._loop.start_at(stepper.first_update_ratio())
        return stepper

    def _fresh_loop(self, num_groups: int) -> ControlLoop:
        budget = np.array([np.nan if self.total_steps is None else float(self.total_steps)])
        authority = None if self._guard is None else self._guard.authority
        return ControlLoop(self.controller.interface, budget, num_groups, authority)

    def _decide(self) -> None:
        self.values = self._loop.decide(self.controller)
        self.trace.add(self.step_count, float(self._loop.signals.loss[0]), self.base.param_groups, self.values)

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state and, under "control", that of the control."""
        self.settle()
        state = {**self._identity(), "total_steps": self.total_steps, "steps_per_action": self.steps_per_action,
                 "step_count": self.step_count, "paused": self.paused, "run": None}  # fmt: skip
        if self._stepper is not None:
            state["run"] = {"since_decision": self._since_decision, "interrupted": self._interrupted,
                            "stepper": self._stepper.state_dict(), "loop": self._loop.state_dict(),
                            "controller": self.controller.state_dict()}  # fmt: skip
        return {**self.base.state_dict(), CONTROL: to_plain(state)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; from the base optimizer's own, the control begins anew.

        Raises:
          ValueError: if it is the state of another controller or of other parameter groups; then
            nothing has changed.
        """
        base = {name: value for name, value in state_dict.items() if name != CONTROL}
        state = from_plain(state_dict.get(CONTROL))
        run: dict[str, Any] | None = None if state is None else self._check(state)["run"]
        stepper = None if run is None else self._restored(run)
        self.base.load_state_dict(base)
        self._forget()
        for name in ("total_steps", "steps_per_action", "step_count"):
            setattr(self, name, getattr(self, name) if state is None else state[name])
        self.paused |= state is not None and state["paused"]
        if run is not None and stepper is not None:
            self._go_on(stepper, run)

    def _go_on(self, stepper: Stepper, run: dict[str, Any]) -> None:
        self._stepper, self._loop = stepper, self._fresh_loop(stepper.num_groups)
        self._loop.load_state_dict(run["loop"])
        self._since_decision, self._interrupted = run["since_decision"], run["interrupted"]
        self.values = self._loop.values()
        self.controller.reset(1, stepper.num_groups)
        self.controller.load_state_dict(run["controller"])

    def _restored(self, run: dict[str, Any]) -> Stepper:
        groups, expected = run["loop"]["positions"].shape[1], len(self.base.param_groups)
        if groups != expected:
            raise ValueError(f"load_state_dict: expected the state of {expected} parameter groups; received {groups}")
        stepper = Stepper(self.base, skip_nonfinite=True)
        stepper.load_state_dict(run["stepper"])
        return stepper

    def _identity(self) -> dict[str, Any]:
        kind = type(self.controller if self._guard is None else self._guard.controller).__name__
        return {"kind": kind, "interface": asdict(self.controller.interface), "guard": self._guard is not None}

    def _check(self, state: dict[str, Any]) -> dict[str, Any]:
        for name, own in to_plain(self._identity()).items():
            if state.get(name) != own:
                raise ValueError(
                    f"load_state_dict: expected the state of a controller with {name} {own}; received {state.get(name)}"
                )
        return state
