"""One run's inner steps: a base optimizer stepped under knob values, and what control sees of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.signals import Interval, loss_statistics
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

    def __init__(self, base: Optimizer):
        """Begin a run whose parameters are those that `base` holds now."""
        self.base, self.num_groups = base, len(base.param_groups)
        self._sketch = GroupSketch(base.param_groups)
        self._memory = SketchMemory.start(self._sketch.weights())
        self._clip_reference = np.zeros(self.num_groups)
        self._losses: list[Tensor | float] = []
        self._last_loss = np.array([np.nan])

    def first_update_ratio(self) -> Array:
        """Return the norm of the model's first update over that of its weights, [1, G]; needs gradients."""
        gradient = self._sketch.gradient()
        return first_update_ratio(self.base, self._sketch.weights(), gradient, self._sketch.mask)

    def step(self, loss: Tensor | float, values: Values) -> None:
        """Take one step along the gradients that are there.

        Args:
          loss: this step's training loss, a single number.
          values: knob values by name, [1, G] each; a missing knob is neutral.
        """
        self._losses.append(loss)
        with turned(self.base.param_groups, values), clipped(self.base.param_groups, self._clip_factors(values)):
            self.base.step()
        if "dampen" in values:
            dampen_momentum(self.base, values["dampen"])

    def end_interval(self) -> Interval:
        """Sum up the steps since the last call, at least one, and begin the next control step."""
        losses = torch.stack([torch.as_tensor(loss, dtype=torch.float64).cpu() for loss in self._losses]).numpy()
        mean, noise = loss_statistics(losses[:, None], self._last_loss)
        products = self._memory.advance(self._sketch.gradient(), self._sketch.weights())
        self._last_loss, self._losses = losses[-1:], []
        return Interval(len(losses), mean, noise, products)

    def _clip_factors(self, values: Values) -> Array:
        if "clip" not in values:
            return np.ones(self.num_groups)
        norm = self._sketch.gradient()[0].double().square().sum(-1).sqrt().numpy()
        # A non-finite norm must not stay in the reference.
        self._clip_reference = np.maximum(self._clip_reference * CLIP_DECAY, np.where(np.isfinite(norm), norm, 0.0))
        threshold = values["clip"][0] * self._clip_reference
        with np.errstate(all="ignore"):
            return np.where(norm > threshold, threshold / norm, 1.0)
