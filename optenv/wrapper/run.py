"""One run under control: where it is, and the decisions between its steps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.controller import Controller
from optenv.control.guard import Guard
from optenv.control.knobs import KNOBS
from optenv.control.loop import ControlLoop
from optenv.control.signals import Interval
from optenv.wrapper.apply_knobs import place
from optenv.wrapper.base_needs import needs_of
from optenv.wrapper.base_rates import BaseRates
from optenv.wrapper.base_step import BaseStep
from optenv.wrapper.best_weights import BestWeights
from optenv.wrapper.collective import Collective
from optenv.wrapper.controlled_steps import ControlledSteps, Measurement
from optenv.wrapper.decision_log import DecisionLog
from optenv.wrapper.plain_state import DeferredResult, from_plain, to_plain
from optenv.wrapper.validation import Validation

Array = np.ndarray
Pool = Callable[[Measurement], Measurement]
CONTROL, VALIDATION = "control", "validation"


@dataclass
class ControlledRunState:
    """Where a run is.

    Attributes:
      step_count: steps taken, controlled or not.
      since_decision: steps since the last decision was due.
      interrupted: whether steps were missed since, so that the control step has to begin anew.
      skip_step: whether the base optimizer leaves out its next step, whose gradient is that of other weights.
      values: knob values in force by name, [1, G] each.
      steps: the controlled steps; None before the first.
      loop: the control loop, likewise.
      ended: the control step that has ended and is not yet taken in: its numbers may be on their way.
    """

    step_count: int = 0
    since_decision: int = 0
    interrupted: bool = False
    skip_step: bool = False
    values: dict[str, Array] = field(default_factory=dict)
    steps: ControlledSteps | None = None
    loop: ControlLoop | None = None
    ended: DeferredResult[Interval] | None = None


class ControlledRun:
    """Steps `base` under `controller`, or as it is while paused.

    Attributes:
      base: the base optimizer.
      controller: what decides.
      log: every decision, as it is made.
      total_steps: budget in steps, or None.
      steps_per_action: steps between decisions.
      collective: of the processes that train together, or None alone; set by what they step through.
      paused: whether the steps to come are those of the base optimizer alone.
      validation: what is known of data that is not trained on.
      state: where the run is.
    """

    collective: Collective | None = None

    def __init__(
        self,
        base: Optimizer,
        controller: Controller,
        log: DecisionLog,
        *,
        total_steps: int | None,
        steps_per_action: int,
        validation: Validation,
        rollback: bool = False,
        learn: bool = False,
        paused: bool = False,
    ):
        """Prepare a run; it begins with the groups and weights of its first controlled step."""
        self.base, self.controller, self.log = base, controller, log
        self.total_steps, self.steps_per_action, self.paused = total_steps, steps_per_action, paused
        self._asked_steps, self._base_rates, self.validation = total_steps, BaseRates(base), validation
        self._guard = controller if isinstance(controller, Guard) else None
        self._take = BaseStep(base, needs_of(base), guarded=self._guard is not None)
        self._best = BestWeights(base) if rollback else None
        self._kept: BestWeights | None = None  # those that the controller has had kept
        self._learner = controller if learn else None
        self.state = ControlledRunState()

    def step(self, loss: Any, *, controlled: bool = True, pool: Pool | None = None) -> None:
        """Take one step along the gradients that are there.

        Args:
          loss: as the user gave it, None where it is unknown; not looked at where the step is not controlled.
          controlled: False for a step of the base optimizer alone, as while paused.
          pool: puts together what all ranks measured in a control step; None alone.

        Raises:
          ValueError: if the step is controlled, and the loss not a single number.
        """
        state = self.state
        if self.paused or not controlled:
            self._take.needs.step(self.base, loss)
            state.interrupted = True
        elif state.steps is None and not self._can_begin(loss):
            self._take(loss)
            state.interrupted = True
        else:
            number, steps = None if loss is None else single_loss(loss), state.steps
            # After work that has emptied the caches what counts is how much is read: in most steps, no more.
            if steps is None or state.since_decision == 0 or state.interrupted or not steps.fits():
                steps = self.prepare()
            if not state.skip_step:
                steps.step(number, state.values)
            state.since_decision, state.skip_step = state.since_decision + 1, False
            last = self._learner is not None and state.step_count + 1 == self.total_steps
            if state.since_decision == self.steps_per_action or last:
                self._end_control_step(steps, pool)
            if last:
                self.settle()  # no decision follows that would ask for the last control step, but a reward does
        state.step_count += 1
        final = state.step_count == self.total_steps
        if (final or state.since_decision == 0) and controlled and not self.paused and state.steps is not None:
            self.validation.end_control_step(self.collective, final=final)

    def hold_step(self, loss: Tensor | float) -> None:
        """Take a step under the knob values in force, of which nothing is observed."""
        if self.paused:
            self._take.needs.step(self.base, loss)
        elif self.state.steps is None:
            self._take(loss)
        else:
            self.state.steps.step(loss, self.state.values)
        self.state.interrupted = True
        self.state.step_count += 1

    @property
    def needs_first_loss(self) -> bool:
        """Whether a step without a loss is an error: none was ever told, and the controller needs them."""
        return self.state.steps is None and not self.paused and self.controller.needs_losses

    @property
    def skipped(self) -> int:
        """Steps skipped so far because a gradient was not finite; on an accelerator as of the last decision."""
        return self._take.skipped

    def prepare(self) -> ControlledSteps:
        """Begin the run, or go on with what has changed since the last controlled step; decide where that is due."""
        state = self.state
        if state.since_decision == 0:
            self.settle()
        if state.steps is None:
            state.steps = self._begin()
        elif not state.steps.fits():
            self.settle()
            self._regroup(state.steps)
        if state.interrupted:
            state.steps.restart()
            self._loop.signals.step = np.array([float(state.step_count)])
            state.since_decision, state.interrupted = 0, False
        if state.since_decision == 0:
            self._decide()
            self._keep_or_restore(state.steps)
        return state.steps

    def settle(self) -> None:
        """Take in the control step that has ended; a moment later than its last step, whose numbers are then there."""
        if self.state.ended is not None:
            ended, self.state.ended = self.state.ended.read(), None
            self._take_validation()
            self._loop.advance(ended, self._learner)

    def _take_validation(self) -> None:
        loss = self.validation.take()
        if loss is not None:
            self._loop.take_validation(np.array([loss]), np.zeros(1, int))

    def restore_best(self) -> float:
        """Put the weights of the least validation loss in place, and return that loss.

        Raises:
          ValueError: if none are kept.
        """
        best = self.validation.best
        if best is None or best.loss == math.inf:
            what = "keep_best=False" if best is None else "none so far"
            raise ValueError(
                f"restore_best: expected keep_best and a validation loss to have been seen; received {what}"
            )
        best.restore()
        self.state.interrupted = self.state.steps is not None
        return best.loss

    def interrupt(self) -> None:
        """Drop the control step that has ended: what the ranks saw of it does not fit together."""
        self.state.ended, self.state.interrupted = None, True

    def join_collectives(self, *, decide: bool) -> None:
        """Take part, though paused, in the collectives of the other ranks' controlled step; `decide` where they do."""
        steps = self.prepare() if decide else self.state.steps
        assert steps is not None
        steps.join_collectives(self.state.values)

    @property
    def _loop(self) -> ControlLoop:
        assert self.state.loop is not None
        return self.state.loop

    def _can_begin(self, loss: Any) -> bool:
        """Say whether there are a rate and a gradient to measure the first scale by, where that is needed."""
        if not self._free:
            return True
        if self.collective is not None or not self._base_rates.known():
            return self._base_rates.known()  # all ranks begin at the same step
        return not self._take.is_blocked() and (loss is not None or bool(self._take.gradients()))

    @property
    def _free(self) -> bool:
        """Whether the controller sets its own first scale."""
        return self.controller.interface.sets_first_scale

    def _begin(self) -> ControlledSteps:
        steps = self._new_steps()
        self.state.loop = self._new_loop(steps.num_groups)
        self.controller.reset(1, steps.num_groups)
        if self._free:
            norm = self.controller.interface.first_update_norm is not None
            self._loop.start_at(steps.first_update(self._base_rates.now(), norm=norm))
        self.validation.begin(self.collective)
        self._take_validation()
        return steps

    def _regroup(self, steps: ControlledSteps) -> None:
        before = steps.groups
        sources = steps.regroup()
        pairs = list(zip(steps.groups, sources, strict=True))
        # Of groups that stay the present entries: loading a state replaces them, and their rates with them.
        others = [group for group, source in pairs if source >= 0] or before
        new = [group for group, source in pairs if source < 0]
        self._loop.regroup(sources, self._base_rates.comparable(others, new))
        self.controller.regroup(sources)
        self.state.values = self._allowed(self._loop.values())

    def _new_steps(self) -> ControlledSteps:
        steps = ControlledSteps(self.base, self._take, skip_nonfinite=True)
        steps.collective = self.collective
        return steps

    def _new_loop(self, num_groups: int) -> ControlLoop:
        budget = np.array([np.nan if self.total_steps is None else float(self.total_steps)])
        authority = None if self._guard is None else self._guard.authority
        return ControlLoop(self.controller.interface, budget, num_groups, authority)

    def _decide(self) -> None:
        state = self.state
        state.values = self._allowed(self._loop.decide(self.controller))
        loss = float(self._loop.signals.loss[0])
        self.log.add(state.step_count, loss, self.base.param_groups, state.values, self.skipped)

    def _allowed(self, values: dict[str, Array]) -> dict[str, Array]:
        """Return the values of knobs that the base optimizer has something for, with one rate where it needs one."""
        if self._take.needs.one_rate:
            self._loop.share_rates()
            values = self._loop.values()
        optional = self.controller.optional_knobs
        idle = [name for name in values if name in optional and not self._moves(name)]
        return {name: value for name, value in values.items() if name not in idle} if idle else values

    def _moves(self, knob: str) -> bool:
        moves, groups = KNOBS[knob].moves, self.base.param_groups
        return not moves or any(place(group, name) is not None for group in groups for name in moves)

    def _keep_or_restore(self, steps: ControlledSteps) -> None:
        """Keep the weights, or go back to those kept last, as the controller asks and as the guard does.

        The gradient that is there is that of the weights given up: the base optimizer leaves its step out.
        """
        keep, restore = self.controller.keep_weights, self.controller.restore_weights
        if restore is not None and restore[0] and self._kept is not None:
            self._kept.restore()
            self._pass_over(steps)
        if keep is None:
            self._kept = None
        elif keep[0]:
            self._kept = self._kept or BestWeights(self.base, with_state=False)
            self._kept.keep()
        if self._best is None or self._guard is None:
            return
        if self._guard.troubled[0] and self._best.restore():
            self._pass_over(steps)
        elif self._guard.calm[0]:
            self._best.keep()

    def _pass_over(self, steps: ControlledSteps) -> None:
        steps.restart(passed_over=1)
        self.state.skip_step = True

    def _end_control_step(self, steps: ControlledSteps, pool: Pool | None) -> None:
        self.state.since_decision = 0
        if steps.steps:  # else all were skipped
            measured = steps.measure()
            self.state.ended = steps.summed_up(measured if pool is None else pool(measured))

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state and, under "control", that of the control."""
        self.settle()
        state, run, learned = self.state, None, None
        if state.steps is not None:
            if not state.steps.fits(between_steps=True):
                self._regroup(state.steps)
            run = {
                "since_decision": state.since_decision,
                "interrupted": state.interrupted,
                "steps": state.steps.state_dict(),
                "loop": self._loop.state_dict(),
                "controller": self.controller.state_dict(),
            }
        elif self._learner is not None:  # which keeps over a reset what earlier runs have taught it
            self.controller.reset(1, len(self.base.param_groups))
            learned = self.controller.state_dict()
        control = {
            **self._identity(),
            "total_steps": self.total_steps,
            "steps_per_action": self.steps_per_action,
            "step_count": state.step_count,
            "paused": self.paused,
            "base_rates": self._base_rates.noted(),
            "run": run,
            "learned": learned,
        }
        return {**self.base.state_dict(), CONTROL: {**to_plain(control), VALIDATION: self.validation.state_dict()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; from the base optimizer's own, the control begins anew.

        Raises:
          ValueError: if it is the state of another controller or of other parameter groups; then
            nothing has changed.
        """
        of_control = state_dict.get(CONTROL)
        control = from_plain(of_control and {name: v for name, v in of_control.items() if name != VALIDATION})
        state = self._without_control(state_dict) if control is None else self._restored(control)
        self.base.load_state_dict({name: value for name, value in state_dict.items() if name != CONTROL})
        self.state = state
        self._best, self._kept = None if self._best is None else BestWeights(self.base), None
        if control is not None:
            self.total_steps, self.steps_per_action = self._budget(control), control["steps_per_action"]
            self.paused |= control["paused"]
            self._base_rates.note(control.get("base_rates") or self._base_rates.noted())
        known = control and (control.get("learned") if control["run"] is None else control["run"]["controller"])
        if known is not None:
            self.controller.reset(1, len(self.base.param_groups))
            self.controller.load_state_dict(known)
        if of_control and VALIDATION in of_control:
            self.validation.load_state_dict(of_control[VALIDATION])

    def _without_control(self, state_dict: dict[str, Any]) -> ControlledRunState:
        """Return where a run is after it has loaded a state of the base optimizer alone."""
        by_name = any(isinstance(p, str) for group in state_dict.get("param_groups", []) for p in group["params"])
        if not by_name:
            return ControlledRunState()
        warnings.warn(
            "load_state_dict: torch.distributed.checkpoint hands on the state of the base optimizer alone; the control "
            f'goes on from its step {self.state.step_count}. Save optimizer.state_dict()["control"] beside it',
            stacklevel=2,
        )
        self.state.interrupted = self.state.steps is not None
        return self.state

    def _restored(self, control: dict[str, Any]) -> ControlledRunState:
        for name, own in to_plain(self._identity()).items():
            if control.get(name) != own:
                raise ValueError(
                    f"load_state_dict: expected the state of a controller with {name} {own}; "
                    f"received {control.get(name)}"
                )
        state, run = ControlledRunState(step_count=control["step_count"]), control["run"]
        if run is None:  # steps so far were the base optimizer's alone, and the control begins after them
            state.interrupted = state.step_count > 0
            return state
        groups, expected = run["loop"]["positions"].shape[1], len(self.base.param_groups)
        if groups != expected:
            raise ValueError(f"load_state_dict: expected the state of {expected} parameter groups; received {groups}")
        state.since_decision, state.interrupted = run["since_decision"], run["interrupted"]
        state.steps, state.loop = self._new_steps(), self._new_loop(groups)
        state.steps.load_state_dict(run["steps"])
        state.loop.load_state_dict(run["loop"])
        state.loop.signals.total[:] = math.nan if self._budget(control) is None else self._budget(control)
        state.values = state.loop.values()
        return state

    def _budget(self, control: dict[str, Any]) -> int | None:
        """Return the budget that was asked for at construction, else that of a checkpoint."""
        return self._asked_steps if self._asked_steps is not None else control["total_steps"]

    def _identity(self) -> dict[str, Any]:
        kind = type(self.controller if self._guard is None else self._guard.controller).__name__
        return {"kind": kind, "interface": asdict(self.controller.interface), "guard": self._guard is not None}


def single_loss(loss: Any) -> Tensor | float:
    """Return the loss as a number, or detached where reading it would synchronise with its device.

    Raises:
      ValueError: if it is missing or not a single number.
    """
    if loss is None:
        raise ValueError("step: expected loss=..., or a closure that returns it; received neither")
    if isinstance(loss, Tensor):
        if loss.numel() != 1:
            raise ValueError(f"step: expected a loss that is a single number; received shape {tuple(loss.shape)}")
        return loss.item() if loss.is_cpu else loss.detach().reshape(())
    try:
        return float(loss)
    except (TypeError, ValueError):
        raise ValueError(f"step: expected a loss that is a single number; received {loss!r}") from None
