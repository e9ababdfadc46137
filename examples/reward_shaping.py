"""What a controller is paid for decides what it learns: the same training under every reward and discount.

    python examples/reward_shaping.py          # a glance: everything runs
    python examples/reward_shaping.py --real   # trained long enough to tell them apart, some minutes

Every controller sets the learning rate of SGD on the noisy quadratic of Wu et al. (2018), in 20 decisions, and all are
judged by one number: the final loss over that of the best constant rate. Low discounts show the short-horizon bias
described there: noise in the steep directions costs at once, progress in the flat ones pays late, so a controller that
looks a step ahead lowers the rate at once, which is best for the next loss and bad for the last.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

import optenv  # noqa: F401 - registers OptControl-v0
from agents.algorithms import export_policy, get_algorithm
from agents.gym_adapter import GymnasiumVecEnv
from optenv import rewards, tasks
from optenv.benchmark.compare import tuning_losses
from optenv.benchmark.losses import log_loss
from optenv.benchmark.run import constant, make_trainer, run_controller, run_schedule
from optenv.control.controller import Controller, Interface
from optenv.control.knobs import KNOBS
from optenv.control.policy import MlpController
from optenv.rewards import LossTrace, Reward

RATE, STEPS, DECISIONS = 0.3, 200, 20
INTERFACE = Interface(knobs=("scale",), control="absolute", decisions=DECISIONS)
DISCOUNTS = (1.0, 0.9, 0.0)
SEEDS = np.arange(64)  # of the evaluation; no training uses them


# A reward of one's own, in ten lines: a function of the losses around a control step, and a row that names it.
def early_decrease(trace: LossTrace) -> np.ndarray:
    """Return the decrease of the log loss, worth twice as much at the start as at the end."""
    return (2.0 - trace.progress) * rewards.log_loss_decrease(trace)


EARLY = Reward("early_decrease", "decrease of the log loss, sooner is better", early_decrease)
ALL = (*rewards.REWARDS, EARLY)


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


def train(reward: str | Reward, discount: float, timesteps: int) -> Controller:
    """Train a controller with stable-baselines3's PPO; between calls only reward and discount differ."""
    env = gymnasium.make_vec(
        "OptControl-v0", num_envs=64, task=noisy_quadratic(), optimizer="sgd", lr=RATE, num_inner_steps=STEPS,
        steps_per_action=STEPS // DECISIONS, knobs=INTERFACE.knobs, control=INTERFACE.control, reward=reward,
    )  # fmt: skip
    env = VecNormalize(GymnasiumVecEnv(env), gamma=discount)  # rewards differ in scale
    model = PPO(
        "MlpPolicy", env, n_steps=DECISIONS, batch_size=320, gamma=discount, learning_rate=1e-3, seed=1000,
        policy_kwargs={"net_arch": [32, 32], "log_std_init": -1.0}, device="cpu",
    )  # fmt: skip
    model.learn(timesteps)
    return MlpController(export_policy(get_algorithm("ppo"), model, INTERFACE, {}))


class Watched(Controller):
    """A controller that remembers its mean scale at every decision."""

    def __init__(self, controller: Controller):
        """Watch `controller`."""
        self.interface, self._controller, self.scales = controller.interface, controller, []

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin new runs."""
        self._controller.reset(num_runs, num_groups)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Act as the controller does."""
        action = self._controller.act(observation)
        self.scales.append(np.exp(np.log(KNOBS["scale"].absolute(action)).mean()))
        return action


def evaluate(controller: Controller) -> tuple[np.ndarray, np.ndarray]:
    """Return the log final loss of every evaluation seed, and the mean learning rate at every decision."""
    trainer, watched = make_trainer(noisy_quadratic(), "sgd"), Watched(controller)
    outcome = run_controller(trainer, watched, SEEDS, np.full(len(SEEDS), RATE), STEPS)
    return log_loss(outcome.loss, outcome.first), RATE * np.array(watched.scales)


