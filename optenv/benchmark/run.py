"""Paired runs: the same initial weights and minibatches under different control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optenv.control.controller import Controller
from optenv.control.loop import ControlLoop, check_learner
from optenv.inner.optimizers import Rule, base_values, get_rule
from optenv.inner.state import RunState
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
      first: validation loss before the first step, [N].
      valid_steps: inner steps after which the validation loss was measured, [V].
      valid: the validation loss then, [V, N].
    """

    loss: Array
    steps: Array
    curve: Array
    first: Array
    valid_steps: Array
    valid: Array


def make_trainer(
    task: Task,
    optimizer: str | Rule = "adamw",
    grouping: str = "layer",
    *,
    device: str = "cpu",
    **options: float,
) -> BatchedTrainer:
    """Build a batched trainer of `task` under a base optimizer with the given hyperparameters.

    Args:
      task: what is trained.
      optimizer: a registered name, or a rule of one's own.
      grouping: "layer" or "model".
      device: where the runs are trained.
      **options: hyperparameters besides the learning rate, by name.
    """
    rule = get_rule(optimizer) if isinstance(optimizer, str) else optimizer
    return BatchedTrainer(task, rule, base_values(rule, options), grouping=grouping, device=device)


def run_controller(trainer: BatchedTrainer, controller: Controller, seeds: Array, rates: Array, total: int,
                   *, tell_total: bool = True, samples: int = 0, learn: bool = False) -> Outcome:  # fmt: skip
    """Train one run per seed under a controller.

    Args:
      trainer: what trains them.
      controller: decides every control step.
      seeds: of the runs, [N]; equal seeds begin and draw minibatches alike.
      rates: base learning rates, [N].
      total: budget in inner steps.
      tell_total: whether the controller observes the budget.
      samples: how often the validation loss is measured before the end, at most.
      learn: tell a controller that learns what came of every action; its runs are then no longer independent.

    Raises:
      ValueError: if it is to learn, and does not.
    """
    if learn:
        check_learner(controller)
    seeds, rates = np.asarray(seeds, np.uint64), np.asarray(rates, float)
    state = trainer.start(seeds)
    budget = np.full(len(seeds), float(total) if tell_total else np.nan)
    loop = ControlLoop(controller.interface, budget, trainer.num_groups)
    if controller.interface.first_update is not None:
        loop.start_at(trainer.first_update_ratio(state, rates))
    controller.reset(len(seeds), trainer.num_groups)

    def advance(first: int, last: int) -> Array:
        interval = trainer.run(state, rates, loop.decide(controller), last - first)
        loop.advance(interval)
        if learn:
            loop.pay(controller)
        return interval.loss

    return _train(trainer, state, control_edges(total, controller.interface.decisions), advance, samples)


def run_schedule(trainer: BatchedTrainer, schedule: Schedule, seeds: Array, rates: Array, total: int,
                 *, samples: int = 0) -> Outcome:  # fmt: skip
    """Train one run per seed under a learning-rate schedule and nothing else.

    Args:
      trainer: what trains them.
      schedule: from progress in [0, 1), [k], to a factor on the base rate, [k]; evaluated at every inner step.
      seeds: of the runs, [N].
      rates: base learning rates, [N].
      total: budget in inner steps.
      samples: how often the validation loss is measured before the end, at most.
    """
    seeds, rates = np.asarray(seeds, np.uint64), np.asarray(rates, float)
    state = trainer.start(seeds)

    def advance(first: int, last: int) -> Array:
        factor = schedule(np.arange(first, last) / total)
        return trainer.run(state, factor[:, None] * rates, {}, last - first).loss

    return _train(trainer, state, control_edges(total, CHUNKS), advance, samples)


def _train(
    trainer: BatchedTrainer, state: RunState, edges: Array, advance: Callable[[int, int], Array], samples: int
) -> Outcome:
    watched, curve, measured = sampled(edges, samples), [], [trainer.evaluate(state)]
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        curve.append(advance(first, last))
        if last in watched:
            measured.append(trainer.evaluate(state))
    valid = np.stack(measured)
    final = np.where(np.isfinite(valid[-1]), valid[-1], np.inf)
    return Outcome(final, edges[1:], np.stack(curve), valid[0], watched, valid[1:])


def sampled(edges: Array, samples: int) -> Array:
    """Choose the end and at most `samples` of the edges before it, evenly, the start left out.

    >>> sampled(np.arange(0, 101, 10), 4).tolist()
    [20, 40, 60, 80, 100]
    """
    places = np.linspace(0, len(edges) - 1, min(samples, len(edges) - 2) + 2)[1:]
    return edges[np.unique(np.round(places).astype(int))]


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
