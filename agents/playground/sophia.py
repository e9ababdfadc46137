"""Sophia with random directions of its own; pytorch-optimizer's own come from torch's global generator, and move it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pytorch_optimizer import SophiaH
from torch import Generator, Tensor


class SeededSophia(SophiaH):
    """pytorch-optimizer's SophiaH; only where its random directions come from is changed.

    Attributes:
      generator: draws the directions.
      product: from a direction to the Hessian times it, both shaped like the single parameter; set before
        the first step.
    """

    generator: Generator
    product: Callable[[Tensor], Tensor]

    def looks(self) -> bool:
        """Say whether the next step looks at the curvature."""
        return self.param_groups[0].get("step", 0) % self.update_period == 0

    def compute_hutchinson_hessian(  # type: ignore[override]
        self, param_groups: Any, state: Any, num_samples: int = 1, alpha: float = 1.0, distribution: str = "gaussian"
    ) -> None:
        """Add Hutchinson's estimate of the Hessian's diagonal, the mean of u (H u), to the buffer."""
        (p,) = param_groups[0]["params"]
        for _ in range(num_samples):
            u = torch.randn(p.shape, dtype=p.dtype, generator=self.generator)
            u = u.sign() if distribution == "rademacher" else u
            state[p]["hessian"].addcmul_(self.product(u), u, value=alpha / num_samples)
