"""The controlled optimizer: a controller sets the knobs of any torch optimizer."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.controller import Controller
from optenv.control.guard import Guard
from optenv.control.loop import check_learner
from optenv.control.named import load_controller
from optenv.control.unknown_budget import STEPS_PER_ACTION
from optenv.wrapper.best_validation import BestValidation
from optenv.wrapper.checks import check, whole
from optenv.wrapper.decision_log import DecisionLog
from optenv.wrapper.delegating import DelegatingOptimizer, after_hooks, step_within_hooks
from optenv.wrapper.distributed_run import DistributedRun, distributed
from optenv.wrapper.ownership import owned
from optenv.wrapper.param_groups import base_rate
from optenv.wrapper.run import ControlledRun, single_loss
from optenv.wrapper.validation import Validation, validation_loss

Array = np.ndarray


class ControlledOptimizer(DelegatingOptimizer):
    """Trains with `base` under a controller.

    Every `steps_per_action` steps the controller observes the run and sets each parameter group's
    knobs; the hyperparameters are set for the step alone and restored after it, so schedules of
    the user's own compose with the control. With a neutral controller every step is that of the
    base optimizer, bit for bit.

        opt = ControlledOptimizer(torch.optim.AdamW(layer_groups(model)), controller, total_steps=2000)
        loss.backward(); opt.step(loss=loss); opt.zero_grad()

    - Groups may be added, emptied or taken away at any time; the others go on. A new one starts neutral, at scale 1 of
      its own base rate; under a controller that sets its own first scale, at the others' effective rate. Without
      gradients a group observes nothing new.
    - A loss that is not finite is left out of what the controller observes; the base optimizer steps on it as it
      always would. A gradient that is not finite is no step for it: the guard skips it, as a `GradScaler` would,
      says so once and counts it in `history`. A step that a `GradScaler` skips itself is no step.
    - A step without a loss, as of a closure that returns None, is one whose loss is unknown: the base optimizer steps
      under the knobs in force, and no loss is observed. Only at the start of a run it is an error that no loss comes at
      all, unless the controller can do without (`needs_losses`). Data parallel, every rank has a loss in every step.
    - A base optimizer that wants the loss itself is handed it; where it needs one rate for all groups (Prodigy) their
      mean scale is that of all.
    - A controller that sets its own first scale measures it at the schedule's base, see `BaseRates`: a warm-up, from 0
      too, is a share of what control says. Rates set by hand are shares of the rate at the time of wrapping.
    - Gradient accumulation: one `step` per update, with the loss of the whole update.
    - Hooks registered here fire around the whole step, those of the base optimizer where it steps;
      torch's global ones fire once, there.
    - Data parallel (DDP, FSDP2): every rank passes its own loss; once a control step they pool what they
      saw and decide alike. All pause at the same step, and go on, after `resume`, when they next meet. Between
      control steps the state of one replica serves all; a shard's is its own. Within `with ddp.join():` the knobs
      stay as they are once a rank has run out of inputs, until all go on together; each takes one step there at least.
    - Trainers that call `step` without a loss: `observe` it before.
    - A compiled base step wants `lr=torch.tensor(...)`: a rate that is a number is a constant to it.

    Attributes:
      base: the base optimizer; `param_groups`, `state` and `defaults` are its own.
      controller: what decides: the one handed over, or where another optimizer in use has that, a copy.
    """

    _observed: Tensor | float | None = None
    _within_hooks = False
    _said_skipped = False
    _distributed: ControlledRun | DistributedRun | None

    def __init__(
        self,
        base: Optimizer,
        controller: Controller | str | Path,
        *,
        total_steps: int | None = None,
        steps_per_action: int | None = None,
        neutral: bool = False,
        trace: str | Path | Any = None,
        process_group: Any = None,
        guard: bool = True,
        max_authority: float | tuple[float, float] | None = None,
        rollback: bool = False,
        learn: bool = False,
        validate: Callable[[], Any] | None = None,
        validate_every: int = 1,
        keep_best: bool | str = False,
    ):
        """Put `controller` on top of `base`.

        Args:
          base: any `torch.optim.Optimizer` but such as call a closure several times a step (LBFGS, SAM).
          controller: decides every group's knobs; or the name or file of one, or a trained model of
            stable-baselines3 with its environment, see `agents.load`.
          total_steps: budget of the run in steps, if known; the controller observes its progress. It holds for
            checkpoints with another budget too.
          steps_per_action: steps between decisions; by default the budget divided by the number of
            decisions the controller was made for, or 10 where the budget is unknown.
          neutral: start paused: the base optimizer, bit for bit, until `resume`.
          trace: where to write every decision, with the keys of `history`: a path that ends in .jsonl is a
            file, to which a line of JSON each is appended (`optcontrol plot` draws it; a resumed run repeats the
            decisions since its checkpoint); every other path is a TensorBoard directory; anything with
            `add_scalar` is a TensorBoard writer.
          process_group: the processes that train this model together (DDP, FSDP2); by default all of
            torch.distributed's where that is initialised, False for processes with models of their own.
          guard: do no harm: while control makes the loss worse, fade it to neutral; see
            `optenv.control.guard.Guard`. Where nothing goes wrong it changes no bit.
          max_authority: how far the guard lets a group's rate depart from the user's: a pair (least,
            greatest), or a factor f for (1 / f, f); by default as far as the controller declares.
          rollback: where the guard ends a divergence, also go back to the weights and the state of the
            base optimizer when the loss was last near its best. Costs a copy of both.
          learn: tell a controller that learns from rewards what came of every action, see `ControlLoop.advance`; for
            such as learn over several runs. To find out what pays it may try things out, which a single run pays for.
          validate: returns the model's validation loss; called without gradients before the first controlled step
            and at the ends of control steps. It switches the model to evaluation and back itself. Data parallel,
            every rank calls it, and the losses are averaged.
          validate_every: control steps from one call to the next; the end of the budget is never left out.
          keep_best: keep the weights and buffers of the least validation loss, for `restore_best`, and an average of
            the weights over about the last tenth of the run, for `averaged`: True on the devices where they are, "cpu"
            on the host. With `validate` the average is a second candidate each time. Costs two copies of the weights,
            and a second call.

        Raises:
          FileNotFoundError: if `controller` is the path of no file.
          ImportError: if `trace` asks for TensorBoard and it is not installed.
          TypeError: if `base` is no optimizer, one that is controlled already or calls its closure more than once,
            `controller` is no controller, `validate` cannot be called, or `trace` is neither path nor writer.
          ValueError: if a number is not positive, `max_authority` no such range, it or `rollback` asked for
            without a guard, `learn` of a controller that does not or is in
            the middle of another run, `keep_best` no place, or `base` has nothing for one of the
            controller's knobs to move, unless they are among its `optional_knobs`.
        """
        if isinstance(controller, (str, Path)) or hasattr(controller, "get_env"):
            controller = load_controller(controller)
        check(base, controller)
        total_steps, steps_per_action = whole("total_steps", total_steps), whole("steps_per_action", steps_per_action)
        if validate is not None and not callable(validate):
            raise TypeError(f"validate: expected a function without arguments, or None; received {validate!r}")
        if not guard and (max_authority is not None or rollback):
            raise ValueError("guard: expected True where max_authority or rollback is asked for; received False")
        if learn:
            check_learner(controller)
        super().__init__(base)
        self.controller = controller = owned(self, controller, learn=learn)
        decisions = controller.interface.decisions
        every = steps_per_action or (max(1, round(total_steps / decisions)) if total_steps else STEPS_PER_ACTION)
        if guard and not isinstance(controller, Guard):
            controller = Guard(controller, max_authority=max_authority)
        self._process_group, self._distributed = process_group, None
        self._run = ControlledRun(
            base,
            controller,
            DecisionLog(trace),
            total_steps=total_steps,
            steps_per_action=every,
            validation=Validation(
                validate,
                whole("validate_every", validate_every) or 1,
                BestValidation(base, keep_best) if keep_best is not False else None,
            ),
            rollback=rollback,
            learn=learn,
            paused=neutral,
        )

    @property
    def total_steps(self) -> int | None:
        """Budget in steps, or None."""
        return self._run.total_steps

    @property
    def steps_per_action(self) -> int:
        """Steps between decisions."""
        return self._run.steps_per_action

    @property
    def step_count(self) -> int:
        """Steps taken, controlled or not."""
        return self._run.state.step_count

    @property
    def knob_values(self) -> dict[str, Array]:
        """Knob values in force by name, [G] each; empty before the first decision."""
        return {name: value[0] for name, value in self._run.state.values.items()}

    @property
    def paused(self) -> bool:
        """Whether the steps to come are those of the base optimizer alone."""
        return self._run.paused

    @property
    def validate(self) -> Callable[[], Any] | None:
        """What returns the validation loss; to be set again after copying or unpickling, which leave it out."""
        return self._run.validation.function

    @validate.setter
    def validate(self, function: Callable[[], Any] | None) -> None:
        """Ask another function from now on."""
        self._run.validation.function = function

    @property
    def best_validation(self) -> float | None:
        """The validation loss of the weights that `restore_best` would put in place; None where none are kept."""
        best = self._run.validation.best
        return None if best is None or best.loss == float("inf") else best.loss

    @property
    def history(self) -> list[dict[str, Any]]:
        """The decisions so far, oldest first; of many, evenly thinned to a bounded number.

        Each has "step", steps taken before it; "loss", the mean of the interval before it, or None; "skipped", steps
        so far whose gradient was not finite; and, one number per group, "rate", the rate in force, and every knob by
        name. Not part of a checkpoint.
        """
        return self._run.log.records()

    def pause(self) -> None:
        """Leave the base optimizer alone from now on, bit for bit; its steps need no loss."""
        self._run.paused = True

    def resume(self) -> None:
        """Control again: a decision at the next step, from the knobs that were in force before the pause."""
        self._run.paused = False

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state and, under "control", that of the control and the controller.

        It holds nothing but tensors, numbers, strings, lists and dicts: `torch.load(weights_only=True)` reads it.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        return after_hooks(self._optimizer_state_dict_post_hooks.values(), self, self._run.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; the run goes on bit for bit as it would have.

        Only weights that a controller or `rollback` keeps to return to are no part of it: they are kept anew.
        `steps_per_action` is restored too, and `total_steps` where the constructor was given none. From the state
        of a base optimizer alone, the control begins anew; from what torch.distributed.checkpoint makes of a state,
        which has no place for the control, it goes on from where it is, with a warning. A run that is paused stays so.

        Raises:
          ValueError: if it is the state of another controller or of other parameter groups.
        """
        hooks = self._optimizer_load_state_dict_pre_hooks.values()
        self._run.load_state_dict(after_hooks(hooks, self, dict(state_dict)))
        self._distributed = None
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def observe(self, loss: Tensor | float | None = None, *, validation: Tensor | float | None = None) -> None:
        """Tell the losses that `step` is not told.

        Args:
          loss: a training loss, added to that of the next step as `backward` adds its gradients: for trainers that
            call `step` themselves, without a loss. A loss that `step` is given, or that its closure returns, goes
            before; `zero_grad` clears what was observed.
          validation: the validation loss of the model as it is now: for trainers that evaluate themselves. Data
            parallel, the same on every rank.

        Raises:
          ValueError: if one is not a single number.
        """
        if validation is not None:
            self._run.validation.tell(validation_loss("observe", validation))
        if loss is not None or validation is None:
            self._observed = single_loss(loss) + (0.0 if self._observed is None else self._observed)

    def restore_best(self) -> float:
        """Put the weights and buffers of the least validation loss so far in place, and return that loss.

        Raises:
          ValueError: if none are kept.
        """
        return self._run.restore_best()

    def averaged(self) -> AbstractContextManager[None]:
        """Within `with`, put the average of the weights over about the last tenth of the run in their place.

        That is what to evaluate and to save of a run without budget and validation losses, whose rate does not fall
        to 0. Buffers stay as they are; until there is an average, so do the weights. Take no step within it.

        Raises:
          ValueError: if none is kept: that is a part of `keep_best`.
        """
        return self._run.validation.averaged()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, and the losses observed with them.

        Args:
          set_to_none: as of `torch.optim.Optimizer.zero_grad`.
        """
        if self._observed is not None:
            self._observed = None
        self.base.zero_grad(set_to_none)

    def step(self, closure: Callable[[], Any] | None = None, *, loss: Tensor | float | None = None) -> Any:
        """Take one step.

        Args:
          closure: recomputes the loss and its gradients; it runs once, before control.
          loss: this step's training loss; may be left out where `closure` returns it, it was observed before,
            it is unknown, or while paused.

        Returns:
          What `closure` returned, else None.

        Raises:
          ValueError: if the loss is not a single number, or the first step comes with none and without a closure,
            and the controller needs losses.
        """
        if (self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks) and not self._within_hooks:
            return self._step_within_hooks(closure, loss)
        returned = None
        if closure is not None:
            with torch.enable_grad():
                returned = closure()
        if loss is None:
            loss = returned if returned is not None else self._observed
        if loss is None and closure is None and self._makes_state():
            return self.base.step()
        run = self._run
        if self._observed is not None:
            self._observed = None
        if self._distributed is None:  # not before the first step: until then the process group may be set up
            self._distributed = distributed(run, self._process_group)
            self._warn_without_budget()
        alone = self._distributed is run  # else all ranks have to hear of it
        if loss is None and closure is None and alone and run.needs_first_loss:
            raise ValueError("step: expected loss=..., or a closure that returns it; received neither")
        self._distributed.step(loss)
        if run.state.step_count - 1 == run.total_steps:
            warnings.warn(f"the run goes on beyond total_steps={self.total_steps}; progress stays at 1", stacklevel=2)
        if run.skipped and not self._said_skipped:
            self._said_skipped = True
            warnings.warn("a step was skipped: a gradient is not finite; `history` counts such steps", stacklevel=2)
        return returned

    step.hooked = True  # type: ignore[attr-defined]  # torch's mark of a step that it need not wrap

    def _step_within_hooks(self, closure: Callable[[], Any] | None, loss: Tensor | float | None) -> Any:
        """Take one step within the hooks registered here; without any, a step is to pass no frame more."""
        self._within_hooks = True
        try:
            args, kwargs = (() if closure is None else (closure,)), ({} if loss is None else {"loss": loss})
            return step_within_hooks(self, ControlledOptimizer.step, *args, **kwargs)
        finally:
            self._within_hooks = False

    def _makes_state(self) -> bool:
        """Say whether a step is there to make the state; torch.distributed.checkpoint takes one, at rates of zero."""
        groups = self.param_groups
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        return (
            not self.state
            and all(base_rate(group) == 0.0 for group in groups if group.get("lr") is not None)
            and not any(gradient.any() for gradient in gradients)
        )

    def _warn_without_budget(self) -> None:
        controller = self._run.controller
        if self.total_steps is None and controller.needs_budget and not self.paused:
            guarded = isinstance(controller, Guard)
            held = "its first scale follows a fixed schedule instead" if guarded else "no guard holds it"
            warnings.warn(
                f"total_steps: {type(self.controller).__name__} needs a budget to decide well; without one {held}. "
                "Pass total_steps=...",
                stacklevel=3,
            )

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle base and control together, without the hooks, as torch's optimizers do."""
        self._run.settle()
        kept = ("base", "controller", "_wrapped", "_run", "_process_group")
        return {**{name: self.__dict__[name] for name in kept}, "_distributed": None}

    def __repr__(self) -> str:
        """Say what controls what, and where in the run it is."""
        state, interface = self._run.state, self.controller.interface
        total = "unknown" if self.total_steps is None else self.total_steps
        lines = [
            f"base: {type(self.base).__name__}, {len(self.param_groups)} parameter groups",
            f"controller: {_named(self.controller)}, {interface.control} {', '.join(interface.knobs)}",
            f"step {state.step_count} of {total}, a decision every {self.steps_per_action}",
            *(f"{name}: {_span(value[0])}" for name, value in state.values.items()),
            *(["paused"] if self.paused else []),
        ]
        return "ControlledOptimizer(\n  " + "\n  ".join(lines) + "\n)"


def _named(controller: Controller) -> str:
    """Return what a controller calls itself, or its class where it does not."""
    return type(controller).__name__ if type(controller).__repr__ is object.__repr__ else repr(controller)


def _span(values: Any) -> str:
    low, high = (f"{value:.3g}" for value in (values.min(initial=float("inf")), values.max(initial=-float("inf"))))
    return low if low == high else f"{low} to {high}"
