"""A race: methods descend one test function from one start, under one noise, side by side.

The points of all methods are evaluated in one batch, and each is stepped by an optimizer object of its own, made for
this race. Columns are padded to whole vector registers, so a method's numbers do not depend on the company it keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.playground.optimizers import OPTIMIZERS, build
from agents.registry import load
from optenv.tasks.functions import TestFunction
from optenv.wrapper import ControlledOptimizer

Array = np.ndarray
LANES = 16
FAR = 1e4
"""A point this many widths of the domain from its middle has diverged."""


@dataclass(frozen=True)
class Entrant:
    """One way to descend.

    Attributes:
      optimizer: name of the base optimizer.
      options: its hyperparameters.
      controller: name of the controller on top of it, or "" for none.
      l1: weight of |x| + |y|, added to what is minimised.
      l2: weight of (x^2 + y^2) / 2, added to what is minimised.
    """

    optimizer: str
    options: dict[str, Any] = field(default_factory=dict)
    controller: str = ""
    l1: float = 0.0
    l2: float = 0.0

    @property
    def label(self) -> str:
        """Its name on the page."""
        parts = [OPTIMIZERS[self.optimizer].title, *([self.controller] if self.controller else [])]
        penalties = [name for name, weight in (("L1", self.l1), ("L2", self.l2)) if weight]
        return " + ".join(parts + penalties)


@dataclass(frozen=True)
class Race:
    """What happened; iteration 0 is the start, and after a divergence all is NaN.

    Attributes:
      function: the function.
      methods: the K methods.
      points: where they were, [K, T + 1, 2].
      losses: the function's values there, without penalties or noise, [K, T + 1].
      gradient_norms: norms of its gradients there, [K, T + 1].
      diverged_at: iteration at which each diverged, or -1, [K].
    """

    function: TestFunction
    methods: tuple[Entrant, ...]
    points: Array
    losses: Array
    gradient_norms: Array
    diverged_at: Array

    @property
    def labels(self) -> list[str]:
        """The methods' names."""
        return [method.label for method in self.methods]


