"""A controller of your own: check it, let it steer simulated runs, and deploy it."""

import numpy as np
import torch

import agents
import optenv
from optenv import tasks
from optenv.benchmark.run import run_controller
from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURE_NAMES
from optenv.inner.trainer import make_trainer


class HalveWhileNoisy(Controller):
    """Halve the rate of a group in every control step whose gradients disagree with those before it."""

    interface = Interface(knobs=("scale",), control="relative")

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Nothing to forget."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return the log of the factor on each group's rate, [N, G, 1]."""
        agreement = observation[:, :, FEATURE_NAMES.index("gradient_persistence")]
        return np.where(agreement < 0.0, np.log(0.5), 0.0)[:, :, None]


def main(total_steps: int = 200) -> float:
    """Check it, run it on a task, deploy it; return its final loss on the task, a geometric mean over seeds."""
    agents.check_controller(HalveWhileNoisy)
    trainer = make_trainer(tasks.get("wine"), "adamw")
    simulated = run_controller(trainer, HalveWhileNoisy(), np.arange(4), np.full(4, 0.03), total_steps)

    weights = torch.nn.Parameter(torch.ones(3))
    optimizer = optenv.ControlledOptimizer(torch.optim.AdamW([weights]), HalveWhileNoisy(), total_steps=total_steps)
    for _ in range(total_steps):
        loss = weights.square().sum()
        loss.backward()
        optimizer.step(loss=loss)
        optimizer.zero_grad()
    return float(np.exp(np.log(simulated.loss).mean()))


if __name__ == "__main__":
    print(f"final loss: {main():.4f}")
