"""What a controller is paid for decides what it learns: the same training under every reward, discount and potential.

    python examples/reward_shaping.py          # a glance: everything runs
    python examples/reward_shaping.py --real   # five seeds a cell, long enough to tell them apart; resumable, see --out

Every controller sets the learning rate of SGD in 20 decisions, and all are judged by one number: the final validation
loss over that of warm-up and cosine at the best of 15 rates. On the noisy quadratic of Wu et al. (2018) low discounts
show the short-horizon bias described there: noise in the steep directions costs at once, progress in the flat ones pays
late, so a controller that looks a step ahead lowers the rate at once, which is best for the next loss and bad for the
last. What was found is in docs/reward_shaping.md.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import gymnasium
import numpy as np
import torch
from scipy.stats import t as student
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

import optenv  # noqa: F401 - registers OptControl-v0
from agents.gym_adapter import GymnasiumVecEnv
from agents.policies.feed_forward.controller import MlpController
from agents.training.algorithms import ALGORITHMS, export_policy
from optenv import rewards, tasks
from optenv.benchmark.losses import log_loss
from optenv.benchmark.run import run_controller, run_schedule, warmup_cosine
from optenv.benchmark.tuning import tune
from optenv.control.controller import Controller, Interface
from optenv.inner.trainer import make_trainer
from optenv.rewards import REWARDS, LossTrace, Reward, get_reward, shaped

RATE, STEPS, DECISIONS, ROWS = 0.3, 200, 20, 64
INTERFACE = Interface(knobs=("scale",), control="relative", decisions=DECISIONS)
DISCOUNTS = (1.0, 0.9, 0.0)
SEEDS = np.arange(64)  # of the evaluation; no training uses them
FINE, COARSE = (0.98, 1.0, 1.02, 1.04, 1.06, 1.1, 1.2), (1, 2, 5, 10, 20, 50, 100)  # marks of the picture's axes


def fall(trace: LossTrace) -> tuple[np.ndarray, np.ndarray]:
    """Return by how many nats the loss had fallen since the start of the run, before the step and after it."""
    losses = (trace.previous, trace.current)
    before, after = (rewards.log_loss_decrease(replace(trace, previous=trace.first, current=loss)) for loss in losses)
    return before, after


def rise(trace: LossTrace) -> tuple[np.ndarray, np.ndarray]:
    """Return the opposite: a potential that pays for going the wrong way, until it is taken back at the end."""
    before, after = fall(trace)
    return -before, -after


POTENTIALS: dict[str, Callable | None] = {"none": None, "fall": fall, "rise": rise}


def noisy_quadratic(dimensions: int = 20) -> tasks.Task:
    """Return the mean of sum h (x - c)^2 / 2 over noisy minima c; curvatures h from 0.01 to 1."""
    generator = torch.Generator().manual_seed(0)
    curvature = torch.logspace(-2, 0, dimensions)
    minima = torch.randn(4096, dimensions, generator=generator)
    return tasks.from_functions(
        name="noisy_quadratic",
        init=lambda g: {"x.weight": torch.randn(dimensions, generator=g) / curvature.sqrt()},
        loss=lambda params, batch: 0.5 * (curvature * (params["x.weight"] - batch[0]).square()).sum(-1).mean(),
        train=(minima - minima.mean(0),),
        valid=(torch.zeros(1, dimensions),),  # so that the validation loss is the distance to the true minimum
        batch_size=4,
    )


# A task of the train split beside it: a perceptron on a small table, which it can overfit; one group, as the other.
TASKS: dict[str, Callable[[], tasks.Task]] = {
    "noisy_quadratic": noisy_quadratic,
    "table_classification:3": lambda: tasks.get("table_classification:3"),
}


@dataclass(frozen=True)
class Cell:
    """One training: what is trained, what is paid, and the seed."""

    task: str
    reward: str
    discount: float
    potential: str
    seed: int

    @property
    def paid(self) -> Reward:
        """What the learner is paid."""
        potential = POTENTIALS[self.potential]
        return get_reward(self.reward) if potential is None else shaped(self.reward, potential, self.discount)


def train(cell: Cell, timesteps: int) -> Controller:
    """Train a controller with stable-baselines3's PPO, from random weights."""
    env = gymnasium.make_vec(
        "OptControl-v0",
        num_envs=ROWS,
        task=TASKS[cell.task](),
        optimizer="sgd",
        lr=RATE,
        num_inner_steps=STEPS,
        steps_per_action=STEPS // DECISIONS,
        knobs=INTERFACE.knobs,
        control=INTERFACE.control,
        groups="model",
        reward=cell.paid,
    )
    env = VecNormalize(GymnasiumVecEnv(env), gamma=cell.discount)  # rewards differ in scale
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=DECISIONS,
        batch_size=320,
        gamma=cell.discount,
        learning_rate=1e-3,
        seed=1000 + cell.seed,
        policy_kwargs={"net_arch": [32, 32], "log_std_init": -1.0},
        device="cpu",
    )
    model.learn(timesteps)
    return MlpController(export_policy(ALGORITHMS["ppo"], model, INTERFACE, {}))


