"""Training Opt2Vec: a head start by imitation, then the real meta-gradient; interruptible, resumable exactly."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from agents.opt2vec.head_start import imitate
from agents.opt2vec.meta import EfficientMetaLearningTrainer, members
from agents.opt2vec.policy import Architecture, make
from agents.run_folder import CONTROLLER, read_fields, replace_file, write_fields
from optenv.control.history import HistoryController
from optenv.control.loading import load_policy

HEAD_START = "head_start.safetensors"
CHECKPOINT = "meta.safetensors"


@dataclass(frozen=True, kw_only=True)
class Opt2VecSettings:
    """Settings of a training.

    Attributes:
      agent: "opt2vec".
      tasks: tasks or families; empty for the train split, the last two members of each family left out.
      optimizer: base optimizer of the runs, "adam" or "adamw".
      meta_steps: length of the meta-training.
      tasks_per_step: tasks in a meta-step.
      runs_per_task: runs of each.
      inner_steps: inner steps between two decisions, drawn for each task.
      learning_rate: of the meta-training; it falls linearly to a tenth.
      radius: see `EfficientMetaLearningTrainer`; it falls likewise.
      head_start: whether the policy imitates a plain schedule first.
      imitated_inner_steps: the head start's, likewise.
      fitting_steps: of the head start.
      unknown_budgets: share of the tasks whose budget is not told.
      embedding_dim: see `Architecture`, as the four that follow.
      history_length: see there.
      activation: see there.
      use_extended_features: see there.
      hidden: see there.
      seed: of everything.
      checkpoint_every: meta-steps between checkpoints.
    """

    agent: str = "opt2vec"
    tasks: Sequence[str] = ()
    optimizer: str = "adamw"
    meta_steps: int = 20
    tasks_per_step: int = 3
    runs_per_task: int = 8
    inner_steps: Sequence[int] = (4, 8)
    learning_rate: float = 1e-4
    radius: float = 0.01
    head_start: bool = True
    imitated_inner_steps: Sequence[int] = (4, 8, 16)
    fitting_steps: int = 2000
    unknown_budgets: float = 0.25
    embedding_dim: int = 64
    history_length: int = 16
    activation: str = "gelu"
    use_extended_features: bool = True
    hidden: int = 32
    seed: int = 0
    checkpoint_every: int = 5

    @property
    def base(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """The base optimizer that it is trained and judged on, and its hyperparameters besides the rate."""
        return self.optimizer, ()

    @property
    def architecture(self) -> Architecture:
        """The shape of the policy."""
        return Architecture(**{name: getattr(self, name) for name in Architecture.__dataclass_fields__})


def train(settings: Opt2VecSettings, folder: Path, *, resume: bool = False, progress: bool = True) -> Path:
    """Train a policy, or go on training one; an interrupted and resumed training gives the same file, bit for bit.

    Args:
      settings: what to train and on what.
      folder: where the head start, the checkpoint and the controller go.
      resume: whether to go on from the folder's checkpoint.
      progress: whether to show a progress bar.

    Returns:
      The path of the controller file.

    Raises:
      FileNotFoundError: if there is nothing to resume.
      ValueError: if a setting is unknown or out of range.
    """
    torch.set_num_threads(1)
    if resume and not (folder / HEAD_START).is_file():
        raise FileNotFoundError(f"{folder}: expected a run folder with {HEAD_START}; there is nothing to resume")
    write_fields(folder, settings)
    started = time.process_time()
    trainer = EfficientMetaLearningTrainer(
        policy=_begun(settings, folder, resume), task_names=settings.tasks or None, optimizer=settings.optimizer,
        runs_per_task=settings.runs_per_task, unknown_budgets=settings.unknown_budgets,
        learning_rate=settings.learning_rate, radius=settings.radius, seed=settings.seed,
    )  # fmt: skip
    if resume and (folder / CHECKPOINT).is_file():
        trainer.load_state_dict(_read(folder / CHECKPOINT))
    _meta_train(trainer, settings, folder, progress)
    policy = trainer.policy.file
    notes = {**policy.notes, "settings": asdict(settings), "cpu_seconds": round(time.process_time() - started, 1)}
    path = folder / CONTROLLER
    replace(policy, notes=notes).write(path)
    return path


def read_settings(folder: Path) -> Opt2VecSettings:
    """Read the settings of a run folder.

    Raises:
      FileNotFoundError: if the folder holds no run.
    """
    return Opt2VecSettings(**read_fields(folder))


def from_options(options: argparse.Namespace) -> Opt2VecSettings:
    """Turn the options of a command line into settings; see `agents.cli.add_train`.

    Of them the tasks, the optimizer, the seed, and as the number of meta-steps `rollouts` are read.

    Raises:
      ValueError: if there is not one optimizer.
    """
    settings = Opt2VecSettings(tasks=tuple(options.task), seed=options.seed)
    if options.optimizer is not None:
        if len(options.optimizer) != 1:
            raise ValueError(f"optimizer: expected one; received {options.optimizer!r}")
        settings = replace(settings, optimizer=options.optimizer[0])
    return settings if options.rollouts is None else replace(settings, meta_steps=options.rollouts)


def _begun(settings: Opt2VecSettings, folder: Path, resume: bool) -> HistoryController:
    """Return the policy that the meta-training begins with."""
    path = folder / HEAD_START
    if not resume:
        (folder / CHECKPOINT).unlink(missing_ok=True)
        policy = make(seed=settings.seed, **asdict(settings.architecture))
        if settings.head_start:
            names = members(settings.tasks or None)
            policy = imitate(policy, names, seed=settings.seed, inner_steps=settings.imitated_inner_steps,
                             fitting_steps=settings.fitting_steps,
                             unknown_budgets=settings.unknown_budgets)  # fmt: skip
        policy.save(path)
    loaded = load_policy(path)
    assert isinstance(loaded, HistoryController)
    return loaded


def _meta_train(trainer: EfficientMetaLearningTrainer, settings: Opt2VecSettings, folder: Path, progress: bool) -> None:
    total = settings.meta_steps
    bar = tqdm(range(trainer.steps_taken, total), initial=trainer.steps_taken, total=total, desc="meta-train",
               unit="step", disable=not progress)  # fmt: skip
    for step in bar:
        left = 1.0 - 0.9 * step / total
        trainer.learning_rate, trainer.radius = left * settings.learning_rate, left * settings.radius
        loss = trainer.meta_step(settings.tasks_per_step, settings.inner_steps)
        bar.set_postfix(loss=f"{loss:.2f}")
        if trainer.steps_taken % settings.checkpoint_every == 0 or trainer.steps_taken == total:
            _write(folder / CHECKPOINT, trainer.state_dict())


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save

    replace_file(path, save(tensors))


def _read(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)
