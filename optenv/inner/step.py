"""One inner step of N runs at once: forward, backward, clipping and update."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from optenv.control.clipping import clip_factor
from optenv.inner.layout import Layout
from optenv.inner.optimizers import Hyper, Rule, Slots
from optenv.tasks.task import Batch, Task


class StepSettings(NamedTuple):
    """What the knobs set for one inner step.

    Attributes:
      hyper: hyperparameters of the base optimizer, see `Rule.update`.
      clip: gradient-norm threshold over its reference, [N, G]; None never clips, nor does 1 or more.
      momentum_kept: share of the momentum that is kept after the step, [N, P]; None keeps all.
      sketched: whether the sketch of the gradient is asked for.
    """

    hyper: Hyper
    clip: Tensor | None = None
    momentum_kept: Tensor | None = None
    sketched: bool = True


class InnerStep:
    """Takes inner steps of one task under one base optimizer; a function of tensors, without state."""

    def __init__(self, task: Task, rule: Rule, layout: Layout, device: torch.device):
        """Prepare to train `task` with `rule`."""
        self.rule, self.layout = rule, layout
        self._made_from = task, rule, layout, device
        self._losses = torch.func.vmap(task.loss)
        index, self._mask = (t.to(device) for t in layout.sketch)
        self._index = index.flatten()

    def __reduce__(self) -> tuple:
        """Copy and pickle what it was made from: what `vmap` returns cannot be pickled."""
        return InnerStep, self._made_from

    def __call__(
        self, params: Tensor, slots: Slots, batch: Batch, settings: StepSettings, reference: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Take one step, changing parameters and slots in place.

        Args:
          params: [N, P].
          slots: the base optimizer's state, [N, P] each.
          batch: one minibatch per run, [N, B, ...] each.
          settings: what the knobs set.
          reference: slowly decaying maximum of each group's gradient norm, [N, G].

        Returns:
          Losses, [N], the sketch of the gradient before clipping, [N, G, S], or None, and the new reference.
        """
        loss, gradient = self.gradient(params, batch)
        sketch = self.sketch(gradient) if settings.sketched or settings.clip is not None else None
        if settings.clip is not None and sketch is not None:
            factor, reference = clip_factor(torch.linalg.vector_norm(sketch, dim=-1), settings.clip, reference)
            self.layout.scale_(gradient, factor)
        self.rule.update(params, gradient, slots, settings.hyper)
        if settings.momentum_kept is not None and self.rule.momentum_slot is not None:
            slots[self.rule.momentum_slot].mul_(settings.momentum_kept)
        return loss, sketch, reference

    def losses(self, params: Tensor, data: Batch) -> Tensor:
        """Return every run's loss, [N], on its own data, [N, M, ...] each."""
        return self._losses(self.layout.views(params), data)

    def gradient(self, params: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return every run's loss, [N], and gradient, [N, P]."""
        views = {name: view.detach().requires_grad_() for name, view in self.layout.views(params).items()}
        with torch.enable_grad():
            loss = self._losses(views, batch)
            # Runs do not share parameters, so the gradient of the sum holds each run's own.
            gradients = torch.autograd.grad(loss.sum(), tuple(views.values()))
        return loss.detach(), torch.cat([g.reshape(len(params), -1) for g in gradients], dim=1)

    def sketch(self, flat: Tensor) -> Tensor:
        """Return the sketched coordinates, [N, G, S], of a gradient or of parameters, [N, P]."""
        return flat.index_select(1, self._index).view(-1, *self._mask.shape).mul_(self._mask)