class Watched(Controller):
    """A controller that remembers by how many nats it moved the scale at every decision, mean of the runs."""

    def __init__(self, controller: Controller):
        """Watch `controller`."""
        self.interface, self._controller, self.moves = controller.interface, controller, []

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin new runs."""
        self._controller.reset(num_runs, num_groups)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Act as the controller does."""
        action = self._controller.act(observation)
        self.moves.append(action.mean())  # under relative control an action of the knob `scale` is in nats
        return action


@cache
def reference(task: str) -> np.ndarray:
    """Return the log final losses of warm-up and cosine at the best of 15 rates, found on other seeds."""
    trainer = make_trainer(TASKS[task](), "sgd", "model")
    rates = np.full(len(SEEDS), tune(trainer, warmup_cosine, STEPS)["final"])
    outcome = run_schedule(trainer, warmup_cosine, SEEDS, rates, STEPS)
    return log_loss(outcome.loss, outcome.first)


def evaluate(task: str, controller: Controller) -> tuple[float, list[float]]:
    """Return the log of the final loss over the reference's, mean of the seeds, and the mean rate at every decision."""
    trainer, watched = make_trainer(TASKS[task](), "sgd", "model"), Watched(controller)
    outcome = run_controller(trainer, watched, SEEDS, np.full(len(SEEDS), RATE), STEPS, guard=False)
    logs = log_loss(outcome.loss, outcome.first) - reference(task)
    return float(logs.mean()), (RATE * np.exp(np.cumsum(watched.moves))).tolist()


Found = dict[Cell, tuple[float, list[float]]]


def study(cells: Iterable[Cell], timesteps: int, store: Path | None) -> Found:
    """Train every cell that `store`, a file of a JSON object a line, does not hold yet, and return them all."""
    found: Found = {}
    lines = store.read_text().splitlines() if store is not None and store.is_file() else []
    for line in map(json.loads, lines):
        if line["timesteps"] == timesteps:
            found[Cell(**line["cell"])] = line["log_ratio"], line["rates"]
    for cell in cells:
        if cell not in found:
            found[cell] = log_ratio, rates = evaluate(cell.task, train(cell, timesteps))
            if store is not None:
                row = {"timesteps": timesteps, "cell": asdict(cell), "log_ratio": log_ratio, "rates": rates}
                with store.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    return found


def summary(log_ratios: Sequence[float]) -> tuple[float, float, float]:
    """Return the geometric mean over seeds and the ends of its 95 % interval by Student's t; infinite for one seed."""
    mean, count = np.mean(log_ratios), len(log_ratios)
    half = np.inf if count == 1 else student.ppf(0.975, count - 1) * np.std(log_ratios, ddof=1) / np.sqrt(count)
    return float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half))


