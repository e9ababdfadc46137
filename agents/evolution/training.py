"""Training a policy by evolution: one call from settings to a portable file, interruptible and resumable."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from agents.curriculum import BUDGETS, Curriculum, training_members
from agents.evolution.checkpoint import load_search, save_search
from agents.evolution.flat import flatten, unflatten
from agents.evolution.generation import Finding, Job, draw_job, explore
from agents.evolution.population import Build
from agents.evolution.strategy import Search, Strategy, ascend
from agents.run_folder import CONTROLLER, read_fields, write_fields
from agents.sharing import cost
from optenv.control.policy import PolicyFile

HEAD_START = "head_start.safetensors"


@dataclass(frozen=True, kw_only=True)
class EvolutionSettings:
    """Settings of a training by evolution.

    Whole runs are the unit: a member's fitness is the final validation loss, after every decision of
    a run. So there is no truncation, and none of the bias that persistent evolution strategies
    (Vicol et al. 2021) exist to remove.

    Attributes:
      agent: what is trained, for the notes in its file.
      tasks: names of tasks or families to train on; empty for the train split, the last two members of each
        family left out.
      optimizers: base optimizers; one named twice is drawn twice as often.
      options: hyperparameters of a base optimizer besides the rate, by its name.
      lr: base learning rate.
      budgets: inner steps of the runs.
      groupings: what a parameter group is, drawn for every population.
      generations: length of the training.
      slots: populations, each on a task of its own, in a generation.
      pairs: antithetic pairs in a population; fewer where the task is dear.
      num_seeds: runs of every member, paired over the population.
      unknown: share of populations that are not told the budget.
      sigma: see `Strategy`.
      learning_rate: see `Strategy`.
      averaging: see `Strategy`.
      workers: processes.
      seed: of everything.
    """

    agent: str
    tasks: Sequence[str] = ()
    optimizers: Sequence[str] = ("sgd",)
    options: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    lr: float = 1e-2
    budgets: Sequence[int] = BUDGETS
    groupings: Sequence[str] = ("layer", "model")
    generations: int = 48
    slots: int = 8
    pairs: int = 24
    num_seeds: int = 1
    unknown: float = 0.2
    sigma: float = 0.07
    learning_rate: float = 0.015
    averaging: float = 0.9
    workers: int = 2
    seed: int = 0

    @property
    def strategy(self) -> Strategy:
        """How it searches."""
        return Strategy(self.sigma, self.learning_rate, self.averaging)

    @property
    def base(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """The base optimizer that it is judged on, the first of those it is trained on, and its hyperparameters."""
        first = self.optimizers[0]
        return first, tuple(sorted(self.options.get(first, {}).items()))

    def curriculum(self, decisions: int) -> Curriculum:
        """What it is trained on, in runs of so many decisions."""
        return Curriculum(
            tasks=tuple(self.tasks) or training_members(),
            optimizers=tuple(self.optimizers),
            options=self.options,
            budgets=tuple(self.budgets),
            groupings=tuple(self.groupings),
            decisions=decisions,
            settings={},
        )

    def jobs(self, generation: int, decisions: int) -> list[Job]:
        """Draw the populations of a generation, the dearest first; a function of the seed and the generation."""
        curriculum = self.curriculum(decisions)
        drawn = [
            draw_job(curriculum, self.lr, pairs=self.pairs, num_seeds=self.num_seeds,
                     unknown=self.unknown, seed=(self.seed, generation, slot))
            for slot in range(self.slots)
        ]  # fmt: skip
        return sorted(drawn, key=lambda job: -job.pairs * cost({"task": job.task, "num_inner_steps": job.total}))


def evolve(file: PolicyFile, build: Build, settings: EvolutionSettings, folder: Path, *, resume: bool = False,
           progress: bool = True) -> Path:  # fmt: skip
    """Train the weights of a policy by evolution, or go on training them.

    Args:
      file: the policy to begin with; its statistics of the features stay as they are.
      build: from a policy file to its controller; a module's function or class, which workers import.
      settings: how it is trained and on what.
      folder: where the checkpoint, after every generation, and the controller go.
      resume: whether to go on from the folder's checkpoint; the outcome is the same, bit for bit.
      progress: whether to show a progress bar.

    Returns:
      The path of the trained controller.

    Raises:
      FileNotFoundError: if there is nothing to resume.
    """
    write_fields(folder, settings)
    weights = flatten(file)
    search, log = load_search(folder, len(weights)) if resume else (Search.start(weights), [])
    remaining = range(search.generation, settings.generations)
    bar = tqdm(remaining, initial=search.generation, total=settings.generations, desc="evolve", unit="generation",
               disable=not progress)  # fmt: skip
    with Parallel(n_jobs=max(1, settings.workers)) as parallel:
        for generation in bar:
            started = time.monotonic()
            jobs = settings.jobs(generation, file.interface.decisions)
            found = parallel(delayed(_single_threaded)(job, file, search.mean, settings.sigma, build) for job in jobs)
            gradient = np.mean([finding.gradient for finding in found], axis=0)
            search = ascend(search, gradient, settings.strategy, settings.generations)
            log.append(_summary(found, time.monotonic() - started))
            save_search(folder, search, log)
            bar.set_postfix(diverged=f"{log[-1]['diverged']:.0%}")
    notes = {"settings": asdict(settings), "generations": search.generation,
             "seconds": round(sum(entry["seconds"] for entry in log), 1)}  # fmt: skip
    path = folder / CONTROLLER
    replace(unflatten(file, search.average), notes=notes).write(path)
    return path


def _single_threaded(*arguments: object) -> Finding:
    import torch

    torch.set_num_threads(1)
    return explore(*arguments)  # type: ignore[arg-type]


def _summary(found: Sequence[Finding], seconds: float) -> dict[str, float]:
    return {"spread": float(np.mean([f.spread for f in found])),
            "diverged": float(np.mean([f.diverged for f in found])), "seconds": round(seconds, 2)}  # fmt: skip


def read_settings(folder: Path) -> EvolutionSettings:
    """Read the settings of a run folder.

    Raises:
      FileNotFoundError: if the folder holds no run.
    """
    return EvolutionSettings(**read_fields(folder))
