"""One run's inner steps: a base optimizer stepped under knob values, and what control sees of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.signals import Interval, carried, loss_statistics
from optenv.control.sketch import SketchMemory
from optenv.wrapper.first_update import first_update_ratio
from optenv.wrapper.groups import GroupSketch
from optenv.wrapper.turning import clipped, dampen_momentum, turned

Array = np.ndarray
Values = dict[str, Array]
CLIP_DECAY = 0.99


class Stepper:
    """Steps `base` with its hyperparameters turned, and sums up every control step.

    Attributes:
      base: the base optimizer; between steps its hyperparameters are its own.
      num_groups: number of parameter groups, G.
    """

    def __init__(self, base: Optimizer, *, skip_nonfinite: bool = False):
        """Begin a run whose parameters are those that `base` holds now.

        Args:
          base: the base optimizer.
          skip_nonfinite: leave steps whose loss is not finite out of the statistics of the loss;
            else one makes its interval's mean non-finite, by which an environment knows a divergence.
        """
        self.base, self.num_groups, self._skip_nonfinite = base, len(base.param_groups), skip_nonfinite
        self._sketch = GroupSketch(base.param_groups)
        self._clip_reference = np.zeros(self.num_groups)
        self.restart()

    def restart(self) -> None:
        """Begin the control step anew from the weights of now; of the last one nothing is known."""
        self._memory = SketchMemory.start(self._sketch.weights())
        self._losses: list[Tensor | float] = []
        self._last_loss = np.array([np.nan])

    def fits(self) -> bool:
        """Say whether the base optimizer still has the groups and parameters of before."""
        return self._sketch.fits(self.base.param_groups)

    def regroup(self) -> Array:
        """Go on with the groups that the base optimizer has now.

        Returns:
          For each group the index of the one that it was before, or -1 for a new one, [G].
        """
        self._sketch, sources, same = self._sketch.followed_by(self.base.param_groups)
        self.num_groups = len(sources)
        # Only where all parameters are those of before do the coordinates mean the same.
        self._memory = self._memory.regrouped(self._sketch.weights(), same)
        self._clip_reference = carried(self._clip_reference[None], np.zeros((1, self.num_groups)), sources)[0]
        return sources

    def first_update_ratio(self) -> Array:
        """Return the norm of the model's first update over that of its weights, [1, G]; needs gradients.

        Groups without gradients take no part in either norm.
        """
        sketch, part = self._sketch, self._sketch.has_gradient().tolist()
        sizes = [size if takes_part else 0 for size, takes_part in zip(sketch.sizes, part, strict=True)]
        return first_update_ratio(self.base, sketch.weights(), sketch.gradient(), sketch.mask, sizes)

    def step(self, loss: Tensor | float, values: Values) -> None:
        """Take one step along the gradients that are there.

        Args:
          loss: this step's training loss, a single number.
          values: knob values by name, [1, G] each; a missing knob is neutral.
        """
        with turned(self.base.param_groups, values), clipped(self.base.param_groups, self._clip_factors(values)):
            self.base.step()
        if "dampen" in values:
            dampen_momentum(self.base, values["dampen"])
        self._losses.append(loss)

    def end_interval(self) -> Interval:
        """Sum up the steps since the last call, at least one, and begin the next control step."""
        losses, steps = self._losses_so_far(), len(self._losses)
        if self._skip_nonfinite:
            losses = losses[np.isfinite(losses)]
        if len(losses):
            mean, noise = loss_statistics(losses[:, None], self._last_loss)
            self._last_loss = losses[-1:]
        else:
            mean = noise = np.array([np.nan])
        self._losses = []
        gradient = self._sketch.gradient()
        gradient[0, ~self._sketch.has_gradient()] = torch.nan  # unknown, not zero
        return Interval(steps, mean, noise, self._memory.advance(gradient, self._sketch.weights()))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the control step under way and what is kept of those before."""
        memory = dict(zip(("gradient", "weights", "displacement"), self._memory.tensors(), strict=True))
        return {"limits": self._sketch.limits, "memory": memory, "clip_reference": self._clip_reference,
                "losses": self._losses_so_far(), "last_loss": self._last_loss}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned, tensors as numpy arrays.

        Raises:
          ValueError: if it is that of other parameters.
        """
        sketch = GroupSketch(self.base.param_groups, state["limits"])
        if state["memory"]["weights"].shape[1:] != sketch.mask.shape:
            received = state["memory"]["weights"].shape[1:]
            raise ValueError(f"state: expected sketches of shape {tuple(sketch.mask.shape)}; received {received}")
        self._sketch, self._memory = sketch, SketchMemory(**{k: torch.tensor(v) for k, v in state["memory"].items()})
        self._clip_reference, self._last_loss = state["clip_reference"], state["last_loss"]
        self._losses = state["losses"].tolist()

    def _losses_so_far(self) -> Array:
        tensors = [loss for loss in self._losses if isinstance(loss, Tensor)]
        if len(tensors) == len(self._losses) and len({(t.device, t.dtype) for t in tensors}) == 1:
            return torch.stack(tensors).cpu().double().numpy()  # one transfer
        return np.array([float(loss) for loss in self._losses])

    def _clip_factors(self, values: Values) -> Array:
        if "clip" not in values:
            return np.ones(self.num_groups)
        norm = self._sketch.gradient()[0].double().square().sum(-1).sqrt().numpy()
        # A non-finite norm must not stay in the reference, and cannot be clipped: infinity times 0 is NaN.
        norm = np.where(np.isfinite(norm), norm, 0.0)
        self._clip_reference = np.maximum(self._clip_reference * CLIP_DECAY, norm)
        threshold = values["clip"][0] * self._clip_reference
        with np.errstate(all="ignore"):
            return np.where(norm > threshold, threshold / norm, 1.0)
