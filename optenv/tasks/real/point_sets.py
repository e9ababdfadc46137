"""Sets of points in the plane, computed: which of eight shapes is each drawn from? The network is blind to order."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Generator, Tensor

from optenv.tasks.layers import cross_entropy, init_linear, linear
from optenv.tasks.real.fixed import parts, shuffled
from optenv.tasks.task import Batch, Data, Params, Task

SETS, POINTS, NOISE = 4500, 24, 0.05
WIDTH = 32


def _corners(count: int) -> Tensor:
    angles = torch.arange(count + 1) * 2 * math.pi / count
    return torch.stack([angles.cos(), angles.sin()], -1)


def _outline(t: Tensor, corners: Tensor) -> Tensor:
    """Walk along the edges between corners, [C + 1, 2], for t in [0, 1)."""
    position = t * (len(corners) - 1)
    edge = position.long()
    return torch.lerp(corners[edge], corners[edge + 1], (position - edge)[..., None])


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return radius[..., None] * torch.stack([angle.cos(), angle.sin()], -1)


# From t and u, uniform in [0, 1), to points: about as large as the unit circle.
SHAPES = (
    lambda t, u: _outline(t, _corners(60)),
    lambda t, u: _polar(u.sqrt(), 2 * math.pi * t),
    lambda t, u: _outline(t, _corners(3)),
    lambda t, u: _outline(t, _corners(4)),
    lambda t, u: _outline(t, _corners(60)) * torch.tensor([1.0, 0.5]),
    lambda t, u: _polar(2 * u - 1, (2 * t).long() * math.pi / 2),
    lambda t, u: _polar(t, 3 * math.pi * t),
    lambda t, u: torch.stack([2 * t - 1, 0.5 * (2 * math.pi * t).sin()], -1),
)


@cache
def load() -> Data:
    """Return 3,000 sets for training, 500 for validation and 1,000 for test: points, [B, 24, 2], and shapes, [B].

    Every set is turned, scaled by 0.7 to 1.3, and its points are moved by noise of 0.05.
    """
    generator = Generator().manual_seed(3)
    t, u = torch.rand(2, SETS, POINTS, generator=generator)
    shape = torch.arange(SETS) % len(SHAPES)
    points = torch.stack([draw(t, u) for draw in SHAPES])[shape, torch.arange(SETS)]
    angle, scale = torch.rand(2, SETS, 1, generator=generator)
    points = (0.7 + 0.6 * scale[..., None]) * (points @ _rotation(2 * math.pi * angle[:, 0]))
    points = points + NOISE * torch.randn(points.shape, generator=generator)
    return parts(points, shape, order=shuffled(SETS), valid=500, test=1000)


def _rotation(angle: Tensor) -> Tensor:
    rows = angle.cos(), angle.sin(), -angle.sin(), angle.cos()
    return torch.stack(rows, -1).unflatten(-1, (2, 2))


class PointSets(Task):
    """Deep sets (Zaheer et al. 2017): a perceptron of every point, their mean, and a perceptron of that."""

    name = "point_sets"

    def init(self, generator: Generator) -> Params:
        """Draw fresh weights: 4 groups."""
        return {
            **init_linear(generator, "point0", 2, WIDTH),
            **init_linear(generator, "point1", WIDTH, WIDTH),
            **init_linear(generator, "set", WIDTH, WIDTH),
            **init_linear(generator, "output", WIDTH, len(SHAPES)),
        }

    def draw(self, generator: Generator) -> Data:
        """Return the sets."""
        return load()

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the mean cross-entropy in nats."""
        points, shape = batch
        x = linear(params, "point1", linear(params, "point0", points).relu()).relu().mean(-2)
        return cross_entropy(linear(params, "output", linear(params, "set", x).relu()), shape)


TASKS = (PointSets(),)
