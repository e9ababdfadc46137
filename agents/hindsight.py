"""A teacher with hindsight: runs are tried at several peaks of one schedule, and a network learns which was best.

What a run observes says something about the rate it needs: whether its loss is noisy, whether its gradients agree,
how far its weights have moved. Equal seeds give runs that differ in the peak alone, so each trial tells, for one
task, how much every peak would have lost. The network is fitted to lose least on average; it is a plain supervised
problem, without the noise of a policy gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from agents.curriculum import Curriculum
from agents.imitation import Teacher, warmup_linear
from optenv.benchmark.run import make_trainer, run_controller
from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURE_NAMES

Array = np.ndarray
PEAKS = (-1.0, 0.25, 1.5, 2.5, 3.5, 4.5, 5.5)  # log of the highest scale over the first
SEEDS = 3
GROUPS = 3
WATCHED = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 35)  # decisions whose views are kept, of 40
WORST = 1.0  # nats; losing everything is not to outweigh all other tasks
SAVE_EVERY = 40
RATE = 1e-3  # the first scale takes its place


@dataclass(frozen=True)
class Trials:
    """Runs that differ in their peak alone.

    Attributes:
      views: of groups at some decisions, [trials, peaks, decisions, GROUPS, features] float16.
      regret: log of the final validation loss over that of the trial's best peak, at most `WORST`, [trials, peaks].
    """

    views: Array
    regret: Array

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.regret)


class AtPeaks(Controller):
    """Steer every run by warm-up and linear decay with a peak of its own, and keep what is observed.

    Attributes:
      views: of one decision each, [N, G, features].
    """

    def __init__(self, interface: Interface, peaks: Array):
        """Give run i the peak `peaks[i]`; the interface is relative control of `scale`."""
        self.interface, self._peaks = interface, peaks
        self.views: list[Array] = []

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Forget what was observed."""
        self.views = []

    def act(self, observation: Array) -> Array:
        """Return the schedule's actions, [N, G, 1]."""
        self.views.append(observation)
        rows, peaks = observation.reshape(-1, observation.shape[-1]), np.repeat(self._peaks, observation.shape[1])
        return warmup_linear(rows, peaks, self.interface.decisions).reshape(*observation.shape[:2], 1)


def try_peaks(drawn: dict[str, Any], interface: Interface, seed: int) -> Trials:
    """Run one drawn task at every peak from `SEEDS` seeds."""
    trainer = make_trainer(drawn["task"], drawn["optimizer"], drawn["groups"])
    peaks, seeds = np.tile(PEAKS, SEEDS), seed + np.repeat(np.arange(SEEDS), len(PEAKS))
    controller = AtPeaks(interface, peaks)
    outcome = run_controller(trainer, controller, seeds, np.full(len(seeds), RATE), drawn["num_inner_steps"])
    kept = np.random.default_rng(seed).integers(trainer.num_groups, size=GROUPS)
    watched = [controller.views[min(d, len(controller.views) - 1)][:, kept] for d in WATCHED]
    log = np.log(np.clip(outcome.loss, 1e-12, 1e12)).reshape(SEEDS, len(PEAKS))
    views = np.stack(watched, axis=1).astype(np.float16)
    return Trials(
        views.reshape(SEEDS, len(PEAKS), *views.shape[1:]),
        np.minimum(log - log.min(axis=1, keepdims=True), WORST).astype(np.float32),
    )


def collect(curriculum: Curriculum, interface: Interface, file: Path, *, number: int, workers: int, seed: int,
            progress: bool = True) -> Trials:  # fmt: skip
    """Try peaks on `number` drawn tasks, going on from what `file` (npz) already holds.

    Draw i depends on the seed and i alone, so an interrupted collection ends as an uninterrupted one.
    """
    from joblib import Parallel, delayed

    done = _read(file)
    batches = range(len(done) // SEEDS, number, SAVE_EVERY)
    bar = tqdm(total=number, initial=len(done) // SEEDS, desc="hindsight", unit="task", disable=not progress)
    with Parallel(n_jobs=max(1, workers), return_as="generator") as parallel, bar:
        for first in batches:
            draws = range(first, min(first + SAVE_EVERY, number))
            jobs = (delayed(_try)(curriculum, interface, seed, i) for i in draws)
            for trials in parallel(jobs):
                done = _joined(done, trials)
                bar.update()
            _write(file, done)
    return done


def _try(curriculum: Curriculum, interface: Interface, seed: int, index: int) -> Trials:
    torch.set_num_threads(1)
    generator = np.random.default_rng((seed, index))
    return try_peaks(curriculum.draw(generator), interface, int(generator.integers(2**31)))


def _joined(*parts: Trials) -> Trials:
    return Trials(np.concatenate([p.views for p in parts]), np.concatenate([p.regret for p in parts]))


def _read(file: Path) -> Trials:
    if not file.is_file():
        shape = (0, len(PEAKS), len(WATCHED), GROUPS, len(FEATURE_NAMES))
        return Trials(np.zeros(shape, np.float16), np.zeros((0, len(PEAKS)), np.float32))
    with np.load(file, allow_pickle=False) as stored:
        return Trials(stored["views"], stored["regret"])


def _write(file: Path, trials: Trials) -> None:
    part = file.with_suffix(".part.npz")
    np.savez(part, views=trials.views, regret=trials.regret)
    part.replace(file)


def interpolated(regret: Tensor, peak: Tensor) -> Tensor:
    """Return what a peak between those tried loses, linearly between them; regret [B, peaks], peak [B], result [B]."""
    knots = torch.tensor(PEAKS)
    peak = peak.clamp(PEAKS[0], PEAKS[-1] - 1e-4)
    below = (torch.searchsorted(knots, peak.detach(), right=True) - 1)[:, None]
    share = (peak[:, None] - knots[below]) / (knots[below + 1] - knots[below])
    return (regret.gather(1, below) * (1.0 - share) + regret.gather(1, below + 1) * share)[:, 0]


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


def fit(trials: Trials, *, seed: int, steps: int = 2000, batch: int = 512) -> Teacher:
    """Fit the network to lose least over all trials, and return the teacher that follows it.

    Args:
      trials: what was tried.
      seed: of its weights and batches.
      steps: of Adam.
      batch: views in each.

    Returns:
      From raw views, [rows, features], to relative actions of the knob `scale`, [rows, 1].
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        views = torch.from_numpy(trials.views)
        regret, inner = torch.from_numpy(trials.regret), views[0, ..., 0].numel()
        views = views.reshape(-1, views.shape[-1])
        network = PeakNetwork(views[torch.randint(len(views), (20_000,))].float())
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(len(views), (batch,))
            loss = interpolated(regret[rows // inner], network(views[rows].float(), noise=0.1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return _Follow(network)


@dataclass(frozen=True)
class _Follow:
    network: PeakNetwork

    @torch.no_grad()
    def __call__(self, observation: Array) -> Array:
        peak = self.network(torch.as_tensor(observation, dtype=torch.float32)).numpy()
        return warmup_linear(observation, np.clip(peak, PEAKS[0], PEAKS[-1]))
