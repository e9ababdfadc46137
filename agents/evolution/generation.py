"""One generation of a search: tasks drawn, populations run on them, and what they tell of the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from agents.curriculum import Curriculum
from agents.evolution.flat import unflatten
from agents.evolution.population import Build, final_losses
from agents.evolution.strategy import antithetic, directions, estimate, standardised, utility
from agents.sharing import cost
from optenv import tasks
from optenv.benchmark.run import make_trainer
from optenv.control.policy import PolicyFile
from optenv.inner.trainer import BatchedTrainer

Array = np.ndarray
# A job of the cheapest task has `most` pairs; a dearer one fewer, so that all take about as long.
CHEAP = 1e8


@dataclass(frozen=True)
class Job:
    """A population on one task.

    Attributes:
      task: its name.
      optimizer: the base optimizer.
      options: its hyperparameters besides the rate.
      grouping: "layer" or "model".
      rate: base learning rate.
      total: budget in inner steps.
      tell_total: whether the members observe it.
      pairs: antithetic pairs of members.
      run_seeds: of the runs, the same for every member.
      seed: of the directions.
    """

    task: str
    optimizer: str
    options: tuple[tuple[str, float], ...]
    grouping: str
    rate: float
    total: int
    tell_total: bool
    pairs: int
    run_seeds: tuple[int, ...]
    seed: tuple[int, ...]


@dataclass(frozen=True)
class Finding:
    """What a job found.

    Attributes:
      gradient: the estimate on its task, [D].
      spread: standard deviation of the utility over its members, in nats.
      diverged: share of runs that diverged.
    """

    gradient: Array
    spread: float
    diverged: float


def draw_job(curriculum: Curriculum, rate: float, *, pairs: int, num_seeds: int, unknown: float,
             seed: tuple[int, ...]) -> Job:  # fmt: skip
    """Draw a job, a function of `seed` alone; a share `unknown` of jobs keeps the budget from the members."""
    generator = np.random.default_rng((*seed, 0))
    drawn = curriculum.draw(generator)
    fewer = min(1.0, CHEAP / cost(drawn))
    return Job(
        drawn["task"].name, drawn["optimizer"], tuple(sorted(drawn["optimizer_options"].items())),
        drawn["groups"], rate, drawn["num_inner_steps"],
        bool(generator.uniform() >= unknown), max(4, round(pairs * fewer)),
        tuple(generator.integers(2**62, size=num_seeds).tolist()), (*seed, 1),
    )  # fmt: skip


def explore(job: Job, file: PolicyFile, mean: Array, sigma: float, build: Build) -> Finding:
    """Run a population around `mean`, [D], on a job's task.

    Args:
      job: task, seeds and size of the population.
      file: what the weights belong to.
      mean: the centre of the population, [D].
      sigma: its standard deviation.
      build: from a policy file to its controller.
    """
    drawn = directions(job.seed, job.pairs, len(mean))
    members = [build(unflatten(file, weights)) for weights in antithetic(mean, drawn, sigma)]
    seeds = np.array(job.run_seeds, np.uint64)
    rates = np.full(len(seeds), job.rate)
    losses = final_losses(trainer_of(job), members, seeds, rates, job.total, tell_total=job.tell_total)
    earned = utility(losses)
    return Finding(
        estimate(drawn, standardised(earned), sigma), float(earned.std()), float(np.mean(~np.isfinite(losses)))
    )


def trainer_of(job: Job) -> BatchedTrainer:
    """Return the trainer of a job's task, the same object every time."""
    return _trainer(job.task, job.optimizer, job.grouping, job.options)


@lru_cache(maxsize=256)
def _trainer(task: str, optimizer: str, grouping: str, options: tuple[tuple[str, float], ...]) -> BatchedTrainer:
    found = tasks.get(task)
    assert isinstance(found, tasks.Task)
    return make_trainer(found, optimizer, grouping, **dict[str, Any](options))
