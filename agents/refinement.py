"""Evolution after reinforcement learning: the same policy, judged by nothing but where its runs end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agents.curriculum import BASES, OPTIONS
from agents.evolution.checkpoint import NAME
from agents.evolution.training import EvolutionSettings, evolve
from agents.run_folder import CONTROLLER
from optenv.control.loading import KINDS
from optenv.control.policy import PolicyFile

if TYPE_CHECKING:
    from agents.training import TrainSettings

FOLDER = "evolution"


def refine(settings: TrainSettings, folder: Path, *, resume: bool, progress: bool = True) -> Path:
    """Train a run folder's controller on by evolution, on all families and several base optimizers.

    Args:
      settings: of the training that made it.
      folder: its run folder; the search keeps its checkpoint in `FOLDER` within.
      resume: whether to go on from that checkpoint, where there is one.
      progress: whether to show a progress bar.

    Returns:
      The path of the controller, which replaces the one it began with.
    """
    file, own = PolicyFile.read(folder / CONTROLLER), folder / FOLDER
    search = EvolutionSettings(
        agent=settings.agent, tasks=tuple(settings.tasks), optimizers=BASES, options=OPTIONS,
        budgets=tuple(settings.budgets), generations=settings.generations, slots=settings.slots,
        workers=settings.workers, seed=settings.seed,
    )  # fmt: skip
    path = evolve(file, KINDS[file.kind], search, own, resume=resume and (own / NAME).is_file(), progress=progress)
    refined = PolicyFile.read(path)
    refined.notes = {**file.notes, FOLDER: refined.notes}
    refined.write(folder / CONTROLLER)
    return folder / CONTROLLER