def planned(names: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Return the cells of the study: all discounts on the noisy quadratic; all potentials at 1; the table at 1."""
    plain = [("noisy_quadratic", discount, "none") for discount in DISCOUNTS]
    rows = [*plain, ("table_classification:3", 1.0, "none"), *(("noisy_quadratic", 1.0, p) for p in ("fall", "rise"))]
    return [Cell(task, name, d, potential, seed) for task, d, potential in rows for name in names for seed in seeds]


def main(
    timesteps: int = 1280, names: Sequence[str] = tuple(REWARDS), seeds: Sequence[int] = (0,), out: Path | None = None
) -> float:
    """Train under every reward, discount and potential, print the tables, and return the best ratio.

    Args:
      timesteps: decisions of each training; 64 runs of 20 make 1280.
      names: rewards.
      seeds: of the trainings.
      out: folder where what was found is kept, to go on from, and where the pictures go; None keeps and draws nothing.
    """
    torch.set_num_threads(1)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    found = study(planned(names, seeds), timesteps, None if out is None else out / "cells.jsonl")
    print("\n".join(tabulate(found)))
    if out is not None:
        draw_ratios(found, out / "reward_shaping.png")
        draw_rates(found, out / "reward_shaping_rates.png")
    return min(float(np.exp(log_ratio)) for log_ratio, _ in found.values())


def columns(found: Found) -> dict[str, dict[str, list[Cell]]]:
    """Return the cells, by column (task, discount, potential as text) and reward."""
    by_column: dict[str, dict[str, list[Cell]]] = {}
    for cell in found:  # in the order of the plan
        shaping = "" if cell.potential == "none" else f", shaped by {cell.potential}"
        column = by_column.setdefault(f"{cell.task}, discount {cell.discount:g}{shaping}", {})
        column.setdefault(cell.reward, []).append(cell)
    return by_column


def tabulate(found: Found) -> list[str]:
    """Return the lines of a table: geometric mean over seeds of the final loss over tuned cosine, 95 % interval."""
    by_column = columns(found)
    names = list(dict.fromkeys(cell.reward for cell in found))
    lines = ["| reward | " + " | ".join(by_column) + " |", "| --- |" + " --- |" * len(by_column)]
    for name in names:
        texts = []
        for column in by_column.values():
            mean, low, high = summary([found[cell][0] for cell in column[name]])
            texts.append(f"{mean:.3g} ({low:.3g} to {high:.3g})")
        lines.append(f"| `{name}` | " + " | ".join(texts) + " |")
    return lines


def draw_ratios(found: Found, path: Path) -> None:
    """Draw every cell's ratio with its interval, a panel for each column of the table."""
    from matplotlib.figure import Figure

    by_column = columns(found)
    names = list(dict.fromkeys(cell.reward for cell in found))[::-1]
    figure = Figure(figsize=(12, 7), dpi=110, layout="constrained")
    panels = figure.subplots(2, -(-len(by_column) // 2), sharey=True, squeeze=False).ravel()
    for panel, (title, column) in zip(panels, by_column.items(), strict=False):
        for place, name in enumerate(names):
            mean, low, high = summary([found[cell][0] for cell in column[name]])
            panel.plot([low, high], [place, place], color="#0072B2", linewidth=2)
            panel.plot(mean, place, "o", color="#0072B2")
        panel.axvline(1.0, color="0.4", linestyle="--", linewidth=1)
        panel.set(xscale="log", yticks=range(len(names)), yticklabels=names)
        low, high = panel.get_xlim()
        ticks = [tick for tick in (FINE if high < 1.5 else COARSE) if low <= tick <= high]
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
        panel.set_title(title.replace(", discount", "\ndiscount"), fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("final validation loss over tuned cosine, 95 % interval over seeds (dashed: equal)", fontsize=10)
    figure.savefig(path)


def draw_rates(found: Found, path: Path) -> None:
    """Draw the learning rates that were learned on the noisy quadratic, a panel a reward and a line a discount."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(cell.reward for cell in found))
    figure = Figure(figsize=(12, 5.5), dpi=110, layout="constrained")
    panels = figure.subplots(2, -(-len(names) // 2), sharex=True, sharey=True, squeeze=False).ravel()
    steps = np.arange(DECISIONS) * (STEPS // DECISIONS)
    for panel, name in zip(panels, names, strict=False):
        for discount, color in zip(DISCOUNTS, ("#0072B2", "#E69F00", "#D55E00"), strict=True):
            like = Cell("noisy_quadratic", name, discount, "none", 0)
            rates = np.array([r for cell, (_, r) in found.items() if replace(cell, seed=0) == like])
            panel.step(steps, np.exp(np.log(rates).mean(axis=0)), where="post", color=color, label=f"{discount:g}")
        panel.set(yscale="log", xlabel="inner step", title=name)
        panel.spines[["top", "right"]].set_visible(False)
        panel.label_outer()
    panels[0].legend(title="discount", loc="lower left")
    for unused in panels[len(names) :]:
        unused.set_axis_off()
    figure.supylabel("learning rate, geometric mean of the seeds")
    figure.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", action="store_true", help="five seeds of 12,800 decisions instead of one of 1,280")
    parser.add_argument("--out", type=Path, default=Path("runs/reward_shaping"), help="(default: %(default)s)")
    options = parser.parse_args()
    main(12_800 if options.real else 1280, seeds=range(5) if options.real else (0,), out=options.out)
