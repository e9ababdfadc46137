"""Paired runs: the same initial weights and minibatches under different control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optenv.control.controller import Controller
from optenv.control.loop import ControlLoop
from optenv.inner.optimizers import base_values, get_rule
from optenv.inner.trainer import BatchedTrainer
from optenv.tasks.task import Task

Array = np.ndarray
Schedule = Callable[[Array], Array]
CHUNKS = 40


@dataclass(frozen=True)
class Outcome:
    """How N runs ended.

    Attributes:
      loss: final validation loss, [N]; infinite where the run diverged.
      steps: inner steps at which the curve was sampled, [K].
      curve: mean minibatch loss between those steps, [K, N].
    """

    loss: Array
    steps: Array
    curve: Array


def make_trainer(task: Task, optimizer: str = "adamw", grouping: str = "layer", **options: float) -> BatchedTrainer:
    """Build a batched trainer of `task` under a base optimizer with the given hyperparameters."""
    rule = get_rule(optimizer)
    return BatchedTrainer(task, rule, base_values(rule, options), grouping=grouping)


def run_controller(trainer: BatchedTrainer, controller: Controller, seeds: Array, rates: Array, total: int,
                   *, tell_total: bool = True) -> Outcome:  # fmt: skip
    """Train one run per seed under a controller.

    Args:
      trainer: what trains them.
      controller: decides every control step.
      seeds: of the runs, [N]; equal seeds begin and draw minibatches alike.
      rates: base learning rates, [N].
      total: budget in inner steps.
      tell_total: whether the controller observes the budget.
    """
    seeds, rates = np.asarray(seeds, np.uint64), np.asarray(rates, float)
    state = trainer.start(seeds)
    budget = np.full(len(seeds), float(total) if tell_total else np.nan)
    loop = ControlLoop(controller.interface, budget, trainer.num_groups)
    if controller.interface.first_update is not None:
        loop.start_at(trainer.first_update_ratio(state, rates))
    controller.reset(len(seeds), trainer.num_groups)
    edges = control_edges(total, controller.interface.decisions)
    curve = []
    for steps in np.diff(edges):
        interval = trainer.run(state, rates, loop.apply(controller.act(loop.observe())), int(steps))
        loop.advance(interval)
        curve.append(interval.loss)
    return Outcome(_final(trainer.evaluate(state)), edges[1:], np.stack(curve))


def run_schedule(trainer: BatchedTrainer, schedule: Schedule, seeds: Array, rates: Array, total: int) -> Outcome:
    """Train one run per seed under a learning-rate schedule and nothing else.

    Args:
      trainer: what trains them.
      schedule: from progress in [0, 1), [k], to a factor on the base rate, [k]; evaluated at every inner step.
      seeds: of the runs, [N].
      rates: base learning rates, [N].
      total: budget in inner steps.
    """
    seeds, rates = np.asarray(seeds, np.uint64), np.asarray(rates, float)
    state = trainer.start(seeds)
    edges, curve = control_edges(total, CHUNKS), []
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        factor = schedule(np.arange(first, last) / total)
        curve.append(trainer.run(state, factor[:, None] * rates, {}, int(last - first)).loss)
    return Outcome(_final(trainer.evaluate(state)), edges[1:], np.stack(curve))


def control_edges(total: int, decisions: int) -> Array:
    """Divide a budget into control steps of equal length (the last may be shorter).

    >>> control_edges(10, 3).tolist()
    [0, 3, 6, 9, 10]
    """
    steps = max(1, round(total / decisions))
    return np.append(np.arange(0, total, steps), total)


def constant(progress: Array) -> Array:
    """Return 1."""
    return np.ones_like(progress)


def warmup_cosine(progress: Array, warmup: float = 0.05) -> Array:
    """Rise linearly over the first `warmup` of the budget, then fall to 0 as half a cosine."""
    rise = np.minimum((progress + 1e-3) / (warmup + 1e-3), 1.0)
    fall = 0.5 * (1.0 + np.cos(np.pi * np.clip((progress - warmup) / (1.0 - warmup), 0.0, 1.0)))
    return rise * fall


def _final(loss: Array) -> Array:
    return np.where(np.isfinite(loss), loss, np.inf)
