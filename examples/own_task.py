"""A task of your own: a module, a criterion and tensors; then steer its training in the environment."""

import torch
from torch import nn
from torch.nn import functional as F

from optenv import tasks
from optenv.env import OptControlVectorEnv


def make_task() -> tasks.Task:
    """Return the regression of y = sin(3 a) b on a and b."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(600, 2, generator=generator) * 4 - 2
    y = torch.sin(3 * x[:, :1]) * x[:, 1:]
    return tasks.from_module(
        name="saddle_of_sines",
        build=lambda: nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1)),
        loss=F.mse_loss,
        train=(x[:500], y[:500]),
        valid=(x[500:], y[500:]),
    )


def main(num_inner_steps: int = 200) -> float:
    """Train four runs at rate 0.01, cooling down in the second half; return their mean validation loss."""
    env = OptControlVectorEnv(
        4,
        task=make_task(),
        lr=0.01,
        num_inner_steps=num_inner_steps,
        control="relative",
        knobs=("scale",),
        autoreset_mode="Disabled",
    )
    observation, _ = env.reset(seed=0)
    ended = False
    while not ended:
        cooling = -0.15 if observation[0, 0] > 0.5 else 0.0
        observation, _, terminated, _, _ = env.step(0 * env.action_space.sample() + cooling)
        ended = terminated.all()
    return float(env.validation_loss().mean())


if __name__ == "__main__":
    print(f"mean validation loss after training: {main():.4f}")
