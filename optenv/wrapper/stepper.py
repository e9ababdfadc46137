"""One run's inner steps: a base optimizer stepped under knob values, and what control sees of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from operator import is_
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.clipping import clip_factor, decayed_reference
from optenv.control.signals import Interval, carried, loss_statistics
from optenv.control.sketch import SketchMemory, to_products
from optenv.wrapper.distributed import Ranks
from optenv.wrapper.first_update import first_update_ratio
from optenv.wrapper.groups import GroupSketch
from optenv.wrapper.transfer import Transfer
from optenv.wrapper.turning import Clipping, Turning, dampen_momentum

Array = np.ndarray
Values = dict[str, Array]


class Stepper:
    """Steps `base` with its hyperparameters turned, and sums up every control step.

    Between the ends of control steps it does next to nothing: what the knobs turn is worked out once,
    and gradients are looked at only in groups whose clip is below 1.

    Attributes:
      base: the base optimizer; between steps its hyperparameters are its own.
      num_groups: number of parameter groups, G.
      ranks: the processes that train together, or None alone; set before the first step.
    """

    ranks: Ranks | None = None

    def __init__(self, base: Optimizer, *, skip_nonfinite: bool = False):
        """Begin a run whose parameters are those that `base` holds now.

        Args:
          base: the base optimizer.
          skip_nonfinite: leave steps whose loss is not finite out of the statistics of the loss;
            else one makes its interval's mean non-finite, by which an environment knows a divergence.
        """
        self.base, self.num_groups, self._skip_nonfinite = base, len(base.param_groups), skip_nonfinite
        self._groups = list(base.param_groups)
        self._sketch = GroupSketch(base.param_groups)
        self._clipping = Clipping()
        weights = self._sketch.weights()
        self._clip_reference = weights.new_zeros(self.num_groups)
        self._begin(weights)

    def _begin(self, weights: Tensor) -> None:
        self._memory = SketchMemory.start(weights)
        self._losses: list[Tensor | float] = []
        self._last_loss = np.array([np.nan])
        self._units: Tensor | None = None  # of this rank's sketches, at the end of the last control step
        self._values: Values | None = None

    def restart(self) -> None:
        """Begin the control step anew from the weights of now; of the last one nothing is known."""
        self._begin(self._sketch.weights())

    @property
    def steps(self) -> int:
        """Steps taken in the control step under way."""
        return len(self._losses)

    def fits(self) -> bool:
        """Say whether the base optimizer still has the groups and, when a control step begins, the parameters."""
        groups = self.base.param_groups
        same = len(groups) == len(self._groups) and all(map(is_, groups, self._groups))
        if same and self._losses:
            return True
        if not self._sketch.fits(groups):
            return False
        if not same:  # other dicts with the same parameters, as after load_state_dict of the base optimizer
            self._groups, self._values = list(groups), None
        return True

    def regroup(self) -> Array:
        """Go on with the groups that the base optimizer has now.

        Returns:
          For each group the index of the one that it was before, or -1 for a new one, [G].
        """
        self._groups, self._values = list(self.base.param_groups), None
        self._sketch, sources, same = self._sketch.followed_by(self.base.param_groups)
        self.num_groups = len(sources)
        # Only where all parameters are those of before do the coordinates mean the same.
        weights = self._sketch.weights()
        self._memory, self._units = self._memory.regrouped(weights, same), None
        kept = carried(self._clip_reference.cpu().numpy()[None], np.zeros((1, self.num_groups), np.float32), sources)
        self._clip_reference = torch.from_numpy(kept[0]).to(weights.device)
        return sources

    def first_update_ratio(self) -> Array:
        """Return the norm of the model's first update over that of its weights, [1, G]; needs gradients.

        Groups without gradients take no part in either norm.
        """
        sketch, none = self._sketch, self._sketch.without_gradient()
        sizes = [0 if g in none else size for g, size in enumerate(sketch.sizes)]
        pool = None if self.ranks is None else partial(self.ranks.pooled_sketches, sharded=sketch.sharded)
        return first_update_ratio(self.base, sketch.weights().cpu(), sketch.gradient().cpu(), sketch.mask, sizes, pool)

    def step(self, loss: Tensor | float, values: Values) -> None:
        """Take one step along the gradients that are there.

        Args:
          loss: this step's training loss, a single number.
          values: knob values by name, [1, G] each; a missing knob is neutral. They are read when they are another
            dict than in the last step.
        """
        if values is not self._values:
            self._prepare(values)
        if self._turns:
            self._turned_step()
        else:
            self.base.step()
        if self._dampens:
            dampen_momentum(self.base, values["dampen"])
        self._losses.append(loss)

    def _prepare(self, values: Values) -> None:
        self._values, self._turning = values, Turning(self.base.param_groups, values)
        self._dampens = "dampen" in values and bool(values["dampen"].any())
        self._clipped = np.flatnonzero(values["clip"][0] < 1.0).tolist() if "clip" in values else []
        if self._clipped:  # moved once a control step, and without waiting for what the device has in hand
            device, clip = self._clip_reference.device, values["clip"][0, self._clipped].astype(np.float32)
            self._clip_index = torch.tensor(self._clipped).to(device, non_blocking=True)
            self._clip = torch.from_numpy(clip).to(device, non_blocking=True)
        self._turns = bool(self._turning or self._clipped)

    def _turned_step(self) -> None:
        try:
            self._turning.turn()
            if self._clipped:
                self._clip_gradients()
            self.base.step()
        finally:
            if self._clipped:
                self._clipping.restore()
            self._turning.restore()

    def _clip_gradients(self) -> None:
        norm, index = self._clip_norm(self._clipped), self._clip_index
        factor, self._clip_reference[index] = clip_factor(norm, self._clip, self._clip_reference[index])
        self._clipping.clip([self.base.param_groups[g] for g in self._clipped], factor)

    def _clip_norm(self, groups: Sequence[int]) -> Tensor:
        norm, sharded = self._norm(self._sketch.gradient(groups)), self._sketch.sharded[groups]
        if self.ranks is None or not sharded.any():
            return norm
        return self.ranks.sum(norm.square(), sharded).sqrt()

    def attend(self, values: Values) -> None:
        """Take part in what a step under `values` asks of all ranks, without taking it."""
        if values is not self._values:
            self._prepare(values)
        if self._clipped:
            self._clip_norm(self._clipped)

    def _norm(self, gradient: Tensor) -> Tensor:
        return torch.linalg.vector_norm(gradient[0], dim=-1)

    def end_interval(self) -> Interval:
        """Sum up the steps since the last call, at least one, and begin the next control step."""
        return self.close_interval().read()

    def close_interval(self) -> Transfer[Interval]:
        """Do the same, but leave the sum on its way to the host: to read it at once is to wait for this very step."""
        steps, gradient = len(self._losses), self._sketch.gradient()
        clips = self._values is not None and "clip" in self._values
        norm = self._norm(gradient) if clips else None
        for g in self._sketch.without_gradient():
            gradient[0, g] = torch.nan  # unknown, not zero
        sums = self._memory.sums(gradient, self._sketch.weights())
        losses, self._losses = self._losses, []
        if self.ranks is not None:
            sums, losses, self._units = self.ranks.pool(sums, losses, self._units, self._sketch.sharded)
            norm = sums[0, 0].sqrt().float() if clips else None
        if norm is not None:
            self._clip_reference = decayed_reference(self._clip_reference, norm, steps)
        waiting = [loss.to(sums.device).reshape(1) for loss in losses if _on_device(loss)]
        vector = torch.cat([sums.flatten(), *waiting]) if waiting else sums.flatten()
        return Transfer(vector, partial(self._summed_up, sums.shape, losses))

    def _summed_up(self, shape: torch.Size, losses: list[Tensor | float], vector: Array) -> Interval:
        split = math.prod(shape)
        if len(vector) > split:
            read = iter(vector[split:].tolist())
            losses = [next(read) if _on_device(loss) else loss for loss in losses]
        seen = np.array(losses, float)
        finite = np.isfinite(seen)
        whole = bool(finite.all())
        if self._skip_nonfinite and not whole:
            seen = seen[finite]
        mean = noise = np.array([np.nan])
        if len(seen):
            mean, noise = loss_statistics(seen[:, None], self._last_loss)
            self._last_loss = seen[-1:].copy()
        products = to_products(vector[:split].reshape(shape))
        return Interval(len(losses), mean, noise, products, np.array([not whole]))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the control step under way and what is kept of those before."""
        memory = dict(zip(("directions", "weights"), self._memory.tensors(), strict=True))
        return {"limits": list(self._sketch.limits), "memory": memory, "clip_reference": self._clip_reference,
                "losses": np.array([float(loss) for loss in self._losses]), "last_loss": self._last_loss,
                "units": self._units}  # fmt: skip

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
        self._losses, self._last_loss = state["losses"].tolist(), state["last_loss"]
        self._units = None if state.get("units") is None else torch.tensor(state["units"], device=device)


def _on_device(loss: Tensor | float) -> TypeGuard[Tensor]:
    return isinstance(loss, Tensor) and loss.device.type != "cpu"
