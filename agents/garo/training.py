"""Meta-training of GARO: a head start by imitation, then evolution."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from agents.evolution.training import HEAD_START, EvolutionSettings, evolve, read_settings
from agents.garo.head_start import imitate
from agents.garo.policy import BASE_DECAY, untrained
from optenv.control.controller import Interface
from optenv.control.gated import EMITTED, GruController
from optenv.control.policy import PolicyFile

__all__ = ["from_options", "head_start", "read_settings", "train"]

INTERFACE = Interface(knobs=EMITTED, control="relative", first_update=1e-3)
IMITATED = 24
HEAD_START_DRAWS = 1_000_000  # no generation has that number


def train(settings: EvolutionSettings, folder: Path, *, resume: bool = False, progress: bool = True) -> Path:
    """Train GARO, or go on training it; see `evolve`.

    Raises:
      FileNotFoundError: if there is nothing to resume.
    """
    torch.set_num_threads(1)  # as the workers, so that every machine finds the same
    path = folder / HEAD_START
    if not resume:
        head_start(settings).write(path)
    return evolve(PolicyFile.read(path), GruController, settings, folder, resume=resume, progress=progress)


def head_start(settings: EvolutionSettings) -> PolicyFile:
    """Return the policy that the search begins with."""
    drawn = replace(settings, slots=IMITATED).jobs(HEAD_START_DRAWS, INTERFACE.decisions)
    return imitate(untrained(settings.seed, interface=INTERFACE), drawn, seed=settings.seed)


def from_options(options: argparse.Namespace) -> EvolutionSettings:
    """Turn the options of a command line into settings; see `agents.cli.add_train`.

    Of them the tasks, the workers, the seed, and as the number of generations `rollouts` are read; the base
    optimizer is SGD.
    """
    settings = EvolutionSettings(agent="garo", tasks=tuple(options.task), options={"sgd": {"weight_decay": BASE_DECAY}},
                                 workers=options.workers, seed=options.seed)  # fmt: skip
    return settings if options.rollouts is None else replace(settings, generations=options.rollouts)
