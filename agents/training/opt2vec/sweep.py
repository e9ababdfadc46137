"""Hyperparameter search with Optuna: each trial is meta-trained briefly and judged on development tasks.

`python -m agents.training.opt2vec.sweep --trials 20`; started again, it goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.policies.opt2vec.architecture import make
from agents.training.curriculum import LEFT_OUT, members
from agents.training.opt2vec.meta_trainer import EfficientMetaLearningTrainer
from agents.training.opt2vec.teacher import imitate_schedule
from optenv import tasks
from optenv.errors import needed_for

if TYPE_CHECKING:
    import optuna

SPACE: dict[str, tuple[Any, ...]] = {
    "embedding_dim": (8, 16, 32, 64),
    "history_length": (1, 4, 8, 16),
    "activation": ("gelu", "silu", "relu", "tanh"),
    "use_extended_features": (True, False),
}


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What a trial costs.

    Attributes:
      meta_steps: meta-steps of the training.
      tasks_per_step: tasks in each.
      fitting_steps: steps of the head start's fit; 0 for none.
      inner_steps: inner steps between two decisions.
      train: tasks or families to train on; None for the synthetic train split.
      judge: tasks it is judged on; None for the members that trainings leave out.
      seeds: runs of each of those.
    """

    meta_steps: int = 20
    tasks_per_step: int = 3
    fitting_steps: int = 1000
    inner_steps: int = 5
    train: Sequence[str] | None = None
    judge: Sequence[str] | None = None
    seeds: int = 4


def development() -> list[str]:
    """List the members of the synthetic families that trainings leave out."""
    left = range(tasks.Family.num_members - LEFT_OUT, tasks.Family.num_members)
    return [f"{name}:{index}" for name in tasks.synthetic.NAMES for index in left]


def sweep(
    storage: Path, trials: int, *, name: str = "opt2vec", effort: Effort | None = None, seed: int = 0
) -> optuna.Study:
    """Try configurations until a study has so many finished trials, or go on with one.

    Args:
      storage: SQLite file that keeps the study; made where there is none.
      trials: finished trials to reach, those of earlier calls among them.
      name: of the study.
      effort: what a trial costs.
      seed: of the search and every training.

    Returns:
      The study: `best_params`, and `best_value`, the mean log of the final loss on the development tasks.

    Raises:
      ImportError: if Optuna is not installed.
    """
    with needed_for("a search for settings"):
        import optuna
    chosen = effort or Effort()
    storage.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{storage}",
        study_name=name,
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        load_if_exists=True,
    )
    finished = len(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)))
    study.optimize(lambda trial: _judge(_configuration(trial), chosen, seed), n_trials=max(0, trials - finished))
    return study


def _configuration(trial: optuna.Trial) -> dict[str, Any]:
    return {key: trial.suggest_categorical(key, values) for key, values in SPACE.items()}


def _judge(configuration: dict[str, Any], effort: Effort, seed: int) -> float:
    """Train one configuration and return its mean log final loss on tasks it was not trained on."""
    policy = make(seed=seed, **configuration)
    if effort.fitting_steps:
        names = members(effort.train or ())
        policy = imitate_schedule(policy, names, seed=seed, runs=2, fitting_steps=effort.fitting_steps)
    trainer = EfficientMetaLearningTrainer(policy=policy, task_names=effort.train, seed=seed)
    trainer.meta_train(effort.meta_steps, effort.tasks_per_step, effort.inner_steps, progress=False)
    judged = development() if effort.judge is None else effort.judge
    return float(trainer.meta_loss(judged, range(effort.seeds), effort.inner_steps).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run or continue a sweep, and print the trials, the best first."""
    parser = argparse.ArgumentParser("python -m agents.training.opt2vec.sweep", description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="finished trials to reach (default: %(default)s)")
    parser.add_argument("--storage", type=Path, default=Path("runs/opt2vec-sweep.db"), help="default: %(default)s")
    parser.add_argument("--meta-steps", type=int, default=Effort.meta_steps, help="of a trial (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args(arguments)
    study = sweep(options.storage, options.trials, effort=Effort(meta_steps=options.meta_steps), seed=options.seed)
    for trial in sorted((t for t in study.trials if t.value is not None), key=lambda t: t.value or 0.0):
        print(f"{trial.value:8.3f}  " + ", ".join(f"{key} {value}" for key, value in trial.params.items()))


if __name__ == "__main__":
    main()