def best_constant() -> tuple[np.ndarray, float]:
    """Return the log final losses under the best constant rate, which is found on other seeds, and that rate."""
    trainer, rates = make_trainer(noisy_quadratic(), "sgd"), RATE * np.geomspace(0.01, 10.0, 16)
    best = float(rates[np.argmin(tuning_losses(trainer, constant, rates, STEPS).mean(axis=1))])
    outcome = run_schedule(trainer, constant, SEEDS, np.full(len(SEEDS), best), STEPS)
    return log_loss(outcome.loss, outcome.first), best


def main(
    timesteps: int = 1280, names: Sequence[str | Reward] = ALL, discounts: Sequence[float] = DISCOUNTS,
    picture: str | None = None,
) -> float:  # fmt: skip
    """Train under every reward and discount, print the table, draw the picture, and return the best ratio.

    Args:
      timesteps: decisions of each training; 64 runs of 20 make 1280.
      names: rewards, by name or one's own.
      discounts: of the learner.
      picture: where to write the picture; None draws none.
    """
    reference, rate = best_constant()
    print(f"final loss over that of the best constant rate, {rate:.2g}: geometric mean of {len(SEEDS)} runs")
    print(f"{'reward':20}" + "".join(f"  discount {discount:<4}" for discount in discounts))
    found = {}
    for reward in names:
        name = reward.name if isinstance(reward, Reward) else reward
        for discount in discounts:
            logs, schedule = evaluate(train(reward, discount, timesteps))
            found[name, discount] = float(np.exp((logs - reference).mean())), schedule
        print(f"{name:20}" + "".join(f"  {found[name, discount][0]:<13.2f}" for discount in discounts), flush=True)
    if picture is not None:
        draw(found, rate, picture)
    return min(ratio for ratio, _ in found.values())


def draw(found: dict[tuple[str, float], tuple[float, np.ndarray]], rate: float, path: str) -> None:
    """Draw the learning rates that were learned, a panel for each reward and a line for each discount."""
    from matplotlib.figure import Figure

    names, discounts = (list(dict.fromkeys(key[place] for key in found)) for place in (0, 1))
    rows = -(-len(names) // 4)
    figure = Figure(figsize=(11, 2.6 * rows + 0.5), dpi=110, layout="constrained")
    panels = figure.subplots(rows, min(4, len(names)), sharex=True, sharey=True, squeeze=False).flat
    colors = ("#0072B2", "#E69F00", "#D55E00")
    steps = np.arange(DECISIONS) * (STEPS // DECISIONS)
    for panel, name in zip(panels, names, strict=False):
        for k, discount in enumerate(discounts):
            ratio, schedule = found[name, discount]
            panel.step(steps, schedule, where="post", color=colors[k % 3], label=f"{discount:g}: {ratio:.2f}")
        panel.axhline(rate, color="0.4", linestyle="--", linewidth=1)
        panel.set(yscale="log", xlabel="inner step")
        panel.set_yticks([0.01, 0.03, 0.1, 0.3, 1.0], ["0.01", "0.03", "0.1", "0.3", "1"])
        panel.minorticks_off()
        panel.set_title(name, fontsize=10)
        panel.legend(title="discount: final loss", fontsize=7, title_fontsize=7, loc="lower left")
        panel.spines[["top", "right"]].set_visible(False)
        panel.label_outer()
    for unused in panels:
        unused.set_axis_off()
    figure.supylabel("learning rate (dashed: best constant)", fontsize=9)
    figure.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", action="store_true", help="38,400 decisions each instead of 1,280")
    parser.add_argument("--picture", default="runs/reward_shaping.png", help="(default: %(default)s)")
    options = parser.parse_args()
    Path(options.picture).parent.mkdir(parents=True, exist_ok=True)
    main(38_400 if options.real else 1280, picture=options.picture)
