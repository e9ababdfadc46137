"""A real net's loss on the plane through its path (Li et al. 2018): principal components of the weights it had.

All controllers begin with the same weights, so that one plane holds all of their paths; a path is shown as projected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from agents.playground.landscape import Ground
from agents.playground.race import Entrant, Race
from agents.playground.run_settings import PlaneSettings
from agents.playground.steering import Progress, follow
from optenv import tasks
from optenv.env.settings import EnvSettings
from optenv.inner.trainer import BatchedTrainer
from optenv.tasks.functions import TestFunction

Array = np.ndarray
GRID, CHUNK, MARGIN = 31, 64, 0.25


@dataclass(frozen=True)
class Plane:
    """The loss on a plane through paths of weights.

    Attributes:
      controllers: names of the K controllers.
      steps: inner steps at which weights were noted, [T].
      x: coordinates along the first component, in units of the weights, [W].
      y: along the second, [H].
      losses: validation losses on the plane, [H, W]; NaN where not finite.
      paths: projections of the weights, [K, T, 2]; NaN after a divergence.
      path_losses: validation losses of the runs themselves, [K, T].
      share: of the paths' variance that lies in the plane, from 0 to 1.
    """

    controllers: tuple[str, ...]
    steps: Array
    x: Array
    y: Array
    losses: Array
    paths: Array
    path_losses: Array
    share: float

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The part of the plane that is shown."""
        return float(self.x[0]), float(self.x[-1]), float(self.y[0]), float(self.y[-1])

    def ground(self, *, log: bool) -> Ground:
        """Return the losses as heights to draw, or their logarithms to base 10."""
        heights = np.log10(np.maximum(self.losses, 1e-12)) if log else self.losses
        return Ground(log, self.x, self.y, heights, offset=0.0)

    def race(self, optimizer: str) -> Race:
        """Return the paths in the form that a landscape draws."""
        methods = tuple(Entrant(optimizer, {}, "" if name == "neutral" else name) for name in self.controllers)
        lost = ~np.isfinite(self.paths).all(-1)
        diverged_at = np.where(lost.any(1), lost.argmax(1), -1)
        nowhere = TestFunction("plane", lambda points: points.sum(-1), self.bounds, (), "", "", "")
        return Race(nowhere, methods, self.paths, self.path_losses, np.full_like(self.path_losses, np.nan), diverged_at)


def explore(settings: PlaneSettings) -> Iterator[Progress | Plane]:
    """Train under each controller, then evaluate the loss around the paths.

    Yields:
      Every control step of every run, and at the end the plane.

    Raises:
      ValueError: if no controller is chosen.
    """
    seeds, rates = np.array([settings.seed], np.uint64), np.array([settings.lr])
    weights: dict[str, list[Array]] = {}
    events: dict[str, list[Progress]] = {}
    for name in settings.methods():
        for progress, runs in follow(settings, name, seeds, rates):
            params = runs.states[0][1].params[0].double().numpy().copy()  # type: ignore[attr-defined]
            weights.setdefault(name, []).append(params)
            events.setdefault(name, []).append(progress)
            yield progress
    yield _plane(settings, weights, events)


def _plane(settings: PlaneSettings, weights: dict[str, list[Array]], events: dict[str, list[Progress]]) -> Plane:
    paths, steps, losses = _aligned(weights, events)
    center, axes, share = principal_plane(paths.reshape(-1, paths.shape[-1]))
    flat = (paths - center) @ axes.T  # [K, T, 2]
    x, y = (_around(flat[..., d]) for d in (0, 1))
    points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    values = evaluate(settings, center + points @ axes).reshape(len(y), len(x))
    return Plane(tuple(weights), steps, x, y, values, flat, losses, share)


def _aligned(weights: dict[str, list[Array]], events: dict[str, list[Progress]]) -> tuple[Array, Array, Array]:
    """Return weights, [K, T, P], their inner steps, [T], and losses, [K, T]; a run that ended early is NaN from there.

    Controllers may decide at different steps: the weights shown at a step are those noted last.
    """
    steps = np.unique([event.step for own in events.values() for event in own])
    paths, losses = [], []
    for name, own in weights.items():
        noted = np.array([event.step for event in events[name]])
        last = np.searchsorted(noted, steps, side="right") - 1
        over = (steps > noted[-1]) | ~np.isfinite([own[k].sum() for k in last])
        paths.append(np.where(over[:, None], np.nan, np.stack(own)[last]))
        measured = np.array([float(event.loss[0]) for event in events[name]])[last]
        losses.append(np.where(over | ~np.isfinite(measured), np.nan, measured))
    return np.stack(paths), steps, np.stack(losses)


def principal_plane(points: Array) -> tuple[Array, Array, float]:
    """Return the mean, [P], and first two principal axes, [2, P], of points, [n, P], and their share of the variance.

    Points that are not finite are left out. Where there is no second direction, any orthogonal one takes its place.
    """
    points = points[np.isfinite(points).all(-1)]
    center = points.mean(0)
    _, sizes, axes = np.linalg.svd(points - center, full_matrices=False)
    total = float((sizes**2).sum())
    share = float((sizes[:2] ** 2).sum()) / total if total > 0 else 1.0
    signs = np.sign(axes[:2].sum(-1, keepdims=True))  # an axis' sign is arbitrary: the same in every process
    return center, axes[:2] * np.where(signs == 0, 1.0, signs), share


def evaluate(settings: PlaneSettings, params: Array) -> Array:
    """Return validation losses of the settings' task and seed at weights, [n, P]; NaN where not finite, [n]."""
    env = EnvSettings(task=tasks.get(settings.task), optimizer=settings.optimizer, groups=settings.groups)
    runs = env.prepare_runs()(tasks.get(settings.task))
    trainer: BatchedTrainer = runs.trainers[0]  # type: ignore[attr-defined]
    start = trainer.start(np.array([settings.seed], np.uint64))
    losses = []
    for first in range(0, len(params), CHUNK):
        chunk = torch.from_numpy(params[first : first + CHUNK]).float()
        state = replace(start.select(np.zeros(len(chunk), int)), params=chunk)
        losses.append(trainer.evaluate(state, "valid"))
    values = np.concatenate(losses)
    return np.where(np.isfinite(values), values, np.nan)


def _around(values: Array) -> Array:
    """Return a grid that holds the values, with a margin."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = MARGIN * max(high - low, 1e-6)
    return np.linspace(low - margin, high + margin, GRID)


def plane_rows(plane: Plane) -> list[dict[str, Any]]:
    """List the paths and the grid, a row for each point."""
    rows: list[dict[str, Any]] = []
    for k, name in enumerate(plane.controllers):
        for t in np.flatnonzero(np.isfinite(plane.paths[k]).all(-1)).tolist():
            x, y = plane.paths[k, t].tolist()
            loss = float(plane.path_losses[k, t])
            rows.append({"controller": name, "step": int(plane.steps[t]), "x": x, "y": y, "loss": loss})
    for j, y in enumerate(plane.y.tolist()):
        for i, x in enumerate(plane.x.tolist()):
            rows.append({"controller": "plane", "step": None, "x": x, "y": y, "loss": float(plane.losses[j, i])})
    return rows
