"""How large the base optimizer's updates will be, tried on the sketch alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from optenv.control.signals import TRIAL_STEPS, update_ratio

_PLAIN = {"fused": None, "foreach": False, "capturable": False, "differentiable": False}


def first_update_ratio(
    base: Optimizer,
    weights: Tensor,
    gradient: Tensor,
    mask: Tensor,
    sizes: Sequence[int],
    pool: Callable[..., tuple[np.ndarray, ...]] | None = None,
) -> np.ndarray:
    """Return the size of the model's update over that of its weights, [1, G], see `update_ratio`.

    A second optimizer of the same class takes `TRIAL_STEPS` steps along the first gradient on the sketched
    coordinates; each coordinate's largest counts. That is exact for every optimizer that treats coordinates alike.
    One that refuses such steps is taken to move
    each coordinate by its learning rate, as Adam does.

    Args:
      base: the base optimizer, before its first step.
      weights: sketch of the weights, [1, G, S].
      gradient: sketch of the gradients, [1, G, S].
      mask: which coordinates exist, [G, S].
      sizes: number of parameters of each group, 0 for one that takes no part, [G].
      pool: from displacement, weights and mask to such as have the norms of all processes' together.
    """
    try:
        displacement = _trial_step(base, weights, gradient)
    except Exception:  # noqa: BLE001 - whatever a foreign optimizer raises on a one-dimensional copy
        rates = torch.tensor([float(group["lr"]) for group in base.param_groups])
        displacement = rates[None, :, None] * mask
    moved, held, exists = displacement.double().numpy() * mask.numpy(), weights.double().numpy(), mask.numpy()
    if pool is not None:
        moved, held, exists = pool(moved, held, exists)
    return update_ratio(moved, held, exists, sizes)


def _trial_step(base: Optimizer, weights: Tensor, gradient: Tensor) -> Tensor:
    copies = [w.double().clone().requires_grad_() for w in weights[0]]
    groups: list[dict[str, Any]] = []
    for copy, g, group in zip(copies, gradient[0], base.param_groups, strict=True):
        copy.grad = g.double()
        options = {name: _PLAIN.get(name, value) for name, value in group.items() if name != "params"}
        groups.append({"params": [copy], **options})
    required: dict[str, Any] = {"lr": 1.0} if "lr" in base.defaults else {}
    trial = type(base)(groups, **required)
    moved = torch.zeros_like(weights, dtype=torch.float64)
    for _ in range(TRIAL_STEPS):
        before = torch.stack([copy.detach() for copy in copies])
        trial.step()
        moved = torch.maximum(moved, (torch.stack([copy.detach() for copy in copies]) - before).abs())
    return moved
