"""The network that chooses a peak from what a group observes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

Array = np.ndarray
LOWEST, HIGHEST = -1.5, 5.25  # log of the highest scale over the first


class PeakNetwork(nn.Module):
    """A network from a group's view to the log of the highest scale over the first."""

    def __init__(self, views: Tensor, width: int = 64):
        """Take the observation statistics of `views`, [B, features]; begin at a peak of 3 for every view."""
        super().__init__()
        self._mean, self._std = views.mean(0), views.std(0) + 1e-3
        self._body = nn.Sequential(nn.Linear(views.shape[1], width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self._head = nn.Linear(width, 1)
        nn.init.zeros_(self._head.weight)
        nn.init.zeros_(self._head.bias)

    def forward(self, view: Tensor, noise: float = 0.0) -> Tensor:
        """Return a peak per view, [B, features] to [B]; `noise` in standard deviations blurs the views."""
        x = ((view - self._mean) / self._std).clamp(-10.0, 10.0)
        return 3.0 + 2.0 * self._head(self._body(x + noise * torch.randn_like(x)))[:, 0]

    @torch.no_grad()
    def choose(self, views: Array) -> Array:
        """Return a peak per view from `LOWEST` to `HIGHEST`, [B, features] to [B]."""
        peak = self(torch.as_tensor(views, dtype=torch.float32)).numpy()
        return np.clip(peak, LOWEST, HIGHEST)
