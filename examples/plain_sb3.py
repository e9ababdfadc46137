"""Unmodified stable-baselines3 on the plain Gymnasium environment, then its policy on a training of one's own."""

import tempfile
from pathlib import Path

import gymnasium
import torch
from stable_baselines3 import PPO
from torch import nn

import agents
import optenv


def train(timesteps: int) -> PPO:
    """Train PPO on one environment, whose run has as many parameter groups as its model has layers."""
    env = gymnasium.make(
        "OptControl-v0", task="synthetic_classification:1", lr=(1e-4, 1e-2), knobs=("scale",), control="relative"
    )
    model = PPO(
        "MlpPolicy", env, n_steps=min(512, timesteps), batch_size=min(64, timesteps), gamma=1.0, seed=0, device="cpu"
    )
    return model.learn(timesteps)


def steer(controller: str | Path, groups: int, total_steps: int) -> float:
    """Train a perceptron of as many layers under a controller; return its loss on all data."""
    torch.manual_seed(0)
    widths = [8, *[32] * (groups - 1), 1]
    layers = [layer for i in range(groups) for layer in (nn.Linear(widths[i], widths[i + 1]), nn.Tanh())]
    network = nn.Sequential(*layers[:-1])
    x = torch.randn(512, 8)
    y = x[:, :1].sin()
    base = torch.optim.AdamW(optenv.layer_groups(network), lr=1e-3)
    optimizer = optenv.ControlledOptimizer(base, controller, total_steps=total_steps)
    for _ in range(total_steps):
        batch = torch.randint(512, (32,))
        loss = nn.functional.mse_loss(network(x[batch]), y[batch])
        loss.backward()
        optimizer.step(loss=loss)
        optimizer.zero_grad()
    with torch.no_grad():
        return nn.functional.mse_loss(network(x), y).item()


def main(timesteps: int = 4096, total_steps: int = 200, compare: bool = False) -> float:
    """Train PPO, write its policy down, and steer a training by it; return the loss of that."""
    model = train(timesteps)
    groups = model.action_space.shape[0]  # one knob: the plain environment's policy fits its number of groups
    with tempfile.TemporaryDirectory() as folder:
        path = agents.export(model, Path(folder) / "mine.safetensors")
        if compare:
            print(f"loss with AdamW alone: {steer('neutral', groups, total_steps):.4f}")
        return steer(path, groups, total_steps)


if __name__ == "__main__":
    print(f"loss of the steered training: {main(compare=True):.4f}")
