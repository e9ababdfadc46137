"""Training runs under a controller, as they happen, one control step at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from agents.playground.optimizers import OPTIMIZERS, build
from agents.playground.run_settings import RunSettings, SweepSettings, TrainingSettings
from agents.registry import load
from optenv import tasks
from optenv.control.controller import Controller
from optenv.control.guard import Guard
from optenv.env.settings import EnvSettings
from optenv.inner import rollout
from optenv.inner.optimizers import OPTIMIZERS as BATCHED
from optenv.inner.rollout import Runs

Array = np.ndarray


@dataclass(frozen=True)
class Progress:
    """Where the runs of one controller are.

    Attributes:
      controller: its name.
      step: inner steps taken so far.
      total: their budget.
      loss: of every run on its validation set, [N], infinite where it diverged; NaN where nobody watches
        and the run goes on.
      values: knob values over the control step that ended, [N, G] each; at the start those it begins with.
      groups: names of the parameter groups.
      rates: base learning rates, [N].
    """

    controller: str
    step: int
    total: int
    loss: Array
    values: dict[str, Array]
    groups: tuple[str, ...]
    rates: Array


def train(settings: TrainingSettings) -> Iterator[Progress]:
    """Train one run under each controller: the same weights, data and minibatches for all of them.

    The runs take turns, a control step each, so that all curves grow together.

    Raises:
      ValueError: if no controller is chosen.
    """
    seeds, rates = np.array([settings.seed], np.uint64), np.array([settings.lr])
    under_way = [steer(settings, name, seeds, rates) for name in settings.methods()]
    while under_way:
        for run in list(under_way):
            progress = next(run, None)
            if progress is None:
                under_way.remove(run)
            else:
                yield progress


def sweep(settings: SweepSettings) -> Iterator[Progress]:
    """Train paired runs at every base learning rate under each controller, one controller after the other.

    Raises:
      ValueError: if no controller is chosen.
    """
    rates = np.repeat(settings.rates(), settings.num_seeds)
    seeds = np.tile(np.arange(settings.num_seeds), settings.count) + settings.seed
    for name in settings.methods():
        yield from steer(settings, name, seeds.astype(np.uint64), rates, watched=False)


def steer(settings: RunSettings, name: str, seeds: Array, rates: Array, *, watched: bool = True) -> Iterator[Progress]:
    """Train one run per seed under a controller, with its guard.

    Args:
      settings: task, base optimizer, budget and grouping.
      name: of the controller.
      seeds: of the runs, [N]; equal seeds begin and draw minibatches alike.
      rates: base learning rates, [N].
      watched: whether losses are measured at every control step, not only at the end.

    Yields:
      The start, and every control step. It ends early once all runs have diverged.
    """
    for progress, _ in follow(settings, name, seeds, rates, watched=watched):
        yield progress


def follow(
    settings: RunSettings,
    name: str,
    seeds: Array,
    rates: Array,
    *,
    watched: bool = True,
    controller: Controller | None = None,
) -> Iterator[tuple[Progress, Runs]]:
    """Train as `steer`, and yield with every event the runs as they are then.

    Args:
      settings: as for `steer`.
      name: of the controller, as the events call it.
      seeds: as for `steer`.
      rates: as for `steer`.
      watched: as for `steer`.
      controller: what steers; by default what is registered under the name.
    """
    acting, runs, every = Guard(controller or load(name)), _runs(settings), np.arange(len(seeds))
    begun = rollout.begin(runs, acting, seeds, rates, settings.steps)
    report = partial(Progress, name, total=settings.steps, groups=runs.group_names(0), rates=rates)
    yield report(step=0, loss=_measure(runs, every), values=begun.values), runs
    for step in rollout.steer(begun, acting, settings.steps):
        over = step.last == settings.steps or not np.isfinite(step.interval.loss).any()
        loss = _measure(runs, every) if watched or over else np.full(len(seeds), np.nan)
        yield report(step=step.last, loss=loss, values=step.values), runs
        if over:
            return


def _runs(settings: RunSettings) -> Runs:
    task = tasks.get(settings.task)
    if settings.optimizer in BATCHED:
        env = EnvSettings(task=task, optimizer=settings.optimizer, groups=settings.groups)
    else:
        row = OPTIMIZERS[settings.optimizer]
        env = EnvSettings(
            task=task, trainer="torch", groups=settings.groups, optimizer=lambda groups: build(row, groups, {})
        )
    return env.prepare_runs()(task)


def _measure(runs: Runs, rows: Array) -> Array:
    loss = runs.evaluate(rows, "valid")
    return np.where(np.isfinite(loss), loss, np.inf)
