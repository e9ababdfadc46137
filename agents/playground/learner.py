"""A controller learns while one watches: PPO on one task, a policy for any parameter group, judged after every rollout.

The page's version of `examples/ppo_from_scratch.py --view group`: unmodified stable-baselines3, from random weights.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.playground.run_settings import DECISIONS, LearnSettings, RunSettings
from agents.playground.steering import Progress, follow
from agents.rules.auto import FIRST_UPDATE_NORM
from optenv.control.controller import Controller, Interface
from optenv.control.policy_file import PolicyFile
from optenv.errors import needed_for

ENVIRONMENTS, RATE = 2, 1e-3
JUDGES = 8
"""Runs that judge a policy; training draws others."""
FIRST_JUDGE = 1_000_000_007
REFERENCES = ("neutral", "cosine")
Array = np.ndarray


@dataclass(frozen=True)
class Reference:
    """What the learned controller is compared with, on the same judging runs; for the fields see `Lesson`."""

    controller: str
    reward: float
    loss: float


@dataclass(frozen=True)
class Lesson:
    """What a rollout has taught.

    Attributes:
      rollout: rollouts so far; 0 is the untrained policy.
      rollouts: how many there will be.
      reward: mean return of the judging runs, without exploration: the logarithm of the first validation loss over the
        last, in nats.
      loss: final validation loss of the judging runs, geometric mean; infinite if one diverged.
      run: the first judging run, every control step.
      policy: the controller, to be written to a file.
    """

    rollout: int
    rollouts: int
    reward: float
    loss: float
    run: tuple[Progress, ...]
    policy: PolicyFile


def learn(settings: LearnSettings) -> Iterator[Reference | Lesson]:
    """Train a controller with PPO.

    Yields:
      The references, the untrained policy, and a lesson after each rollout.

    Raises:
      ImportError: if stable-baselines3 is not installed.
    """
    for name in REFERENCES:
        yield Reference(name, *_outcome(_judge(settings, name, None)))
    with needed_for("training a controller"):
        from stable_baselines3 import PPO
        from stable_baselines3.common.vec_env import VecNormalize

        from agents.training.group_env import GroupVecEnv
    env = VecNormalize(
        GroupVecEnv(_curriculum(settings), environments=ENVIRONMENTS, seed=settings.seed), norm_reward=False, gamma=1.0
    )
    done = 0
    model = PPO(
        "MlpPolicy", env, seed=settings.seed, device="cpu", n_steps=DECISIONS, batch_size=240, n_epochs=10, gamma=1.0,
        learning_rate=lambda _: RATE * (1 - done / settings.rollouts),
        policy_kwargs={"net_arch": [64, 64], "log_std_init": -0.5},
    )  # fmt: skip
    try:
        env.reset()
        yield _lesson(settings, model, 0)
        for done in range(settings.rollouts):  # the learning rate's schedule reads it
            model.learn(DECISIONS * env.num_envs, reset_num_timesteps=False)
            yield _lesson(settings, model, done + 1)
    finally:
        env.close()


def _interface(settings: LearnSettings) -> Interface:
    return Interface(knobs=settings.knobs, control="relative", first_update_norm=FIRST_UPDATE_NORM, decisions=DECISIONS)


def _curriculum(settings: LearnSettings) -> Any:
    from agents.training.curriculum import Curriculum

    own = {"knobs": settings.knobs, "control": "relative", "first_update_norm": FIRST_UPDATE_NORM, "lr": settings.lr}
    return Curriculum(
        tasks=(settings.task,), optimizers=(settings.optimizer,), budgets=(settings.steps,), groupings=("layer",),
        decisions=DECISIONS, settings=own | {"reward": "log_loss_decrease"},
    )  # fmt: skip


def _lesson(settings: LearnSettings, model: Any, done: int) -> Lesson:
    from agents.policies.feed_forward.controller import MlpController
    from agents.training.algorithms import ALGORITHMS, export_policy

    notes = {"settings": asdict(settings), "rollouts": done}
    file = export_policy(ALGORITHMS["ppo"], model, _interface(settings), notes)
    events = _judge(settings, "ppo", MlpController(file))
    return Lesson(done, settings.rollouts, *_outcome(events), tuple(events), file)


def _judge(settings: LearnSettings, name: str, controller: Controller | None) -> list[Progress]:
    """Run a controller on the judging runs, under its guard as it ships."""
    runs = RunSettings(
        task=settings.task, optimizer=settings.optimizer, controllers=(name,), steps=settings.steps, groups="layer"
    )
    seeds = np.arange(JUDGES, dtype=np.uint64) + np.uint64(FIRST_JUDGE)
    rates = np.full(JUDGES, settings.lr)
    return [event for event, _ in follow(runs, name, seeds, rates, controller=controller)]


def _outcome(events: list[Progress]) -> tuple[float, float]:
    """Return the mean return and the final loss of judging runs; a loss of 0 or below has no return."""
    first, loss = events[0].loss, events[-1].loss
    if not ((first > 0) & (loss > 0)).all():
        return float("nan"), float(loss.mean())
    return float((np.log(first) - np.log(loss)).mean()), float(np.exp(np.log(loss).mean()))


def file_of(policy: PolicyFile) -> bytes:
    """Return a controller as the content of the file that `agents.load` reads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "controller.safetensors"
        policy.write(path)
        return path.read_bytes()
