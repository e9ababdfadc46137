"""The running statistics that features are computed from; plain numpy, one row a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

Array = np.ndarray
COSINE_MEMORY = 0.5
NOISE_MEMORY = 0.9
# Along one gradient, in which momentum builds up; the largest of the updates is taken for the size of those to come.
TRIAL_STEPS = 10
# The largest of the base rates at which they are taken, whatever the user's: single-precision weights would swallow
# part of an update at 1e-6, and weight decay at 1 would move them away. Sizes are proportional to the rate.
TRIAL_RATE = 1e-3
# Of the norms that suit them best over that of Adam; docs/research.md, "auto". Those of other optimizers are like it.
NORM_OVER_ADAM = {"sgd": 0.45, "lion": 0.17}


_OF_LOSS = ("loss", "previous_loss", "first_loss", "best_loss", "noise")
_OF_VALIDATION = ("validation", "previous_validation", "first_validation", "best_validation", "validation_step")


@dataclass(frozen=True)
class Products:
    """Inner products of a group's sketches at the end of a control step, each [N, G] float64.

    `g` is the newest gradient, `w` the weights, `d` the displacement of the weights over the
    control step; `_last` marks the values one control step earlier, in units of their own largest
    coordinate, which cosines do not see. NaN where no earlier exists.
    """

    gg: Array
    gg_last: Array
    g_g_last: Array
    g_d: Array
    dd: Array
    dd_last: Array
    d_d_last: Array
    ww: Array


@dataclass(frozen=True)
class Interval:
    """What happened during one control step.

    Attributes:
      steps: inner steps taken.
      loss: mean minibatch loss, [N].
      noise: variance of the minibatch loss, [N]; half the mean squared difference of successive
        losses, which a steady trend hardly moves; NaN where fewer than two losses were seen.
      products: of the groups' sketches, [N, G] each.
      lost: whether some loss was not finite, [N] bool; None where `loss` itself tells.
    """

    steps: int
    loss: Array
    noise: Array
    products: Products
    lost: Array | None = None


def loss_statistics(losses: Array, last: Array) -> tuple[Array, Array]:
    """Return mean and noise variance of an interval's minibatch losses.

    Args:
      losses: [k, N], in order.
      last: the loss just before them, [N]; NaN where there was none.

    >>> mean, noise = loss_statistics(np.array([[2.0], [4.0]]), np.array([np.nan]))
    >>> float(mean[0]), float(noise[0])
    (3.0, 2.0)
    """
    with np.errstate(all="ignore"):
        squares = np.square(losses - np.concatenate([last[None], losses[:-1]]))
        counted = np.isfinite(squares)
        total = np.add.reduce(squares, axis=0, where=counted)
        return np.add.reduce(losses, axis=0) / len(losses), 0.5 * total / np.add.reduce(counted, axis=0, dtype=float)


def update_ratio(displacement: Array, weights: Array, mask: Array, sizes: Sequence[int]) -> Array:
    """Return the size of the whole model's update over that of its weights, the same for every group.

    One ratio for all groups leaves the rates of groups in the proportion the user gave them. The update's
    size is its root mean square, the weights' their mean absolute value: a few weights of 1, those of norm
    layers, say little of how far thousands of weights of 0.02 can go. Weights that are still all zero count
    as of size 0.1, the order of magnitude of a freshly drawn layer.

    Args:
      displacement: sketch of the update, [N, G, S].
      weights: sketch of the weights before it, [N, G, S].
      mask: which coordinates exist, [G, S].
      sizes: number of parameters of each group, [G].

    Returns:
      [N, G].
    """
    # A group may be empty, and so may all of them.
    share = np.asarray(sizes) / max(1, np.sum(sizes)) / np.maximum(mask.sum(axis=-1), 1.0)
    moved, size = np.sqrt(np.square(displacement).sum(axis=-1) @ share), np.abs(weights).sum(axis=-1) @ share
    ratio = moved / np.where(size < 1e-4, 0.1, size)
    return np.broadcast_to(ratio[:, None], displacement.shape[:2])


def update_norm(displacement: Array, moving: Array, mask: Array, sizes: Sequence[int], optimizer: str) -> Array:
    """Return the norm of the whole model's update, the same for every group, as an Adam-like optimizer's would be.

    sqrt(P) times the root mean square over the coordinates that have a gradient: others, as those of rows that a
    minibatch does not touch, or below an output layer of zeros, move later. Divided by `NORM_OVER_ADAM`, so that one
    constant serves all optimizers.

    Args:
      displacement: sketch of the update, [N, G, S].
      moving: whether the gradient is not 0, [N, G, S].
      mask: which coordinates exist, [G, S].
      sizes: number of parameters of each group, [G].
      optimizer: name of the base optimizer, such as "sgd" or "SGD".

    Returns:
      [N, G].
    """
    share = np.asarray(sizes) / max(1, np.sum(sizes)) / np.maximum(mask.sum(axis=-1), 1.0)
    squares, moved = np.square(displacement).sum(axis=-1) @ share, moving.sum(axis=-1) @ share
    norm = np.sqrt(np.sum(sizes) * squares / np.maximum(moved, 1e-12)) / NORM_OVER_ADAM.get(optimizer.lower(), 1.0)
    return np.broadcast_to(norm[:, None], displacement.shape[:2])


@dataclass
class Signals:
    """Statistics of N runs with G groups each, as of the end of the last control step.

    Attributes:
      step: inner steps taken, [N].
      total: budget in inner steps, [N]; NaN where unknown.
      interval: inner steps of the last control step, [N].
      loss: mean minibatch loss of the last interval, [N]; NaN before the first.
      previous_loss: of the interval before, [N].
      first_loss: of the first interval, [N].
      best_loss: the least interval mean so far, [N].
      noise: variance of the minibatch loss, exponentially averaged, [N].
      gradient_norm: norm of the sketched gradient, [N, G].
      first_gradient_norm: the first such norm, [N, G].
      update_ratio: displacement of the last interval over the norm of the weights, [N, G].
      persistence: cosine of successive displacements, averaged, [N, G].
      gradient_persistence: cosine of successive gradients, averaged, [N, G].
      descent: cosine of the gradient and minus the displacement before it, averaged, [N, G].
      log_scale: log10 of the scale in force over the run's first, [N, G].
      validation: the newest validation loss, [N]; NaN where there is none, as for the next four.
      previous_validation: the one before, [N].
      first_validation: the first, [N].
      best_validation: the least, [N].
      validation_step: `step` when the newest was taken in, [N].
    """

    step: Array
    total: Array
    interval: Array
    loss: Array
    previous_loss: Array
    first_loss: Array
    best_loss: Array
    noise: Array
    gradient_norm: Array
    first_gradient_norm: Array
    update_ratio: Array
    persistence: Array
    gradient_persistence: Array
    descent: Array
    log_scale: Array
    validation: Array
    previous_validation: Array
    first_validation: Array
    best_validation: Array
    validation_step: Array

    @classmethod
    def start(cls, total: Array, num_groups: int) -> Signals:
        """Begin N runs; `total` is [N], NaN where the budget is unknown."""
        n = len(total)
        run = {name: np.full(n, np.nan) for name in (*_OF_LOSS, *_OF_VALIDATION)}
        norms = {
            name: np.full((n, num_groups), np.nan) for name in ("gradient_norm", "first_gradient_norm", "update_ratio")
        }
        cosines = {
            name: np.zeros((n, num_groups)) for name in ("persistence", "gradient_persistence", "descent", "log_scale")
        }
        return cls(step=np.zeros(n), total=np.asarray(total, float), interval=np.ones(n), **run, **norms, **cosines)

    def advance(self, interval: Interval, log_scale: Array) -> None:
        """Take in one control step; what is not finite leaves the statistics as they were.

        Args:
          interval: what happened during it.
          log_scale: log10 of the scale in force over the first, [N, G].
        """
        self.step = self.step + interval.steps
        self.interval = np.zeros(len(self.step)) + interval.steps
        self.log_scale = log_scale
        with np.errstate(all="ignore"):
            self._advance_loss(interval)
            self._advance_groups(interval.products)

    def take_validation(self, loss: Array) -> None:
        """Take in validation losses, [N]; NaN, or infinite, where there is none."""
        new = np.isfinite(loss)
        self.previous_validation = np.where(new, self.validation, self.previous_validation)
        self.validation = np.where(new, loss, self.validation)
        self.first_validation = np.where(np.isnan(self.first_validation), self.validation, self.first_validation)
        self.best_validation = np.fmin(self.best_validation, self.validation)
        self.validation_step = np.where(new, self.step, self.validation_step)

    def _advance_loss(self, interval: Interval) -> None:
        self.previous_loss = self.loss
        self.loss = _finite_or(interval.loss, self.loss)
        self.first_loss = np.where(np.isnan(self.first_loss), self.loss, self.first_loss)
        self.best_loss = np.fmin(self.best_loss, self.loss)
        noise = _finite_or(interval.noise, self.noise)
        self.noise = _average(self.noise, noise, NOISE_MEMORY)

    def _advance_groups(self, p: Products) -> None:
        self.gradient_norm = _finite_or(np.sqrt(p.gg), self.gradient_norm)
        self.first_gradient_norm = np.where(
            np.isnan(self.first_gradient_norm), self.gradient_norm, self.first_gradient_norm
        )
        self.update_ratio = _finite_or(np.sqrt(p.dd / p.ww), self.update_ratio)
        self.persistence, self.gradient_persistence, self.descent = _average_cosine(  # at once: a third of the calls
            np.array([self.persistence, self.gradient_persistence, self.descent]),
            np.array([p.d_d_last, p.g_g_last, -p.g_d]),
            np.array([p.dd, p.gg, p.gg]),
            np.array([p.dd_last, p.gg_last, p.dd]),
        )

    def regrouped(self, sources: Array) -> Signals:
        """Return the signals of the same runs with other groups; `sources` as in `carried`."""
        new = Signals.start(self.total, len(sources))
        for field in fields(self):
            old, fresh = getattr(self, field.name), getattr(new, field.name)
            setattr(new, field.name, old if old.ndim == 1 else carried(old, fresh, sources))
        return new

    def put(self, rows: Array, fresh: Signals) -> None:
        """Replace the runs at the indices `rows` by those of `fresh`."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(fresh, field.name)


def carried(old: Array, fresh: Array, sources: Array) -> Array:
    """Return what groups carry on when they change.

    Args:
      old: of the groups before, [N, G, ...].
      fresh: of as many new groups as there are now, [N, G', ...].
      sources: for each group the index of the one that it was before, or -1 for a new one, [G'].

    >>> carried(np.array([[1.0, 2.0]]), np.zeros((1, 3)), np.array([1, -1, 0]))
    array([[2., 0., 1.]])
    """
    result, known = fresh.copy(), sources >= 0
    result[:, known] = old[:, sources[known]]
    return result


def _finite_or(value: Array, otherwise: Array) -> Array:
    return np.where(np.isfinite(value), value, otherwise)


def _average(old: Array, new: Array, memory: float) -> Array:
    return np.where(np.isnan(old), new, memory * old + (1.0 - memory) * new)


def _average_cosine(old: Array, product: Array, a: Array, b: Array) -> Array:
    cosine = product / np.sqrt(a * b)
    return np.where(np.isfinite(cosine), COSINE_MEMORY * old + (1.0 - COSINE_MEMORY) * cosine, old)
