"""Opt2Vec's recipe: imitation of a schedule, then the exact meta-gradient; resumes exactly."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from tqdm import tqdm

from agents.policies.loading import load_policy
from agents.policies.opt2vec.architecture import Architecture, make
from agents.policies.opt2vec.controller import WindowedMlpController
from agents.training.curriculum import members
from agents.training.opt2vec.meta_trainer import OPTIMIZERS, EfficientMetaLearningTrainer
from agents.training.opt2vec.teacher import imitate_schedule
from agents.training.run_folder import CONTROLLER, begin, replace_file, settings_of
from optenv.errors import unknown_name
from optenv.files import read_safetensors, reading

HEAD_START = "head_start.safetensors"
CHECKPOINT = "meta.safetensors"


@dataclass(frozen=True, kw_only=True)
class Opt2VecSettings(Architecture):
    """Settings of a training; the shape of the policy is among them.

    Attributes:
      agent: "opt2vec".
      tasks: tasks or families; empty for the synthetic train split, the last two members of each family left out.
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
      hidden_budget_share: share of the tasks whose budget is not observed.
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
    radius: float = 0.004
    head_start: bool = True
    imitated_inner_steps: Sequence[int] = (4, 8, 16)
    fitting_steps: int = 2000
    hidden_budget_share: float = 0.25
    seed: int = 0
    checkpoint_every: int = 5

    @property
    def base(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """The base optimizer that it is trained and judged on, and its hyperparameters besides the rate."""
        return self.optimizer, ()


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
    if begin(folder, settings, resume=resume, progress=(HEAD_START, CHECKPOINT)):
        return folder / CONTROLLER
    started = time.process_time()
    trainer = EfficientMetaLearningTrainer(
        policy=_imitator(settings, folder),
        task_names=settings.tasks or None,
        optimizer=settings.optimizer,
        runs_per_task=settings.runs_per_task,
        hidden_budget_share=settings.hidden_budget_share,
        learning_rate=settings.learning_rate,
        radius=settings.radius,
        seed=settings.seed,
    )
    if (folder / CHECKPOINT).exists():
        load_checkpoint(trainer, folder)
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
    return settings_of(folder, Opt2VecSettings)


def from_options(options: argparse.Namespace) -> Opt2VecSettings:
    """Turn the options of a command line into settings; see `agents.cli.add_train`.

    Of them the tasks, the optimizer, the seed, and as the number of meta-steps `rollouts` are read.

    Raises:
      ValueError: if there is not one optimizer, or the exact gradient is not known for it.
    """
    settings = Opt2VecSettings(tasks=tuple(options.task), seed=options.seed)
    if options.optimizer is not None:
        if len(options.optimizer) != 1:
            raise ValueError(f"optimizer: expected one; received {options.optimizer!r}")
        if options.optimizer[0] not in OPTIMIZERS:
            raise unknown_name("optimizer of opt2vec", options.optimizer[0], OPTIMIZERS)
        settings = replace(settings, optimizer=options.optimizer[0])
    return settings if options.rollouts is None else replace(settings, meta_steps=options.rollouts)


def _imitator(settings: Opt2VecSettings, folder: Path) -> WindowedMlpController:
    """Return the policy that the meta-training begins with; it is read back where that was interrupted."""
    path = folder / HEAD_START
    if not path.exists():
        shape = {own.name: getattr(settings, own.name) for own in fields(Architecture)}
        policy = make(seed=settings.seed, **shape)
        if settings.head_start:
            names = members(settings.tasks)
            policy = imitate_schedule(
                policy,
                names,
                seed=settings.seed,
                inner_steps=settings.imitated_inner_steps,
                fitting_steps=settings.fitting_steps,
                hidden_budget_share=settings.hidden_budget_share,
            )
        policy.save(path)
    loaded = load_policy(path)
    if not isinstance(loaded, WindowedMlpController):
        kind = WindowedMlpController.kind
        raise ValueError(f"{path}: expected a policy of kind {kind!r}; received {type(loaded).__name__}")
    return loaded


def _meta_train(trainer: EfficientMetaLearningTrainer, settings: Opt2VecSettings, folder: Path, progress: bool) -> None:
    total = settings.meta_steps
    bar = tqdm(
        range(trainer.steps_taken, total),
        initial=trainer.steps_taken,
        total=total,
        desc="meta-train",
        unit="step",
        disable=not progress,
    )
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


def load_checkpoint(trainer: EfficientMetaLearningTrainer, folder: Path) -> None:
    """Let a trainer go on from the checkpoint in a run folder.

    Raises:
      ValueError: if it is damaged, or that of a policy of another shape.
    """
    with reading(folder / CHECKPOINT, "the checkpoint of a meta-training"):
        _, tensors = read_safetensors(folder / CHECKPOINT)
        trainer.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
