"""Trials: runs of one task that differ in the peak of their schedule alone, and what each peak lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from agents.curriculum import Curriculum
from agents.hindsight.network import HIGHEST, LOWEST, PeakNetwork
from agents.imitation import warmup_linear
from optenv.benchmark.run import make_trainer, run_controller
from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURE_NAMES

Array = np.ndarray
Held = tuple[float, ...]  # actions of the knobs after `scale`, the same at every decision
# Of each round: what is added to the peaks that the last round's network chooses, 0 in the first.
PEAKS = (LOWEST, 0.0, 1.0, 2.0, 2.75, 3.5, 4.25, HIGHEST)  # log of the highest scale over the first
OFFSETS = (-2.5, -1.5, -0.8, -0.3, 0.0, 0.4, 0.9, 1.6)
SEEDS = 3
TRIALS = ("trials-1.npz", "trials-2.npz", "trials-3.npz")  # of the rounds
GROUPS = 3
WATCHED = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 35)  # decisions whose views are kept, of 40
WORST = 3.0  # nats; giving up on a task that could be learned has to cost far more than overfitting one
SAVE_EVERY = 40
UNKNOWN_BUDGETS = 0.15  # share of the tasks whose budget is not told; they stay at the peak
RATE = 1e-3  # the first scale takes its place


@dataclass(frozen=True)
class Trials:
    """Runs that differ in their peak alone.

    Attributes:
      views: of groups at some decisions, [trials, peaks, decisions, GROUPS, features] float16.
      regret: log of the final validation loss over that of the trial's best peak, at most `WORST`, [trials, peaks].
      chosen: peaks that were chosen for these views, before what was added, [trials, peaks, decisions, GROUPS] float16.
      added: what was added to them where the weight is 1, [trials, peaks].
      weight: how much of it was added, from 0 to 1, [trials, decisions].
    """

    views: Array
    regret: Array
    chosen: Array
    added: Array
    weight: Array

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.regret)


# When in a run peaks are tried: the weight of what is added, of progress. All but the last need a known budget.
WEIGHTS: tuple[Callable[[Array], Array], ...] = (lambda p: 1.0 - p, lambda p: p, np.ones_like)


class AtPeaks(Controller):
    """Steer every run by warm-up and linear decay with a peak of its own, and keep what is observed.

    Attributes:
      views: of one decision each, [N, G, features].
      chosen: peaks chosen for them, before what is added, [N, G].
      weight: of what is added, [] each.
    """

    def __init__(self, interface: Interface, added: Array, network: PeakNetwork | None = None, when: int = -1,
                 held: Held = ()):  # fmt: skip
        """Add `added[i]` to the peaks of run i, which the network chooses; without one they are 0."""
        self.interface, self._added, self._network, self._when = interface, added, network, when
        self._held = np.zeros(len(interface.knobs))
        self._held[1 : 1 + len(held)] = held
        self.reset(0, 0)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Forget what was observed."""
        self.views: list[Array] = []
        self.chosen: list[Array] = []
        self.weight: list[Array] = []

    def act(self, observation: Array) -> Array:
        """Return the schedule's actions, [N, G, knobs]."""
        rows = observation.reshape(-1, observation.shape[-1])
        chosen = np.zeros(len(rows)) if self._network is None else self._network.choose(rows)
        self.views.append(observation)
        self.chosen.append(chosen.reshape(observation.shape[:2]))
        self.weight.append(WEIGHTS[self._when](observation[0, 0, FEATURE_NAMES.index("progress")]))
        peaks = chosen + self.weight[-1] * np.repeat(self._added, observation.shape[1])
        actions = np.tile(self._held, (*observation.shape[:2], 1))
        actions[..., 0] = warmup_linear(rows, peaks, self.interface.decisions).reshape(observation.shape[:2])
        return actions


