"""What the knobs set in each inner step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from optenv.control.knobs import KNOBS, RATE, rate_factor
from optenv.inner.fused import FusedUpdate
from optenv.inner.layout import Layout
from optenv.inner.optimizers import GroupHyper, Hyper, Rule
from optenv.inner.state import RunState

Array = np.ndarray
Values = dict[str, Array]
Update = Callable[[Tensor], None]


class StepSettings(NamedTuple):
    """What the knobs set for one inner step.

    Attributes:
      hyper: hyperparameters of the base optimizer, see `Rule.update`; empty where `update` has them.
      clip: gradient-norm threshold over its reference, [N, G]; None never clips, nor does 1 or more.
      momentum_kept: share of the momentum that is kept after the step, [N, P]; None keeps all.
      sketched: whether the sketch of the gradient is asked for.
      update: takes the base optimizer's step along a gradient, [N, P], in place of `Rule.update`.
    """

    hyper: Hyper
    clip: Tensor | None = None
    momentum_kept: Tensor | None = None
    sketched: bool = True
    update: Update | None = None


class KnobSettings:
    """Turns knob values into the settings of inner steps."""

    def __init__(self, rule: Rule, base: dict[str, float], layout: Layout, device: torch.device, *, compiled: bool):
        """Prepare for steps under `rule`.

        Args:
          rule: the base optimizer.
          base: its hyperparameters besides the learning rate.
          layout: of the parameters.
          device: where the runs are trained.
          compiled: whether the settings are for a compiled step.
        """
        self._rule, self._base, self._layout, self._device = rule, base, layout, device
        self._compiled = compiled
        self._kernel = rule.fused != "" and device.type == "cpu" and not compiled
        self._large = FusedUpdate.pays(layout)

    def each(self, state: RunState, rate: Array, values: Values, num_steps: int) -> Iterator[StepSettings]:
        """Yield what is set in each of the next inner steps; arguments as in `BatchedTrainer.run`."""
        own = {**self._base, **self._moved(values)}
        clip = self._tensor(values["clip"]) if "clip" in values and (values["clip"] < 1.0).any() else None
        dampened = "dampen" in values and (self._compiled or values["dampen"].any())
        momentum_kept = self._spread(1.0 - values["dampen"]) if dampened else None
        taken = state.optimizer_step - state.passed_over
        steps = np.maximum(taken + np.arange(1.0, num_steps + 1)[:, None], 1.0)  # [k, N]
        factor = rate_factor(values)
        rates = [{**own, "lr": r[:, None] * factor} for r in (rate if rate.ndim == 2 else rate[None])]
        fused = self._kernel and (state.alone or self._large)
        by = self._fused(state, rates, steps) if fused else self._plain(own, rates, steps)
        for t, (hyper, update) in enumerate(by):
            # A compiled step is one program, with the sketch or without.
            yield StepSettings(hyper, clip, momentum_kept, t == num_steps - 1 or self._compiled, update)

    def _fused(self, state: RunState, rates: list[GroupHyper], steps: Array) -> Iterator[tuple[Hyper, Update | None]]:
        numbers = torch.from_numpy(steps.astype(np.float32)).flatten().unbind()
        for t in range(len(steps)):
            if t < len(rates):
                update = FusedUpdate(self._rule, self._layout, state.params, state.slots, rates[t])
            yield {}, partial(update, steps=numbers[t * len(state) : (t + 1) * len(state)])

    def _plain(self, own: GroupHyper, rates: list[GroupHyper], steps: Array) -> Iterator[tuple[Hyper, Update | None]]:
        corrections = self._rule.corrections(own, steps[:, :, None])
        each = {name: self._tensor(value).unbind() for name, value in corrections.items()}
        for t in range(len(steps)):
            if t < len(rates):
                hyper = self._hyper(rates[t])
            yield hyper | {name: self._spread_tensor(value[t]) for name, value in each.items()}, None

    def _hyper(self, values: GroupHyper) -> Hyper:
        read = self._rule.coefficients(values)
        return {name: self._spread(v) if isinstance(v, Array) else v for name, v in read.items()}

    def _moved(self, values: Values) -> GroupHyper:
        """Return the hyperparameters besides the rate that the knobs set; `Rule.target` says which each moves."""
        moved: GroupHyper = {}
        for knob, value in values.items():
            name = None if KNOBS[knob].moves in ((), RATE) else self._rule.target(knob)
            if name is not None:
                moved[name] = KNOBS[knob].move(moved.get(name, self._base[name]), value)
        return moved

    def _tensor(self, value: Array) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float32, device=self._device)

    def _spread(self, value: Array) -> Tensor:
        """Make a number per run, [N, 1], or per group, [N, G], ready to meet the parameters, [N, P]."""
        alike = not self._compiled and bool((value == value[:, :1]).all())  # to a program shapes are fixed
        return self._spread_tensor(self._tensor(value[:, :1] if alike else value))

    def _spread_tensor(self, value: Tensor) -> Tensor:
        return value if value.shape[1] == 1 else self._layout.spread(value)
