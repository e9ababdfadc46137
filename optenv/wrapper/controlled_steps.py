"""Steps of a base optimizer under knob values, and what control sees of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import is_
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.clipping import clip_factor, decayed_reference
from optenv.control.numpy_sketch import to_products
from optenv.control.signals import Interval, carried, loss_statistics
from optenv.control.sketch import SketchMemory
from optenv.wrapper.apply_knobs import AppliedKnobs, ClippedGradients, dampen_momentum
from optenv.wrapper.base_needs import needs_of
from optenv.wrapper.base_step import BaseStep
from optenv.wrapper.collective import Collective
from optenv.wrapper.first_scale import first_update
from optenv.wrapper.group_sketch import GroupSketch, parameters
from optenv.wrapper.plain_state import DeferredResult

Array = np.ndarray
Values = dict[str, Array]
Loss = Tensor | float | None


@dataclass(frozen=True)
class Measurement:
    """What a process saw of a control step; ranks that train together pool theirs.

    Attributes:
      sums: of `SketchMemory.sums`, [10, 1, G].
      losses: of its steps; None where one is unknown.
      norm: of the groups' last gradients, [G]; None where nothing is clipped.
      units: in which this process's own sketches of the control step before were measured, [2, 1, G]; None where
        that is unknown, or the process trains alone.
      sharded: which groups are spread over several processes, [G] bool.
    """

    sums: Tensor
    losses: list[Loss]
    norm: Tensor | None
    units: Tensor | None
    sharded: Tensor


class ControlledSteps:
    """Steps `base` with its hyperparameters as the knobs say, and sums up every control step.

    Between the ends of control steps it does next to nothing: what the knobs set is worked out once,
    and gradients are read only in groups whose clip is below 1.

    Attributes:
      base: the base optimizer; between steps its hyperparameters are its own.
      num_groups: number of parameter groups, G.
      groups: the parameter groups themselves, as of the last look at them.
      collective: of the processes that train together, or None alone; set before the first step.
    """

    collective: Collective | None = None

    def __init__(self, base: Optimizer, take: BaseStep | None = None, *, skip_nonfinite: bool = False):
        """Begin a run whose parameters are those that `base` holds now.

        Args:
          base: the base optimizer.
          take: takes its steps; by default whatever the gradients are.
          skip_nonfinite: leave steps whose loss is not finite out of the statistics of the loss;
            else one makes its interval's mean non-finite, by which an environment knows a divergence.
        """
        self.base, self.num_groups, self._skip_nonfinite = base, len(base.param_groups), skip_nonfinite
        self._take = take or BaseStep(base, needs_of(base), guarded=False)
        self.groups = list(base.param_groups)
        self._sketch = GroupSketch(base.param_groups)
        self._gradients = ClippedGradients()
        weights = self._sketch.weights()
        self._clip_reference = weights.new_zeros(self.num_groups)
        self._begin(weights)

    def _begin(self, weights: Tensor) -> None:
        self._memory = SketchMemory.start(weights)
        self._losses: list[Loss] = []
        self._last_loss = np.array([np.nan])
        self._units: Tensor | None = None  # see `Measurement`
        self._values: Values | None = None
        self._passed_over = 0

    def restart(self, passed_over: int = 0) -> None:
        """Begin the control step anew from the weights of now; of the last one nothing is known.

        Args:
          passed_over: steps of it that are not taken, but count.
        """
        self._begin(self._sketch.weights())
        self._passed_over = passed_over

    @property
    def steps(self) -> int:
        """Steps taken in the control step under way."""
        return len(self._losses)

    def fits(self, *, between_steps: bool = False) -> bool:
        """Say whether the base optimizer still has the groups and, when a control step begins, the parameters.

        Args:
          between_steps: look at the parameters within a control step, too.
        """
        groups = self.base.param_groups
        same = len(groups) == len(self.groups) and all(map(is_, groups, self.groups))
        if same and self._losses and not between_steps:
            return True
        if not self._sketch.fits(groups):
            return False
        if not same:  # other dicts with the same parameters, as after load_state_dict of the base optimizer
            self.groups, self._values = list(groups), None
        return True

    def regroup(self) -> Array:
        """Go on with the groups that the base optimizer has now.

        Returns:
          For each group the index of the one that it was before, or -1 for a new one, [G].
        """
        self.groups, self._values = list(self.base.param_groups), None
        self._sketch, sources, same = self._sketch.followed_by(self.base.param_groups)
        self.num_groups = len(sources)
        # Only where all parameters are those of before do the coordinates mean the same.
        weights = self._sketch.weights()
        self._memory, self._units = self._memory.regrouped(weights, same), None
        kept = carried(self._clip_reference.cpu().numpy()[None], np.zeros((1, self.num_groups), np.float32), sources)
        self._clip_reference = torch.from_numpy(kept[0]).to(weights.device)
        return sources

    def first_update(self, rates: Sequence[float], *, norm: bool) -> Array:
        """Return `update_ratio`, or `update_norm`, of the first update at these rates, [G]; [1, G]; needs gradients."""
        return first_update(self.base, self._sketch, rates, self.collective, norm=norm)

    def step(self, loss: Loss, values: Values) -> None:
        """Take one step along the gradients that are there.

        Args:
          loss: this step's training loss, a single number; None where it is unknown.
          values: knob values by name, [1, G] each; a missing knob is neutral. They are read when they are another
            dict than in the last step.
        """
        if values is not self._values:
            self._prepare(values)
        try:
            self._knobs.set()
            if self._clipped:
                self._clip_gradients()
            taken = self._take(loss)
        finally:
            if self._clipped:
                self._gradients.restore()
            self._knobs.restore()
        if taken and self._dampens:
            dampen_momentum(self.base, values["dampen"])
        self._losses.append(loss)

    def _prepare(self, values: Values) -> None:
        self._values, self._knobs = values, AppliedKnobs(self.base.param_groups, values)
        self._dampens = "dampen" in values and bool(values["dampen"].any())
        self._clipped = np.flatnonzero(values["clip"][0] < 1.0).tolist() if "clip" in values else []
        if self._clipped:  # copied once a control step, and without waiting for what the device has in hand
            device, clip = self._clip_reference.device, values["clip"][0, self._clipped].astype(np.float32)
            self._clip_index = torch.tensor(self._clipped).to(device, non_blocking=True)
            self._clip = torch.from_numpy(clip).to(device, non_blocking=True)

    def _clip_gradients(self) -> None:
        norm, index = self._clip_norm(self._clipped), self._clip_index
        factor, self._clip_reference[index] = clip_factor(norm, self._clip, self._clip_reference[index])
        self._gradients.set([self.base.param_groups[g] for g in self._clipped], factor)

    def _clip_norm(self, groups: Sequence[int]) -> Tensor:
        held = parameters(self.groups[g] for g in groups)
        norm, sharded = _norm(self._sketch.gradient(groups, held)), self._sketch.sharded[groups]
        if self.collective is None or not sharded.any():
            return norm
        return self.collective.sum_of_groups(norm.square(), sharded).sqrt()

    def join_collectives(self, values: Values) -> None:
        """Take part in the collectives of a step under `values`, without taking the step."""
        if values is not self._values:
            self._prepare(values)
        if self._clipped:
            self._clip_norm(self._clipped)

    def end_interval(self) -> Interval:
        """Sum up the steps since the last call, at least one, and begin the next control step."""
        return self.summed_up(self.measure()).read()

    def measure(self) -> Measurement:
        """Measure the control step that has ended, and begin the next."""
        held = parameters(self.groups)
        gradient = self._sketch.gradient(held=held)
        norm = _norm(gradient) if self._values is not None and "clip" in self._values else None
        for g in self._sketch.without_gradient(held):
            gradient[0, g] = torch.nan  # unknown, not zero
        losses, self._losses = self._losses, []
        sums = self._memory.sums(gradient, self._sketch.weights())
        return Measurement(sums, losses, norm, self._units, self._sketch.sharded)

    def summed_up(self, measured: Measurement) -> DeferredResult[Interval]:
        """Return the control step that was measured, as a deferred result; reading it at once synchronises."""
        losses, sums, self._units = measured.losses, measured.sums, measured.units
        if measured.norm is not None:
            self._clip_reference = decayed_reference(
                self._clip_reference, measured.norm, len(losses) + self._passed_over
            )
        waiting = [loss.to(sums.device).reshape(1) for loss in losses if _on_device(loss)]
        if self._take.skipped_on_device is not None:
            waiting.append(self._take.skipped_on_device.to(sums).reshape(1))
        vector = torch.cat([sums.flatten(), *waiting]) if waiting else sums.flatten()
        return DeferredResult(vector, partial(self._to_interval, sums.shape, losses))

    def _to_interval(self, shape: torch.Size, losses: list[Loss], vector: Array) -> Interval:
        split = math.prod(shape)
        if len(vector) > split:
            read = iter(vector[split:].tolist())
            losses = [next(read) if _on_device(loss) else loss for loss in losses]
            self._take.skipped = int(next(read, self._take.skipped))
        seen = [float(loss) for loss in losses if loss is not None]
        whole = all(map(math.isfinite, seen))
        if self._skip_nonfinite and not whole:
            seen = list(filter(math.isfinite, seen))
        mean = noise = np.array([np.nan])
        if seen:
            mean, noise = loss_statistics(np.array(seen)[:, None], self._last_loss)
            self._last_loss = np.array(seen[-1:])
        products = to_products(vector[:split].reshape(shape))
        steps, self._passed_over = len(losses) + self._passed_over, 0
        return Interval(steps, mean, noise, products, np.array([not whole]))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the control step under way and what is kept of those before."""
        memory = dict(zip(("directions", "weights"), self._memory.tensors(), strict=True))
        return {
            "limits": list(self._sketch.limits),
            "memory": memory,
            "clip_reference": self._clip_reference,
            "losses": [None if loss is None else float(loss) for loss in self._losses],
            "last_loss": self._last_loss,
            "units": self._units,
            "passed_over": self._passed_over,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned, tensors as numpy arrays.

        Raises:
          ValueError: if it is that of other parameters.
        """
        sketch = GroupSketch(self.base.param_groups, state["limits"])
        expected, received = (len(sketch.lengths), sketch.width), state["memory"]["weights"].shape[1:]
        if received != expected:
            raise ValueError(f"state: expected sketches of shape {expected}; received {received}")
        device = self._clip_reference.device
        self._sketch = sketch
        self._memory = SketchMemory(**{k: torch.tensor(v, device=device) for k, v in state["memory"].items()})
        self._clip_reference = torch.tensor(state["clip_reference"], device=device)
        self._losses, self._last_loss = list(state["losses"]), state["last_loss"]
        self._passed_over = state.get("passed_over", 0)
        self._units = None if state.get("units") is None else torch.tensor(state["units"], device=device)


def _norm(gradient: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradient[0], dim=-1)


def _on_device(loss: Loss) -> TypeGuard[Tensor]:
    return isinstance(loss, Tensor) and loss.device.type != "cpu"
