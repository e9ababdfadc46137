"""Steer an ordinary PyTorch training loop with a trained controller: `python examples/deploy.py CONTROLLER`."""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

import agents
import optenv


def main(controller: str = "ppo", total_steps: int = 400, lr: float = 1e-3, seed: int = 0) -> float:
    """Train a small network on digits; return its final loss on held-out images."""
    torch.manual_seed(seed)
    digits = load_digits()
    images, labels = torch.tensor(digits.data / 16.0, dtype=torch.float32), torch.tensor(digits.target)
    train, test = torch.randperm(len(labels)).split([1500, 297])
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    base = torch.optim.AdamW(optenv.layer_groups(model), lr=lr)
    optimizer = optenv.ControlledOptimizer(base, agents.load(controller), total_steps=total_steps)
    for _ in range(total_steps):
        batch = train[torch.randint(len(train), (32,))]
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step(loss=loss)
        optimizer.zero_grad()
    with torch.no_grad():
        return nn.functional.cross_entropy(model(images[test]), labels[test]).item()


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "ppo"
    for rate in (1e-5, 1e-3, 1e-1):
        controlled, alone = main(name, lr=rate), main("neutral", lr=rate)
        print(f"base rate {rate:.0e}: final loss {controlled:.3f} under {name}, {alone:.3f} with AdamW alone")