def random_start(function: TestFunction, seed: int) -> tuple[float, float]:
    """Draw a start, uniform in the function's domain."""
    low_x, high_x, low_y, high_y = function.bounds
    u, v = torch.rand(2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    return low_x + (high_x - low_x) * u, low_y + (high_y - low_y) * v


def race(
    function: TestFunction,
    methods: Sequence[Entrant],
    start: tuple[float, float],
    iterations: int,
    *,
    noise: float = 0.0,
    seed: int = 0,
) -> Race:
    """Let methods descend.

    Args:
      function: what is minimised.
      methods: who takes part.
      start: where all begin.
      iterations: steps of each, T.
      noise: standard deviation of what is added to each coordinate of the gradient, in units of the
        gradient; the same for all methods.
      seed: of the noise, and of what Sophia draws.

    Raises:
      ValueError: if an optimizer refuses its options.
    """
    field_ = _Points(function, methods, start)
    runners = [_Runner(method, field_, k, iterations, seed) for k, method in enumerate(methods)]
    noises = torch.randn(iterations, 2, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    diverged_at = np.full(len(methods), -1)
    recorded = np.full((iterations + 1, len(methods), 4), np.nan)  # x, y, loss, gradient norm
    for t in range(iterations + 1):
        alive = np.flatnonzero(diverged_at < 0)
        field_.evaluate(curvature=t < iterations and any(runners[k].looks() for k in alive))
        diverged_at[alive[field_.far()[alive]]] = t
        alive = np.flatnonzero(diverged_at < 0)
        recorded[t, alive] = field_.record()[alive]
        if t < iterations:
            gradients = (field_.gradients + noise * noises[t]).contiguous()
            for k in alive:
                runners[k].step(gradients[k : k + 1])
    recorded = recorded.swapaxes(0, 1)  # [K, T + 1, 4]
    return Race(function, tuple(methods), recorded[..., :2], recorded[..., 2], recorded[..., 3], diverged_at)


class _Points:
    """All methods' points, and the function there.

    Attributes:
      storage: the points, [K, 2]; the parameters are its rows.
      points: a copy with a gradient, as of the last evaluation.
      losses: the function's values, [K].
      slopes: its gradients, [K, 2].
      gradients: the gradients with those of the penalties, [K, 2].
    """

    def __init__(self, function: TestFunction, methods: Sequence[Entrant], start: tuple[float, float]):
        self._function = function
        width = -(-max(1, len(methods)) // LANES) * LANES
        self.storage = torch.tensor(start, dtype=torch.float64).repeat(width, 1)
        weights = [(method.l1, method.l2) for method in methods] + [(0.0, 0.0)] * (width - len(methods))
        self._penalised = any(any(pair) for pair in weights)
        self._l1, self._l2 = torch.tensor(weights, dtype=torch.float64).T.contiguous()
        low_x, high_x, low_y, high_y = function.bounds
        self._middle = torch.tensor([(low_x + high_x) / 2, (low_y + high_y) / 2], dtype=torch.float64)
        self._far = FAR * max(high_x - low_x, high_y - low_y)

    def evaluate(self, *, curvature: bool) -> None:
        """Evaluate function and gradients where the methods are now."""
        # Each coordinate contiguous, so that every method sits in a lane of a vector register.
        self.points = self.storage.T.clone(memory_format=torch.contiguous_format).T.requires_grad_()
        values = self._function.evaluate(self.points)
        self._graph = torch.autograd.grad(values.sum(), self.points, create_graph=curvature)[0]
        self.losses, self.slopes, x = values.detach(), self._graph.detach(), self.points.detach()
        self.gradients = self.slopes
        if self._penalised:
            self.gradients = self.slopes + self._l1[:, None] * x.sign() + self._l2[:, None] * x

    def totals(self) -> Tensor:
        """Return what the methods minimise: the function's values with penalties, [K]."""
        x = self.points.detach()
        return self.losses + self._l1 * x.abs().sum(-1) + self._l2 * x.square().sum(-1) / 2

    def record(self) -> Array:
        """Return the points, the function's values and its gradients' norms, [K, 4]."""
        columns = (*self.points.detach().unbind(-1), self.losses, torch.linalg.vector_norm(self.slopes, dim=-1))
        return torch.stack(columns, -1).numpy()

    def far(self) -> Array:
        """Say which points, losses or gradients are beyond numbers, or far from the domain, [K] bool."""
        away = (self.points.detach() - self._middle).abs().amax(-1)
        size = torch.stack([away / self._far, 0 * self.losses, 0 * self.gradients.sum(-1)])
        return ~(size.sum(0) < 1).numpy()  # not a number is not below 1

    def product(self, k: int, direction: Tensor) -> Tensor:
        """Return the Hessian of method k's own objective times a direction, [1, 2] each."""
        directions = torch.zeros_like(self.storage)
        directions[k] = direction[0]
        (product,) = torch.autograd.grad(self._graph, self.points, directions, retain_graph=True)
        return product[k : k + 1] + self._l2[k] * direction


class _Runner:
    """One method's own optimizer and parameter: a matrix of one row, since LARS and MARS leave vectors to others."""

    def __init__(self, method: Entrant, points: _Points, k: int, iterations: int, seed: int):
        self._points, self._k = points, k
        self._parameter = torch.nn.Parameter(points.storage[k : k + 1])
        row = OPTIMIZERS[method.optimizer]
        self._base = build(row, [self._parameter], method.options)
        if row.second_order:
            self._base.generator = torch.Generator().manual_seed(seed + 2)  # type: ignore[attr-defined]
            self._base.product = self._product  # type: ignore[attr-defined]
        self._controlled: ControlledOptimizer | None = None
        if method.controller:
            self._controlled = ControlledOptimizer(self._base, load(method.controller), total_steps=max(1, iterations))

    def looks(self) -> bool:
        """Say whether the next step needs the curvature."""
        return hasattr(self._base, "looks") and self._base.looks()

    def step(self, gradient: Tensor) -> None:
        """Take one step along a gradient, [1, 2], whose memory the optimizer may use."""
        self._parameter.grad = gradient
        if self._controlled is None:
            self._base.step()
        else:
            self._controlled.step(loss=self._points.totals()[self._k])

    def _product(self, direction: Tensor) -> Tensor:
        return self._points.product(self._k, direction)
