"""A torch optimizer whose knobs a controller turns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.controller import Controller
from optenv.control.guard import Guard
from optenv.control.loop import check_learner
from optenv.wrapper.arguments import check, single
from optenv.wrapper.hooks import passed_through, with_own_hooks
from optenv.wrapper.shell import OptimizerShell
from optenv.wrapper.steering import Steering
from optenv.wrapper.trace import Trace


class ControlledOptimizer(OptimizerShell):
    """Steer `base` with a controller.

    Every `steps_per_action` steps the controller observes the run and sets each parameter group's
    knobs; the hyperparameters are turned for the step alone and restored after it, so schedules of
    the user's own compose with the control. With a neutral controller every step is that of the
    base optimizer, bit for bit.

        opt = ControlledOptimizer(torch.optim.AdamW(layer_groups(model)), controller, total_steps=2000)
        loss.backward(); opt.step(loss=loss); opt.zero_grad()

    - Groups may be added, emptied or taken away at any time. A new one starts neutral, at scale 1 of
      its own base rate; the others go on. Without gradients a group observes nothing new.
    - A loss or a gradient that is not finite is left out of what the controller observes; the base
      optimizer steps on it as it always would. A step that a `GradScaler` skips is no step.
    - Gradient accumulation: one `step` per update, with the loss of the whole update.
    - Hooks registered here fire around the whole step, those of the base optimizer where it steps;
      torch's global ones fire once, there.
    - Data parallel (DDP, FSDP2): every rank passes its own loss; once a control step they pool what they
      saw and decide alike. All pause at the same step, and go on, after `resume`, when they next meet. Between
      control steps the state of one replica serves all; a shard's is its own.
    - Trainers that call `step` without a loss: `observe` it before.
    - A compiled base step wants `lr=torch.tensor(...)`: a rate that is a number is a constant to it.

    Attributes:
      base: the base optimizer; `param_groups`, `state` and `defaults` are its own.
      controller: what decides.
    """

    _observed: Tensor | float | None = None

    def __init__(self, base: Optimizer, controller: Controller, *, total_steps: int | None = None,
                 steps_per_action: int | None = None, neutral: bool = False,
                 trace: str | Path | Any = None, process_group: Any = None, guard: bool = True,
                 max_authority: float | tuple[float, float] | None = None, rollback: bool = False,
                 learn: bool = False):  # fmt: skip
        """Put `controller` on top of `base`.

        Args:
          base: any `torch.optim.Optimizer` that steps without a closure.
          controller: decides every group's knobs.
          total_steps: budget of the run in steps, if known; the controller observes its progress.
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
          learn: tell a controller that learns from rewards what came of every action, see `ControlLoop.pay`; for such
            as learn over several runs. To find out what pays it may try things out, which a single run pays for.

        Raises:
          ImportError: if `trace` asks for TensorBoard and it is not installed.
          TypeError: if `base` is no optimizer, or one that calls its closure more than once,
            `controller` is no controller, or `trace` neither path nor writer.
          ValueError: if a number is not positive, `max_authority` no such range, it or `rollback` asked for
            without a guard, or `learn` of a controller that does not.
        """
        check(base, controller, total_steps, steps_per_action)
        if not guard and (max_authority is not None or rollback):
            raise ValueError("guard: expected True where max_authority or rollback is asked for; received False")
        if learn:
            check_learner(controller)
        super().__init__(base)
        self.controller = controller
        decisions = controller.interface.decisions
        every = steps_per_action or (max(1, round(total_steps / decisions)) if total_steps else 10)
        if guard and not isinstance(controller, Guard):
            controller = Guard(controller, max_authority=max_authority)
        self._steering = Steering(base, controller, total_steps, every, Trace(trace), process_group, rollback, learn)
        self._steering.paused = neutral

    @property
    def total_steps(self) -> int | None:
        """Budget in steps, or None."""
        return self._steering.total_steps

    @property
    def steps_per_action(self) -> int:
        """Steps between decisions."""
        return self._steering.steps_per_action

    @property
    def paused(self) -> bool:
        """Whether the steps to come are those of the base optimizer alone."""
        return self._steering.paused

    @property
    def history(self) -> list[dict[str, Any]]:
        """The decisions so far, oldest first; of many, evenly thinned to a bounded number.

        Each has "step", steps taken before it; "loss", the mean of the interval before it, or None; and,
        one number per group, "rate", the rate in force, and every knob by name. Not part of a checkpoint.
        """
        return self._steering.trace.records()

    def pause(self) -> None:
        """Leave the base optimizer alone from now on, bit for bit; its steps need no loss."""
        self._steering.paused = True

    def resume(self) -> None:
        """Steer again: a decision at the next step, from the knobs that were in force before the pause."""
        self._steering.paused = False

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state and, under "control", that of the control and the controller.

        It holds nothing but tensors, numbers, strings, lists and dicts: `torch.load(weights_only=True)` reads it.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        return passed_through(self._optimizer_state_dict_post_hooks.values(), self, self._steering.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; the run goes on bit for bit as it would have.

        As with torch's schedulers, `total_steps` and `steps_per_action` are restored too. From the state
        of a base optimizer alone, the control begins anew. A run that is paused stays paused.

        Raises:
          ValueError: if it is the state of another controller or of other parameter groups.
        """
        hooks = self._optimizer_load_state_dict_pre_hooks.values()
        self._steering.load_state_dict(passed_through(hooks, self, dict(state_dict)))
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def observe(self, loss: Tensor | float) -> None:
        """Add `loss` to that of the next step, as `backward` adds its gradients.

        It is for trainers that call `step` themselves, without a loss. A loss that `step` is given, or that
        its closure returns, goes before; `zero_grad` forgets what was observed.

        Raises:
          ValueError: if it is not a single number.
        """
        self._observed = single(loss) + (0.0 if self._observed is None else self._observed)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, and the losses observed with them."""
        self._observed = None
        super().zero_grad(set_to_none)

    @with_own_hooks
    def step(self, closure: Callable[[], Any] | None = None, *, loss: Tensor | float | None = None) -> Any:
        """Take one step.

        Args:
          closure: recomputes the loss and its gradients; it runs once, before control.
          loss: this step's training loss; may be left out where `closure` returns it, it was observed before,
            or while paused.

        Returns:
          What `closure` returned, else None.

        Raises:
          ValueError: if there is no loss, or it is not a single number.
        """
        returned = None
        if closure is not None:
            with torch.enable_grad():
                returned = closure()
        if loss is None:
            loss = returned if returned is not None else self._observed
        self._observed, steering = None, self._steering
        steering.take(loss)
        if steering.step_count - 1 == steering.total_steps:
            warnings.warn(f"the run goes on beyond total_steps={self.total_steps}; progress stays at 1", stacklevel=3)
        return returned

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle base and control together, without the hooks, as torch's optimizers do."""
        self._steering.settle()
        return {name: self.__dict__[name] for name in ("base", "controller", "_wrapped", "_steering")}

    def __repr__(self) -> str:
        """Say what steers what, and where in the run it is."""
        steering, interface = self._steering, self.controller.interface
        total = "unknown" if self.total_steps is None else self.total_steps
        lines = [
            f"base: {type(self.base).__name__}, {len(self.param_groups)} parameter groups",
            f"controller: {type(self.controller).__name__}, {interface.control} {', '.join(interface.knobs)}",
            f"step {steering.step_count} of {total}, a decision every {self.steps_per_action}",
            *(f"{name}: {_span(value[0])}" for name, value in steering.values.items()),
            *(["paused"] if self.paused else []),
        ]
        return "ControlledOptimizer(\n  " + "\n  ".join(lines) + "\n)"


def _span(values: Any) -> str:
    low, high = (f"{value:.3g}" for value in (values.min(initial=float("inf")), values.max(initial=-float("inf"))))
    return low if low == high else f"{low} to {high}"
