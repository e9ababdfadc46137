"""Rounds of trials, and the network that is fitted to them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.training.curriculum import Curriculum
from agents.training.hindsight.trials import GROUPS, TRIALS, WATCHED, PeakNetwork, Trials, collect, draw_and_try, joined
from optenv.control.controller import Interface

SOFT = 0.03  # nats; a loss beyond it counts by its logarithm, or noise-free tasks alone would decide
BLUR = 0.3  # standard deviations by which views are blurred in fitting
MOST_STEPS, PASSES = 2000, 50


def teach(
    curriculum: Curriculum,
    interface: Interface,
    folder: Path,
    *,
    number: int,
    workers: int,
    seed: int,
    progress: bool = True,
    fixed_actions: tuple[float, ...] = (),
) -> PeakNetwork:
    """Fit a network that chooses peaks to rounds of trials.

    Args:
      curriculum: what tasks are drawn from.
      interface: of the policies that are to learn from it.
      folder: where trials are written, to go on from.
      number: tasks in a round.
      workers: processes.
      seed: of everything.
      progress: whether to show progress bars.
      fixed_actions: of the knobs after `scale`, the same at every decision; by default 0.
    """
    done: list[Trials] = []
    how: dict[str, Any] = {"number": number, "num_features": len(interface.features), "workers": workers}
    network = None
    for rounds, name in enumerate(TRIALS):
        trial = partial(
            draw_and_try, curriculum, interface, seed=(seed, rounds), network=network, fixed_actions=fixed_actions
        )
        done.append(collect(trial, folder / name, progress=progress, **how))
        network = fit(joined(*done), seed=seed)
    assert network is not None
    return network


def fit(trials: Trials, *, seed: int, batch: int = 512) -> PeakNetwork:
    """Fit a network to lose least over all trials, a regret r counted as `SOFT` log(1 + r / `SOFT`).

    Args:
      trials: what was tried.
      seed: of its weights and batches.
      batch: views in each.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        views, chosen = torch.from_numpy(trials.views), torch.from_numpy(trials.chosen).flatten()
        regret, added, weight = (
            torch.from_numpy(x) for x in (SOFT * np.log1p(trials.regret / SOFT), trials.added, trials.weight)
        )
        inner = views[0, ..., 0].numel()
        views = views.reshape(-1, views.shape[-1])
        steps = fitting_steps(len(views), batch)
        network = PeakNetwork(views[torch.randint(len(views), (20_000,))].float())
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(len(views), (batch,))
            trial, share = rows // inner, weight[rows // inner, rows // GROUPS % len(WATCHED)]
            tried = chosen[rows].float()[:, None] + share.clamp_min(0.1)[:, None] * added[trial]
            lost = interpolated(regret[trial], tried, network(views[rows].float(), noise=BLUR))
            loss = (share * lost).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network


def fitting_steps(rows: int, batch: int) -> int:
    """Return how many batches to fit to that many rows."""
    return min(MOST_STEPS, PASSES * rows // batch + 1)


def interpolated(regret: Tensor, tried: Tensor, peak: Tensor) -> Tensor:
    """Return what peaks between those tried lose, linearly between them.

    Args:
      regret: [B, peaks].
      tried: rising, [B, peaks].
      peak: [B]; beyond those tried it counts as the last of them.

    Returns:
      [B].
    """
    peak = torch.minimum(torch.maximum(peak, tried[:, 0]), tried[:, -1] - 1e-4)[:, None]
    below = torch.searchsorted(tried, peak.detach(), right=True).sub_(1).clamp_(0, tried.shape[1] - 2)
    low, high = tried.gather(1, below), tried.gather(1, below + 1)
    share = (peak - low) / (high - low)
    return (regret.gather(1, below) * (1.0 - share) + regret.gather(1, below + 1) * share)[:, 0]
