"""The recipe of reinforcement learning: a teacher, imitation, then an algorithm of stable-baselines3; resumable."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from agents.rules.auto import FIRST_UPDATE_NORM
from agents.training.algorithms import ALGORITHMS, Algorithm, PolicyTwin, export_policy
from agents.training.checkpoint import NAME, load_checkpoint, random_state, save_checkpoint, set_random_state
from agents.training.curriculum import BASES, BUDGETS, FAMILIES, OPTIONS, Curriculum, members
from agents.training.group_env import GroupVecEnv
from agents.training.hindsight.teacher import teach
from agents.training.hindsight.trials import LEAST, TRIALS
from agents.training.imitation import ScheduleTeacher, Teacher, imitate
from agents.training.rollout_workers import ROWS
from agents.training.run_folder import CONTROLLER, begin, settings_of
from optenv.control.controller import Interface
from optenv.control.features import FEATURE_NAMES, FEATURES, with_features
from optenv.control.knobs import KNOBS, check_movable
from optenv.env.settings import make_settings
from optenv.errors import needed_for
from optenv.inner.optimizers import OPTIMIZERS

with needed_for("training with stable-baselines3"):
    from stable_baselines3.common.callbacks import BaseCallback, CallbackList
    from stable_baselines3.common.vec_env import VecNormalize

VALIDATION = tuple(name for name, row in FEATURES.items() if row.of_validation)
FEATURES_SEEN = with_features(FEATURE_NAMES, VALIDATION)
LOGS = "log_*"  # of TensorBoard, by stable-baselines3
FROM_SCRATCH = 20  # rollouts
EPISODES = 4  # that are imitated, in every environment
IMITATION_RATE, IMITATION_BATCH, IMITATION_PASSES = 2e-3, 2048, 100


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of a training.

    Attributes:
      agent: a name from `agents.training.algorithms`.
      tasks: names of tasks or families to train on; empty for the train split, of which PPO itself sees the six
        families with many examples (docs/research.md), hindsight all but the last two members.
      optimizers: base optimizers to train with; one named twice is drawn twice as often.
      budgets: inner steps of the runs, multiples of `decisions`.
      knobs: what actions turn.
      control: "absolute" or "relative".
      first_update_norm: see `EnvSettings`; None starts from the base rate.
      features: what is observed; half of the runs are not told their validation losses.
      lr: base learning rate, or range.
      reward: a registered reward.
      decisions: control steps of a run.
      head_start: whether the policy first imitates `auto`'s schedule, where that is defined: PPO's, relative control,
        `scale` the first knob, a first update's norm given.
      hindsight: tasks in each of several rounds on which a schedule is first tried at several peaks, for a teacher that
        knows which was best; 0 imitates one peak for all.
      rollouts: of `decisions` control steps in every environment, from which the algorithm learns; None for
        `FROM_SCRATCH`, or after a head start for none, since it gains nothing from there (docs/research.md).
      environments: vector environments at a time.
      workers: processes that run them.
      seed: of everything.
      checkpoint_every: rollouts between checkpoints.
    """

    agent: str = "ppo"
    tasks: Sequence[str] = ()
    optimizers: Sequence[str] = ("adamw",)
    budgets: Sequence[int] = BUDGETS
    knobs: Sequence[str] = ("scale", "second_moment")
    control: str = "relative"
    first_update_norm: float | None = FIRST_UPDATE_NORM
    features: Sequence[str] = FEATURES_SEEN
    lr: float | Sequence[float] = 1e-3
    reward: str = "tempered_decrease"
    decisions: int = 40
    head_start: bool = True
    hindsight: int = 0
    rollouts: int | None = None
    environments: int = 8
    workers: int = 2
    seed: int = 0
    checkpoint_every: int = 5

    @property
    def interface(self) -> Interface:
        """What the controller observes and turns."""
        return Interface(
            tuple(self.features),
            tuple(self.knobs),
            self.control,
            first_update_norm=self.first_update_norm,
            decisions=self.decisions,
        )

    @property
    def base(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """The base optimizer that it is judged on, the first of those it is trained on, and its hyperparameters."""
        return self.optimizers[0], ()

    @property
    def imitates(self) -> bool:
        """Whether a head start was asked for and is defined."""
        can = ALGORITHMS[self.agent].mean is not None
        defined = self.control == "relative" and self.knobs[0] == "scale" and self.first_update_norm is not None
        return self.head_start and can and defined

    @property
    def curriculum(self) -> Curriculum:
        """What it is trained on."""
        lr = self.lr if isinstance(self.lr, (int, float)) else tuple(self.lr)
        common = {
            "knobs": tuple(self.knobs),
            "control": self.control,
            "first_update_norm": self.first_update_norm,
            "features": tuple(self.features),
            "reward": self.reward,
            "lr": lr,
        }
        names = tuple(self.tasks) or FAMILIES
        return Curriculum(
            tasks=names,
            optimizers=tuple(self.optimizers),
            budgets=tuple(self.budgets),
            decisions=self.decisions,
            settings=common,
        )

    @property
    def trials(self) -> Curriculum:
        """What hindsight tries peaks on: all families, several base optimizers."""
        names = tuple(self.tasks) or members()
        return replace(self.curriculum, tasks=names, optimizers=BASES, options=OPTIONS)

    @property
    def total_timesteps(self) -> int:
        """Decisions of all rows and rollouts together, as stable-baselines3 counts."""
        usual = 0 if self.imitates else FROM_SCRATCH
        return (usual if self.rollouts is None else self.rollouts) * self.decisions * self.environments * ROWS


def train(settings: TrainSettings, folder: Path, *, resume: bool = False, progress: bool = True) -> Path:
    """Train a controller, or go on training one.

    Args:
      settings: what to train and on what.
      folder: where checkpoints, TensorBoard logs and the controller go.
      resume: whether to go on from the folder's checkpoint.
      progress: whether to show a progress bar.

    Returns:
      The path of the controller file.

    Raises:
      ValueError: if a setting is unknown or out of range.
      FileNotFoundError: if there is nothing to resume.
    """
    algorithm = ALGORITHMS[settings.agent]
    _check(settings)
    torch.set_num_threads(1)
    groups = GroupVecEnv(
        settings.curriculum, environments=settings.environments, workers=settings.workers, seed=settings.seed
    )
    env = VecNormalize(groups, norm_reward=False)
    try:
        if begin(folder, settings, resume=resume, progress=(NAME, *TRIALS, LOGS)):
            return folder / CONTROLLER
        started = time.monotonic()
        if (folder / NAME).is_file():
            model = load_checkpoint(folder, env, algorithm)
        else:
            model = _new_model(algorithm, env, settings, folder, progress)
        callbacks: list[BaseCallback] = [_Checkpoints(folder, env, algorithm, settings)]
        if progress:
            callbacks.append(_Progress(settings.total_timesteps))
        left = settings.total_timesteps - model.num_timesteps
        if left > 0:
            model.learn(
                left, callback=CallbackList(callbacks), reset_num_timesteps=False, tb_log_name="log", log_interval=5
            )
        save_checkpoint(folder, model, env, algorithm)
        return _export(algorithm, model, settings, folder, time.monotonic() - started)
    finally:
        env.close()


def _check(settings: TrainSettings) -> None:
    """Check at once whatever may be drawn later; for what it raises see `train`."""
    drawn = settings.curriculum.draw(np.random.default_rng(0))
    for name in settings.optimizers:
        make_settings(drawn | {"optimizer": name})
        check_movable(settings.knobs, name, OPTIMIZERS[name].hyperparameters)


def read_settings(folder: Path) -> TrainSettings:
    """Read the settings of a run folder.

    Raises:
      FileNotFoundError: if the folder holds no run.
    """
    return settings_of(folder, TrainSettings)


def from_options(options: argparse.Namespace) -> TrainSettings:
    """Turn the options of a command line into settings; see `agents.cli.add_train`."""
    lr = options.lr[0] if len(options.lr) == 1 else options.lr
    settings = TrainSettings(
        agent=options.agent,
        tasks=options.task,
        knobs=options.knobs or _usual_knobs(options.optimizer or ["adamw"]),
        lr=lr,
        control=options.control,
        first_update_norm=options.first_update_norm or None,
        reward=options.reward,
        head_start=not options.from_scratch,
        workers=options.workers,
        seed=options.seed,
    )
    own = {"optimizers": options.optimizer, "rollouts": options.rollouts, "hindsight": options.hindsight}
    return replace(settings, **{name: value for name, value in own.items() if value is not None})


def _usual_knobs(optimizers: Sequence[str]) -> tuple[str, ...]:
    """Return those of the default knobs that all base optimizers have something for."""
    return tuple(
        name
        for name in TrainSettings().knobs
        if all(set(KNOBS[name].moves) & set(OPTIMIZERS[base].hyperparameters) for base in optimizers)
    )


def _new_model(algorithm: Algorithm, env: VecNormalize, settings: TrainSettings, folder: Path, progress: bool) -> Any:
    try:
        import tensorboard  # noqa: F401

        log: str | None = str(folder)
    except ImportError:
        log = None
    keywords = deepcopy(algorithm.settings)  # stable-baselines3 writes into policy_kwargs
    if not algorithm.off_policy:
        keywords["n_steps"] = settings.decisions
    common: dict[str, Any] = {"seed": settings.seed, "device": "cpu", "tensorboard_log": log}
    model = algorithm.load_class()(algorithm.policy, env, **common, **keywords)
    if settings.imitates:
        _imitate(algorithm, model, env, settings, folder, progress)
    return model


def _imitate(
    algorithm: Algorithm, model: Any, env: VecNormalize, settings: TrainSettings, folder: Path, progress: bool
) -> None:
    peak, generator = None, np.random.default_rng(settings.seed)
    if settings.hindsight:
        state = random_state()
        network = teach(
            settings.trials,
            settings.interface,
            folder,
            number=settings.hindsight,
            workers=settings.workers,
            seed=settings.seed,
            progress=progress,
        )
        set_random_state(state)  # trials may draw, and a resumed training finds some of them done
        peak = partial(network.choose, least=LEAST)
    teacher = ScheduleTeacher(settings.interface, generator, peak, dtype=np.float32)  # as the model and its environment
    imitate(
        PolicyTwin(algorithm, model, env),
        teacher,
        [partial(_play, env, settings.decisions)] * EPISODES,
        generator,
        rate=IMITATION_RATE,
        batch=IMITATION_BATCH,
        steps=IMITATION_PASSES * EPISODES * env.num_envs * settings.decisions // IMITATION_BATCH + 1,
        progress=progress,
    )


def _play(env: VecNormalize, decisions: int, teacher: Teacher) -> None:
    """Let a teacher steer every row of the environment for an episode, each as a run with a single group."""
    env.reset()
    teacher.reset(env.num_envs, 1)
    for _ in range(decisions):
        action = teacher.act(np.asarray(env.get_original_obs())[:, None])
        env.step(action[:, 0].astype(np.float32))


def _export(algorithm: Algorithm, model: Any, settings: TrainSettings, folder: Path, seconds: float) -> Path:
    notes = {"settings": asdict(settings), "timesteps": int(model.num_timesteps), "seconds": round(seconds, 1)}
    path = folder / CONTROLLER
    export_policy(algorithm, model, settings.interface, notes).write(path)
    return path


class _Progress(BaseCallback):
    """Draws one bar over the whole training, resumed or not."""

    def __init__(self, total: int):
        super().__init__()
        self._total = total

    def _on_training_start(self) -> None:
        self._bar = tqdm(
            total=self._total, initial=self.model.num_timesteps, desc="train", unit="decision", unit_scale=True
        )

    def _on_step(self) -> bool:
        self._bar.update(self.model.num_timesteps - self._bar.n)
        return True

    def _on_training_end(self) -> None:
        self._bar.close()


class _Checkpoints(BaseCallback):
    """Saves before every few rollouts, when all environments are about to be drawn anew."""

    def __init__(self, folder: Path, env: VecNormalize, algorithm: Algorithm, settings: TrainSettings):
        super().__init__()
        self._folder, self._env, self._algorithm, self._settings = folder, env, algorithm, settings
        self._rollout_size = settings.decisions * settings.environments * ROWS

    def _on_rollout_start(self) -> None:
        rollouts, part = divmod(self.model.num_timesteps, self._rollout_size)
        if part == 0 and rollouts > 0 and rollouts % self._settings.checkpoint_every == 0:
            save_checkpoint(self._folder, self.model, self._env, self._algorithm)

    def _on_step(self) -> bool:
        return True
