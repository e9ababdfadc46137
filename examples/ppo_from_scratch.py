"""PPO learns to set a learning rate from random weights: unmodified stable-baselines3, one task, a learning curve.

    python examples/ppo_from_scratch.py                         # a glance: everything runs
    python examples/ppo_from_scratch.py --real                  # five seeds and the picture, some minutes
    python examples/ppo_from_scratch.py --real --view group     # the same, one policy shared by all parameter groups

Every run trains the task for 200 steps of AdamW; the policy moves the learning rate of every layer 20 times. It is
judged by the final loss on the whole validation set over that of AdamW with warm-up and cosine at the best of 15 rates,
geometric mean of 128 runs with the same weights and minibatches, which no training uses. The last policy is judged, not
the best on the way.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

import agents
import optenv  # noqa: F401 - registers OptControl-v0
from agents.gym_adapter import GymnasiumVecEnv
from agents.policies.feed_forward.controller import MlpController
from agents.rules.auto import FIRST_UPDATE_NORM
from agents.training.algorithms import ALGORITHMS, export_policy
from agents.training.curriculum import Curriculum
from agents.training.group_env import GroupVecEnv
from optenv.benchmark.losses import log_loss
from optenv.benchmark.run import Schedule, constant, warmup_cosine
from optenv.benchmark.suites import Case, check_case
from optenv.benchmark.tuning import Runnable, run_method, tune
from optenv.control.controller import Controller, Interface
from optenv.control.features import flatten
from optenv.inner.trainer import make_trainer

STEPS, DECISIONS, USUAL_RATE = 200, 20, 1e-3
INTERFACE = Interface(knobs=("scale",), control="relative", first_update_norm=FIRST_UPDATE_NORM, decisions=DECISIONS)
SETTINGS: dict[str, Any] = {
    "knobs": INTERFACE.knobs,
    "control": INTERFACE.control,
    "first_update_norm": INTERFACE.first_update_norm,
    "reward": "log_loss_decrease",
    "lr": USUAL_RATE,
}
LEARNER: dict[str, Any] = {
    "n_steps": DECISIONS,
    "batch_size": 320,
    "n_epochs": 10,
    "gamma": 1.0,
    "learning_rate": lambda left: 1e-3 * left,
    "policy_kwargs": {"net_arch": [64, 64], "log_std_init": -0.5},
    "device": "cpu",
}
TICKS = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
Curve = list[tuple[float, float]]


def warmup_linear(progress: np.ndarray, warmup: float = 0.05) -> np.ndarray:
    """Rise linearly over the first `warmup` of the budget, then fall linearly to 0."""
    return np.minimum((progress + 1e-3) / (warmup + 1e-3), (1.0 - progress) / (1.0 - warmup))


SCHEDULES: dict[str, Schedule] = {"constant": constant, "linear": warmup_linear, "cosine": warmup_cosine}


class FlatPolicy(Controller):
    """A policy that sees all groups of a run at once, as `gymnasium.make` shows them."""

    interface = INTERFACE

    def __init__(self, model: PPO):
        """Take a model and the observation statistics it has learned under."""
        self._model = model

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Nothing to forget: the policy has no memory."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return the mean actions, [N, G, 1]."""
        normalised = self._model.get_vec_normalize_env().normalize_obs(flatten(observation))
        return self._model.predict(normalised, deterministic=True)[0].reshape(*observation.shape[:2], 1)


