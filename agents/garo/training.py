"""Meta-training of GARO: a head start by imitation of a teacher with hindsight, then evolution."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from agents.curriculum import BUDGETS
from agents.evolution.checkpoint import NAME as CHECKPOINT
from agents.evolution.training import HEAD_START, EvolutionSettings, evolve
from agents.garo.head_start import HELD, imitate
from agents.garo.policy import BASE_DECAY, untrained
from agents.hindsight.teacher import teach
from agents.hindsight.trials import TRIALS
from agents.run_folder import read_fields, write_fields
from optenv.control.controller import Interface
from optenv.control.gated import EMITTED, GruController
from optenv.control.policy import PolicyFile

INTERFACE = Interface(knobs=EMITTED, control="relative", first_update=1e-3)
IMITATED = 32
HEAD_START_DRAWS = 1_000_000  # no generation has that number


@dataclass(frozen=True, kw_only=True)
class GaroSettings(EvolutionSettings):
    """Settings of a meta-training of GARO; see `EvolutionSettings`.

    Attributes:
      hindsight: tasks in each of the rounds on which peaks are tried, see `agents.hindsight`.
    """

    agent: str = "garo"
    options: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: {"sgd": {"weight_decay": BASE_DECAY}})
    budgets: Sequence[int] = (40, *BUDGETS)
    generations: int = 0
    hindsight: int = 280


def train(settings: GaroSettings, folder: Path, *, resume: bool = False, progress: bool = True) -> Path:
    """Train GARO, or go on training it; see `evolve`.

    Raises:
      FileNotFoundError: if there is nothing to resume.
    """
    torch.set_num_threads(1)  # as the workers, so that every machine finds the same
    path = folder / HEAD_START
    if resume and not path.is_file() and not (folder / TRIALS[0]).is_file():
        raise FileNotFoundError(f"{folder / TRIALS[0]}: expected a training to resume; there is none")
    if not resume:
        for name in (HEAD_START, CHECKPOINT, *TRIALS):
            (folder / name).unlink(missing_ok=True)
    write_fields(folder, settings)  # an interrupted head start can be gone on from
    if not path.is_file():
        head_start(settings, folder, progress=progress).write(path)
    begun = (folder / CHECKPOINT).is_file()
    return evolve(PolicyFile.read(path), GruController, settings, folder, resume=begun, progress=progress)


def head_start(settings: GaroSettings, folder: Path, *, progress: bool) -> PolicyFile:
    """Return the policy that the search begins with; trials of peaks are kept in `folder`, and gone on from."""
    teacher, _ = teach(settings.curriculum(INTERFACE.decisions), INTERFACE, folder, number=settings.hindsight,
                       workers=settings.workers, seed=settings.seed, progress=progress, held=HELD)  # fmt: skip
    drawn = replace(settings, slots=IMITATED).jobs(HEAD_START_DRAWS, INTERFACE.decisions)
    begun = untrained(settings.seed, interface=INTERFACE)
    return imitate(begun, teacher.network, drawn, seed=settings.seed)


def read_settings(folder: Path) -> GaroSettings:
    """Read the settings of a run folder.

    Raises:
      FileNotFoundError: if the folder holds no run.
    """
    return GaroSettings(**read_fields(folder))


def from_options(options: argparse.Namespace) -> GaroSettings:
    """Turn the options of a command line into settings; see `agents.cli.add_train`.

    Of them the tasks, the workers, the seed, `hindsight`, and as the number of generations `rollouts` are read; the
    base optimizer is SGD.
    """
    settings = GaroSettings(tasks=tuple(options.task), workers=options.workers, seed=options.seed)
    own = {"generations": options.rollouts, "hindsight": options.hindsight}
    return replace(settings, **{name: value for name, value in own.items() if value is not None})
