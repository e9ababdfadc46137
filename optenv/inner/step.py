"""One inner step of N runs at once: forward, backward, clipping and update."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from optenv.control.clipping import clip_factor
from optenv.inner.layout import Layout
from optenv.inner.optimizers import Rule, Slots
from optenv.inner.step_settings import StepSettings
from optenv.tasks.task import Batch, Params, Task


class InnerStep:
    """Takes inner steps of one task under one base optimizer: a function of tensors."""

    def __init__(self, task: Task, rule: Rule, layout: Layout, device: torch.device, *, alone: bool = False):
        """Prepare to train `task` with `rule`.

        Args:
          task: what is trained.
          rule: the base optimizer.
          layout: of its parameters.
          device: where the runs are trained.
          alone: whether N is 1 for good; batches and leaves then come without the axis of runs.
        """
        self.rule, self.layout, self.alone = rule, layout, alone
        self._made_from = task, rule, layout, device
        # Under `vmap` a run alone would take twice the time.
        self._losses = task.loss if alone else torch.func.vmap(task.loss)
        index, self._mask = (t.to(device) for t in layout.sketch)
        self._index = index.flatten()

    def __reduce__(self) -> tuple:
        """Copy and pickle what it was made from: what `vmap` returns cannot be pickled."""
        return partial(InnerStep, alone=self.alone), self._made_from

    def __call__(
        self,
        params: Tensor,
        slots: Slots,
        batch: Batch,
        settings: StepSettings,
        reference: Tensor,
        leaves: Params | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Take one step, changing parameters and slots in place.

        Args:
          params: [N, P].
          slots: the base optimizer's state, [N, P] each.
          batch: one minibatch per run, [N, B, ...] each.
          settings: what the knobs set.
          reference: slowly decaying maximum of each group's gradient norm, [N, G].
          leaves: `leaves(params)`, where they are known from a step before.

        Returns:
          Losses, [N], the sketch of the gradient before clipping, [N, G, S], or None, and the new reference.
        """
        loss, gradient = self.gradient(params, batch, leaves)
        sketch = self.sketch(gradient) if settings.sketched or settings.clip is not None else None
        if settings.clip is not None and sketch is not None:
            factor, reference = clip_factor(torch.linalg.vector_norm(sketch, dim=-1), settings.clip, reference)
            self.layout.scale_(gradient, factor)
        self.update(params, gradient, slots, settings)
        if settings.momentum_kept is not None and self.rule.momentum_slot is not None:
            slots[self.rule.momentum_slot].mul_(settings.momentum_kept)
        return loss, sketch, reference

    def update(self, params: Tensor, gradient: Tensor, slots: Slots, settings: StepSettings) -> None:
        """Take the base optimizer's step along a gradient, [N, P], which may be overwritten."""
        if settings.update is not None:
            settings.update(gradient)
        else:
            self.rule.update(params, gradient, slots, settings.hyper)

    def losses(self, params: Tensor, data: Batch, leaves: Params | None = None) -> Tensor:
        """Return every run's loss, [N], on its own data, [N, M, ...] each; `leaves` as in a step."""
        return self._losses(self._views(params) if leaves is None else leaves, data).view(-1)

    def leaves(self, params: Tensor) -> Params:
        """Return the parameters as what gradients are taken of; they are views, and follow `params`, [N, P]."""
        return {name: view.detach().requires_grad_() for name, view in self._views(params).items()}

    def gradient(self, params: Tensor, batch: Batch, leaves: Params | None = None) -> tuple[Tensor, Tensor]:
        """Return every run's loss, [N], and gradient, [N, P]; arguments as in a step."""
        leaves, runs = self.leaves(params) if leaves is None else leaves, len(params)
        with torch.enable_grad():
            loss = self._losses(leaves, batch)
            # Runs do not share parameters, so the gradient of the sum holds each run's own.
            gradients = torch.autograd.grad(loss if self.alone else loss.sum(), tuple(leaves.values()))
        if self.alone:  # in one call, where every call counts
            return loss.detach().view(1), _flatten_dense_tensors(gradients)[None]
        return loss.detach(), torch.cat([g.reshape(runs, -1) for g in gradients], dim=1)

    def _views(self, params: Tensor) -> Params:
        """Return the parameters, [N, *shape] each; of a run alone [*shape], as its task knows them."""
        views = self.layout.views(params)
        return {name: view[0] for name, view in views.items()} if self.alone else views

    def sketch(self, flat: Tensor) -> Tensor:
        """Return the sketched coordinates, [N, G, S], of a gradient or of parameters, [N, P]."""
        return flat.index_select(1, self._index).view(-1, *self._mask.shape).mul_(self._mask)