def try_peaks(drawn: dict[str, Any], interface: Interface, seed: int, *, tell_total: bool = True,
              network: PeakNetwork | None = None, held: Held = ()) -> Trials:  # fmt: skip
    """Run one drawn task at every peak from `SEEDS` seeds."""
    trainer = make_trainer(drawn["task"], drawn["optimizer"], drawn["groups"], **drawn["optimizer_options"])
    added = np.tile(PEAKS if network is None else OFFSETS, SEEDS)
    seeds = seed + np.repeat(np.arange(SEEDS), len(PEAKS))
    when = -1 if network is None or not tell_total else seed % len(WEIGHTS)
    controller = AtPeaks(interface, added, network, when, held)
    rates, total = np.full(len(seeds), RATE), drawn["num_inner_steps"]
    outcome = run_controller(trainer, controller, seeds, rates, total, tell_total=tell_total)
    kept = np.random.default_rng(seed).integers(trainer.num_groups, size=GROUPS)

    def watched(seen: list[Array]) -> Array:
        picked = np.stack([seen[min(d, len(seen) - 1)][:, kept] for d in WATCHED], axis=1).astype(np.float16)
        return picked.reshape(SEEDS, len(PEAKS), *picked.shape[1:])

    weight = [controller.weight[min(d, len(controller.weight) - 1)] for d in WATCHED]
    log = np.log(np.clip(outcome.loss, 1e-12, 1e12)).reshape(SEEDS, len(PEAKS))
    regret = np.minimum(log - log.min(axis=1, keepdims=True), WORST)
    return Trials(
        watched(controller.views), regret.astype(np.float32),
        watched(controller.chosen), added.reshape(SEEDS, len(PEAKS)).astype(np.float32),
        np.tile(weight, (SEEDS, 1)).astype(np.float32),
    )  # fmt: skip


def collect(curriculum: Curriculum, interface: Interface, file: Path, *, number: int, workers: int,
            seed: tuple[int, ...], progress: bool = True, network: PeakNetwork | None = None,
            held: Held = ()) -> Trials:  # fmt: skip
    """Try peaks, or with a network others around those it chooses, on `number` drawn tasks.

    It goes on from what `file` (npz) already holds. Draw i depends on the seeds and i alone, so an interrupted
    collection ends as an uninterrupted one.
    """
    from joblib import Parallel, delayed

    done = _read(file)
    batches = range(len(done) // SEEDS, number, SAVE_EVERY)
    bar = tqdm(total=number, initial=len(done) // SEEDS, desc="hindsight", unit="task", disable=not progress)
    with Parallel(n_jobs=max(1, workers), return_as="generator") as parallel, bar:
        for first in batches:
            draws = range(first, min(first + SAVE_EVERY, number))
            jobs = (delayed(_try)(curriculum, interface, seed, i, network, held) for i in draws)
            for trials in parallel(jobs):
                done = joined(done, trials)
                bar.update()
            _write(file, done)
    return done


def _try(
    curriculum: Curriculum,
    interface: Interface,
    seed: tuple[int, ...],
    index: int,
    network: PeakNetwork | None,
    held: Held,
) -> Trials:
    torch.set_num_threads(1)
    generator = np.random.default_rng((*seed, index))
    drawn, run_seed = curriculum.draw(generator), int(generator.integers(2**31))
    return try_peaks(drawn, interface, run_seed, tell_total=bool(generator.uniform() >= UNKNOWN_BUDGETS),
                     network=network, held=held)  # fmt: skip


def joined(*parts: Trials) -> Trials:
    """Return all trials of several collections."""
    return Trials(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Trials)))


def nothing() -> Trials:
    """Return no trials."""
    inner, peaks = (len(PEAKS), len(WATCHED), GROUPS), np.zeros((0, len(PEAKS)), np.float32)
    views = np.zeros((0, *inner, len(FEATURE_NAMES)), np.float16)
    return Trials(views, peaks, np.zeros((0, *inner), np.float16), peaks, np.zeros((0, len(WATCHED)), np.float32))


def _read(file: Path) -> Trials:
    if not file.is_file():
        return nothing()
    with np.load(file, allow_pickle=False) as stored:
        return Trials(**stored)


def _write(file: Path, trials: Trials) -> None:
    part = file.with_suffix(".part.npz")
    np.savez(part, **vars(trials))
    part.replace(file)
