"""Paired runs: the same initial weights and minibatches under different control."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optenv.benchmark.scores import SCORES, Score
from optenv.control.averaging import newest_share
from optenv.control.controller import Controller
from optenv.inner.architecture_batches import ArchitectureBatches
from optenv.inner.rollout import control_edges, guarded, observes_validation, rollout
from optenv.inner.state import RunState
from optenv.inner.trainer import BatchedTrainer

Array = np.ndarray
Schedule = Callable[[Array], Array]
CHUNKS = 40
SAMPLES = CHUNKS - 1  # validation losses before the last one
DELIVERED = ("first", "best", "final", "average")  # the weights whose test loss is measured


@dataclass(frozen=True)
class Outcome:
    """How N runs ended.

    Attributes:
      loss: final validation loss, [N]; infinite where the run diverged.
      first: validation loss before the first step, [N].
      steps: inner steps after which the validation loss was measured, [V].
      valid: the validation loss then, [V, N].
      offered: the least validation loss then of all weights that may be kept as the best: under a controller their
        average, too, see `optenv.control.averaging`, [V, N].
      test: test losses before the first step, of the weights with the least validation loss (those before the first
        step may have it), of the final ones and of their average, by name of `DELIVERED`, [N] each; empty where they
        are not asked for. Where there is no average, its loss is that of the final weights.
    """

    loss: Array
    first: Array
    steps: Array
    valid: Array
    offered: Array
    test: dict[str, Array]

    def validation(self, score: Score) -> Array:
        """Return the validation loss of the weights that are delivered under a score, [N]."""
        return score.validation(np.concatenate([self.first[None], getattr(self, score.reads)]))

    def select(self, runs: Any) -> Outcome:
        """Return the outcome of the runs at some indices."""
        test = {name: loss[runs] for name, loss in self.test.items()}
        valid, offered = self.valid[:, runs], self.offered[:, runs]
        return Outcome(self.loss[runs], self.first[runs], self.steps, valid, offered, test)

    @classmethod
    def join(cls, parts: Sequence[Outcome]) -> Outcome:
        """Return the outcome of all runs of some outcomes, measured after the same steps."""
        names = ("loss", "first", "valid", "offered")
        arrays = {name: np.concatenate([getattr(part, name) for part in parts], -1) for name in names}
        test = {name: np.concatenate([part.test[name] for part in parts]) for name in parts[0].test}
        return cls(steps=parts[0].steps, test=test, **arrays)


def run_controller(
    trainer: BatchedTrainer,
    controller: Controller,
    seeds: Array,
    rates: Array,
    total: int,
    *,
    samples: int = 0,
    test: bool = False,
    reveal_budget: bool = True,
    guard: bool = True,
    learn: bool = False,
) -> Outcome:
    """Train one run per seed under a controller, as a controlled optimizer does.

    A controller that observes validation losses trains two runs per seed: final weights, the losses along the run and
    before the first step are of those that hide them, what the best validation loss chooses is of those that show them.

    Args:
      trainer: what trains them.
      controller: decides every control step.
      seeds: of the runs, [N]; equal seeds begin and draw minibatches alike.
      rates: base learning rates, [N].
      total: budget in inner steps.
      samples: how often the validation loss is measured before the end, at most.
      test: measure test losses too.
      reveal_budget: see `rollout`, as for the others.
      guard: as there.
      learn: as there.

    Raises:
      ValueError: if it is to learn, and does not, or the base optimizer has nothing for one of its knobs to move.
    """
    watched = sampled(control_edges(total, controller.interface.decisions), samples)
    observed = (guarded(controller) if guard else controller).interface

    def outcome(reveal_validation: bool) -> Outcome:
        runs = ArchitectureBatches([trainer])
        steps = rollout(
            runs,
            controller,
            seeds,
            rates,
            total,
            reveal_budget=reveal_budget,
            reveal_validation=reveal_validation,
            guard=guard,
            learn=learn,
        )
        return _outcome(runs, (step.last for step in steps), watched, test, averages=samples > 0)

    blind = outcome(False)
    if not samples or not observes_validation(observed):
        return blind
    seeing = outcome(True)
    chosen = {"best": seeing.test["best"]} if test else {}
    return replace(blind, offered=seeing.offered, test=blind.test | chosen)


def run_schedule(
    trainer: BatchedTrainer,
    schedule: Schedule,
    seeds: Array,
    rates: Array,
    total: int,
    *,
    samples: int = 0,
    test: bool = False,
) -> Outcome:
    """Train one run per seed under a learning-rate schedule and nothing else.

    Args:
      trainer: what trains them.
      schedule: from progress in [0, 1), [k], to a factor on the base rate, [k]; evaluated at every inner step.
      seeds: of the runs, [N].
      rates: base learning rates, [N].
      total: budget in inner steps.
      samples: how often the validation loss is measured before the end, at most.
      test: measure test losses too.
    """
    runs, edges, rates = ArchitectureBatches([trainer]), control_edges(total, CHUNKS), np.asarray(rates, float)
    runs.start(np.arange(len(seeds)), np.zeros(len(seeds), int), np.asarray(seeds, np.uint64))

    def advance() -> Iterator[int]:
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            factor = schedule(np.arange(first, last) / total)
            runs.run(factor[:, None] * rates, {}, last - first)
            yield last

    return _outcome(runs, advance(), sampled(edges, samples), test)


def _outcome(
    runs: ArchitectureBatches, advance: Iterable[int], watched: Array, test: bool, *, averages: bool = False
) -> Outcome:
    """Measure runs of a single task, just begun, before the first step and after the watched ones that are taken."""
    ((_, state),) = runs.states.values()

    def weights() -> Iterator[Sequence[Tensor]]:
        yield (state.params,)
        average = state.params.clone() if averages else None
        for count, last in enumerate(advance, start=1):
            if average is not None:
                _average(average, state.params, newest_share(count))
            if last in watched:  # the first averages are the weights themselves
                yield (state.params,) if average is None or newest_share(count) == 1.0 else (state.params, average)

    return measure(runs.trainers[0], state, weights(), watched, test=test)


def _average(average: Tensor, params: Tensor, share: float) -> None:
    """Take the newest weights into an average, in place; rows that are not finite are left out."""
    moved = torch.lerp(average, params, share)
    torch.where(moved.isfinite().all(dim=1, keepdim=True), moved, average, out=average)


def measure(
    trainer: BatchedTrainer, state: RunState, weights: Iterable[Sequence[Tensor]], steps: Array, *, test: bool
) -> Outcome:
    """Measure losses along runs.

    Args:
      trainer: of the task.
      state: of the runs, for their data.
      weights: before the first step and after each number of `steps` those that may be kept, [N, P] each, those
        that go on first; they may change later.
      steps: inner steps, [V].
      test: measure test losses too, at the end, on weights kept till then.
    """
    last = SCORES["final"].validation
    valid: list[Array] = []
    offered: list[Array] = []
    kept: dict[str, Tensor] = {}
    for choices in weights:
        losses = [trainer.evaluate(replace(state, params=params)) for params in choices]
        if test:
            kept = kept or {name: choices[0].clone() for name in DELIVERED}
            kept["final"], kept["average"] = choices[0], choices[-1]
            for place, params in enumerate(choices):
                so_far = np.fmin.reduce([*offered, *losses[:place]], initial=np.inf)
                better = np.flatnonzero(losses[place] < so_far)
                kept["best"][better] = params[better]
        valid.append(losses[0])
        offered.append(np.fmin.reduce(losses))
    held_back = replace(state, valid=trainer.split(state, "test")) if test else state
    ends = {name: trainer.evaluate(replace(held_back, params=params)) for name, params in kept.items()}
    tested = {name: last(loss[None]) for name, loss in ends.items()}
    return Outcome(last(np.stack(valid)), valid[0], steps, np.stack(valid[1:]), np.stack(offered[1:]), tested)


def sampled(edges: Array, samples: int) -> Array:
    """Choose the end and at most `samples` of the edges before it, evenly, the start left out.

    >>> sampled(np.arange(0, 101, 10), 4).tolist()
    [20, 40, 60, 80, 100]
    """
    places = np.linspace(0, len(edges) - 1, min(samples, len(edges) - 2) + 2)[1:]
    return edges[np.unique(np.round(places).astype(int))]


def constant(progress: Array) -> Array:
    """Return 1."""
    return np.ones_like(progress)


def warmup_cosine(progress: Array, warmup: float = 0.05) -> Array:
    """Rise linearly over the first `warmup` of the budget, then fall to 0 as half a cosine."""
    rise = np.minimum((progress + 1e-3) / (warmup + 1e-3), 1.0)
    fall = 0.5 * (1.0 + np.cos(np.pi * np.clip((progress - warmup) / (1.0 - warmup), 0.0, 1.0)))
    return rise * fall
