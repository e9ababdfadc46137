"""Trials: runs of one task that differ in the peak of their schedule alone, and the network that chooses a peak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from agents.training.curriculum import Curriculum
from agents.training.imitation import warmup_linear
from optenv.benchmark.run import run_controller
from optenv.control.controller import Controller, Interface
from optenv.errors import needed_for
from optenv.files import read_npz, reading
from optenv.inner.trainer import make_trainer

Array = np.ndarray
# All numbers below are those of docs/research.md, "Hindsight: which peak would have been best".
# Of each round: what is added to the peaks that the last round's network chooses, 0 in the first.
LOWEST, HIGHEST = -1.5, 5.25  # log of the highest scale over the first
LEAST = 1.0  # of a teacher of layers: giving up, where all that was tried was low, does not carry over to other tasks
PEAKS = (LOWEST, 0.0, 1.0, 2.0, 2.75, 3.5, 4.25, HIGHEST)  # log of the highest scale over the first
OFFSETS = (-2.5, -1.5, -0.8, -0.3, 0.0, 0.4, 0.9, 1.6)
SEEDS = 3
TRIALS = ("trials-1.npz", "trials-2.npz", "trials-3.npz")  # of the rounds
GROUPS = 3
WATCHED = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 35)  # decisions whose views are recorded, of 40
WORST = 3.0  # nats; giving up on a task that could be learned has to cost far more than overfitting one
SAVE_EVERY = 40
HIDDEN_BUDGET_SHARE = 0.15  # of the tasks; their runs stay at the peak
RATE = 1e-3  # the first scale takes its place


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
    def choose(self, views: Array, least: float = LOWEST) -> Array:
        """Return a peak per view from `least` to `HIGHEST`, [B, features] to [B]."""
        peak = self(torch.as_tensor(views, dtype=torch.float32)).numpy()
        return np.clip(peak, least, HIGHEST)


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
    """Steer every run by warm-up and linear decay with a peak of its own, and record what is observed.

    Attributes:
      views: of one decision each, [N, G, features].
      chosen: peaks chosen for them, before what is added, [N, G].
      weight: of what is added, [] each.
    """

    def __init__(
        self,
        interface: Interface,
        added: Array,
        network: PeakNetwork | None = None,
        when: int = -1,
        fixed_actions: tuple[float, ...] = (),
    ):
        """Add `added[i]` to the peaks of run i, which the network chooses; without one they are 0."""
        self.interface, self._added, self._network, self._when = interface, added, network, when
        self.optional_knobs = interface.knobs[1:]
        self._actions = np.zeros(len(interface.knobs))
        self._actions[1 : 1 + len(fixed_actions)] = fixed_actions
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
        self.weight.append(WEIGHTS[self._when](observation[0, 0, self.interface.features.index("progress")]))
        peaks = chosen + self.weight[-1] * np.repeat(self._added, observation.shape[1])
        actions = np.tile(self._actions, (*observation.shape[:2], 1))
        actions[..., 0] = warmup_linear(rows, peaks, self.interface).reshape(observation.shape[:2])
        return actions


def try_peaks(
    drawn: dict[str, Any],
    interface: Interface,
    seed: int,
    *,
    reveal_budget: bool = True,
    network: PeakNetwork | None = None,
    fixed_actions: tuple[float, ...] = (),
) -> Trials:
    """Run one drawn task at every peak from `SEEDS` seeds.

    Args:
      drawn: by a curriculum.
      interface: of the policies that are to learn from it.
      seed: of the runs.
      reveal_budget: whether the network observes the budget.
      network: chooses the peaks to which others are added; None adds them to 0.
      fixed_actions: of the knobs after `scale`, the same at every decision.
    """
    trainer = make_trainer(drawn["task"], drawn["optimizer"], drawn["groups"], **drawn["optimizer_options"])
    added = np.tile(PEAKS if network is None else OFFSETS, SEEDS)
    seeds = seed + np.repeat(np.arange(SEEDS), len(PEAKS))
    when = -1 if network is None or not reveal_budget else seed % len(WEIGHTS)
    controller = AtPeaks(interface, added, network, when, fixed_actions)
    rates, total = np.full(len(seeds), RATE), drawn["num_inner_steps"]
    outcome = run_controller(trainer, controller, seeds, rates, total, reveal_budget=reveal_budget, guard=False)
    groups = np.random.default_rng(seed).integers(trainer.num_groups, size=GROUPS)

    def watched(seen: list[Array]) -> Array:
        picked = np.stack([seen[min(d, len(seen) - 1)][:, groups] for d in WATCHED], axis=1).astype(np.float16)
        return picked.reshape(SEEDS, len(PEAKS), *picked.shape[1:])

    weight = [controller.weight[min(d, len(controller.weight) - 1)] for d in WATCHED]
    log = np.log(np.clip(outcome.loss, 1e-12, 1e12)).reshape(SEEDS, len(PEAKS))
    regret = np.minimum(log - log.min(axis=1, keepdims=True), WORST)
    return Trials(
        watched(controller.views),
        regret.astype(np.float32),
        watched(controller.chosen),
        added.reshape(SEEDS, len(PEAKS)).astype(np.float32),
        np.tile(weight, (SEEDS, 1)).astype(np.float32),
    )


def draw_and_try(
    curriculum: Curriculum, interface: Interface, index: int, *, seed: tuple[int, ...], **how: Any
) -> Trials:
    """Draw a task, a function of `seed` and `index` alone, and try peaks on it; `how` is as for `try_peaks`."""
    torch.set_num_threads(1)
    generator = np.random.default_rng((*seed, index))
    drawn, run_seed = curriculum.draw(generator), int(generator.integers(2**31))
    reveal_budget = bool(generator.uniform() >= HIDDEN_BUDGET_SHARE)
    return try_peaks(drawn, interface, run_seed, reveal_budget=reveal_budget, **how)


def collect(
    trial: Callable[[int], Trials], file: Path, *, number: int, num_features: int, workers: int, progress: bool = True
) -> Trials:
    """Return `number` trials, by their index, from worker processes.

    It goes on from what `file` (npz) already holds, so an interrupted collection ends as an uninterrupted one; what it
    holds has to be of views of `num_features`.
    """
    with needed_for("a teacher with hindsight"):
        from joblib import Parallel, delayed

    done = _read(file, num_features)
    tried = sum(len(trials) for trials in done) // SEEDS
    bar = tqdm(total=number, initial=tried, desc="hindsight", unit="task", disable=not progress)
    with Parallel(n_jobs=max(1, workers), return_as="generator") as parallel, bar:
        for first in range(tried, number, SAVE_EVERY):
            for trials in parallel(delayed(trial)(i) for i in range(first, min(first + SAVE_EVERY, number))):
                done.append(trials)
                bar.update()
            _write(file, joined(*done))
    return joined(*done)


def joined(*parts: Trials) -> Trials:
    """Return all trials of several collections."""
    return Trials(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Trials)))


def _read(file: Path, num_features: int) -> list[Trials]:
    if not file.exists():
        return []
    inner = len(PEAKS), len(WATCHED), GROUPS
    shapes = ((*inner, num_features), (len(PEAKS),), inner, (len(PEAKS),), (len(WATCHED),))
    with reading(file, "trials of peaks (.npz)"):
        found = read_npz(file)
        for field, shape in zip(fields(Trials), shapes, strict=True):
            array = found[field.name]
            if array.shape != (len(found["regret"]), *shape) or array.dtype.kind != "f" or not np.isfinite(array).all():
                raise ValueError(f"expected {field.name!r} of shape [trials, {shape}], finite; received {array.shape}")
        return [Trials(**{field.name: found[field.name] for field in fields(Trials)})]


def _write(file: Path, trials: Trials) -> None:
    part = file.with_suffix(".part.npz")
    np.savez(part, **vars(trials))
    part.replace(file)
