"""NAdamW as a rule of the batched trainer: AdamW with Nesterov's momentum (Dozat 2016), as in `torch.optim.NAdam`.

With decoupled weight decay and the momentum schedule of `torch.optim.NAdam`, step by step the same up to rounding:

    mu_t = beta1 (1 - 0.96^(0.004 t) / 2),   P_t = mu_1 mu_2 ... mu_t
    update = (1 - mu_t) / (1 - P_t) g_t + mu_{t+1} / (1 - P_{t+1}) m_t,   over sqrt(v_t / (1 - beta2^t)) + eps
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optenv.inner.optimizers import OPTIMIZERS, GroupHyper, Hyper, Rule, Slots

Array = np.ndarray
_MOMENTUM_DECAY = 0.004


def _update(p: Tensor, g: Tensor, slots: Slots, h: Hyper) -> None:
    p.mul_(h["shrink"])
    m = slots["exp_avg"].lerp_(g, h["1-beta1"])
    v = slots["exp_avg_sq"].lerp_(g * g, h["1-beta2"])
    direction = g.mul_(h["of_gradient"]).add_(m * h["of_momentum"])
    root = torch.sqrt(v * h["correction"]).add_(h["eps"])
    p.addcmul_(direction.div_(root), h["lr"], value=-1.0)


def _corrections(values: GroupHyper, step: Array) -> dict[str, Array]:
    """Return the factors on gradient, momentum and squared average, [k, N, 1] each; `step` counts from 1."""
    count = np.arange(1.0, step.max() + 2.0)
    mu = values["beta1"] * (1.0 - 0.5 * 0.96 ** (count * _MOMENTUM_DECAY))
    product, at = np.cumprod(mu), step.astype(int) - 1
    return {
        "of_gradient": (1.0 - mu[at]) / (1.0 - product[at]),
        "of_momentum": mu[at + 1] / (1.0 - product[at + 1]),
        "correction": 1.0 / (1.0 - np.power(values["beta2"], step)),
    }


def _coefficients(values: GroupHyper) -> GroupHyper:
    return OPTIMIZERS["adamw"].coefficients(values)


NADAMW = Rule(
    "nadamw",
    ("exp_avg", "exp_avg_sq"),
    {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-2},
    _update,
    "exp_avg",
    _coefficients,
    _corrections,
)