def whole_runs(task: str, seed: int) -> VecEnv:
    """Return 64 runs as `gymnasium.make_vec` gives them."""
    steps = {"num_inner_steps": STEPS, "steps_per_action": STEPS // DECISIONS}
    return GymnasiumVecEnv(gymnasium.make_vec("OptControl-v0", num_envs=64, task=task, **steps, **SETTINGS))


def single_groups(task: str, seed: int) -> VecEnv:
    """Return 240 parameter groups, a row each: those of several runs."""
    layers = Curriculum(tasks=(task,), budgets=(STEPS,), groupings=("layer",), decisions=DECISIONS, settings=SETTINGS)
    return GroupVecEnv(layers, environments=4, seed=seed)


def exported(model: PPO) -> Controller:
    """Return the policy as the portable controller that `agents.load` reads."""
    return MlpController(export_policy(ALGORITHMS["ppo"], model, INTERFACE, {}))


# Rows an algorithm trains on, and how its policy becomes a controller.
VIEWS = {"run": (whole_runs, FlatPolicy), "group": (single_groups, exported)}


class Judge:
    """Runs a task under AdamW on the evaluation seeds; the losses are logarithms, [runs]."""

    def __init__(self, task: str, runs: int):
        """Tune the reference, on seeds of its own."""
        self._seeds = np.arange(runs)
        self._task = check_case(Case(task, STEPS))
        self._trainer = make_trainer(self._task, "adamw")
        self._reference = self.losses(warmup_cosine, self.tuned(warmup_cosine))

    def tuned(self, schedule: Schedule) -> float:
        """Return the best of 15 rates, by the final loss on the whole validation set."""
        return tune(self._trainer, schedule, STEPS)["final"]

    def losses(self, method: Runnable, rate: float) -> np.ndarray:
        """Return the final losses on the whole validation set."""
        outcome = run_method(self._trainer, method, self._seeds, np.full(len(self._seeds), rate), STEPS)
        return log_loss(outcome.loss, outcome.first, self._task.lower_bound)

    def ratio(self, method: Runnable, rate: float = USUAL_RATE) -> float:
        """Return the final loss over that of tuned cosine, geometric mean."""
        return float(np.exp((self.losses(method, rate) - self._reference).mean()))

    def others(self) -> dict[str, float]:
        """Return the ratios of what PPO is compared with, by name."""
        found = {f"{name}, rate {USUAL_RATE:g}": self.ratio(method) for name, method in SCHEDULES.items()}
        found |= {f"{name}, tuned rate": self.ratio(m, self.tuned(m)) for name, m in SCHEDULES.items()}
        return found | {"shipped ppo": self.ratio(agents.load("ppo"))}


class Watch(BaseCallback):
    """Judges the policy every few rollouts, off the clock."""

    def __init__(self, judge: Callable[[], float], every: int):
        """Judge before each rollout whose number `every` divides."""
        super().__init__()
        self._judge, self._every, self._rollout, self._off = judge, every, 0, 0.0
        self.curve: Curve = []

    def _on_training_start(self) -> None:
        self._begun = time.process_time()

    def _on_rollout_start(self) -> None:
        if self._rollout % self._every == 0:
            self.note()
        self._rollout += 1

    def _on_step(self) -> bool:
        return True

    def note(self) -> None:
        """Judge now; put processor seconds of training so far and the ratio down."""
        now = time.process_time()
        self.curve.append((now - self._begun - self._off, self._judge()))
        self._off += time.process_time() - now


def train(task: str, view: str, seed: int, rollouts: int, judge: Judge, every: int) -> Curve:
    """Train PPO from random weights and return its learning curve; the last point is the policy that came of it."""
    torch.set_num_threads(1)
    make_rows, as_controller = VIEWS[view]
    env = VecNormalize(make_rows(task, seed), norm_reward=False, gamma=1.0)
    model = PPO("MlpPolicy", env, seed=seed, **LEARNER)
    watch = Watch(lambda: judge.ratio(as_controller(model)), every)
    model.learn(rollouts * DECISIONS * env.num_envs, callback=watch)
    watch.note()
    env.close()
    return watch.curve


def main(
    task: str = "synthetic_classification:1",
    view: str = "run",
    seeds: Sequence[int] = (0,),
    rollouts: int = 2,
    every: int = 1,
    runs: int = 128,
    picture: str | None = None,
) -> float:
    """Train, print every curve and the table, draw the picture, and return the worst final ratio.

    Args:
      task: what is trained.
      view: "run", or "group".
      seeds: of the trainings.
      rollouts: of a training.
      every: rollouts between two evaluations.
      runs: of an evaluation; single ones differ by far more than controllers do.
      picture: where to write the picture; None draws none.
    """
    judge = Judge(task, runs)
    print(f"{task}: final validation loss over tuned cosine, geometric mean of {runs} runs")
    curves = []
    for seed in seeds:
        curves.append(train(task, view, seed, rollouts, judge, every))
        points = "  ".join(f"{seconds:.0f} s {ratio:.3f}" for seconds, ratio in curves[-1])
        print(f"PPO, seed {seed}: {points}", flush=True)
    others = judge.others() if picture else {}
    for name, ratio in others.items():
        print(f"{name:24} {ratio:.3f}")
    if picture:
        draw(task, curves, others, picture)
    return max(curve[-1][1] for curve in curves)


def draw(task: str, curves: Sequence[Curve], others: dict[str, float], path: str) -> None:
    """Draw the learning curves and what they are compared with."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.plot(*zip(*curve, strict=True), color="#0072B2", linewidth=1.5)
    for name, ratio in others.items():
        tuned = name == "cosine, tuned rate"
        axes.axhline(ratio, color="black" if tuned else "0.55", linestyle="-" if tuned else "--", linewidth=1)
    axes.set(yscale="log", xlabel="processor time of training, seconds", ylabel="validation loss over tuned cosine")
    low, high = np.log(axes.get_ylim())
    place, gap = -np.inf, 0.045 * (high - low)
    for name, ratio in sorted(others.items(), key=lambda item: item[1]):  # moved apart where they would overlap
        place = max(np.log(ratio), place + gap)
        text = f"{name}: {ratio:.3g}"
        axes.text(1.01, np.exp(place), text, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set_ylim(top=np.exp(max(high, place + gap)))
    ticks = [tick for tick in TICKS if low <= np.log(tick) <= max(high, place)]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_title(f"PPO from random weights on {task}, a line a seed")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", action="store_true", help="five seeds of 60 rollouts, and a picture")
    parser.add_argument("--task", default="digits_mlp", help="(default: %(default)s)")
    parser.add_argument("--view", choices=list(VIEWS), default="run", help="(default: %(default)s)")
    parser.add_argument("--picture", default="runs/ppo_from_scratch.png", help="(default: %(default)s)")
    options = parser.parse_args()
    Path(options.picture).parent.mkdir(parents=True, exist_ok=True)
    longer: dict[str, Any] = {"seeds": range(5), "rollouts": 60, "every": 10, "picture": options.picture}
    main(options.task, options.view, **(longer if options.real else {}))
