"""Steer a loop of Hugging Face's Accelerate: `python examples/accelerate_loop.py`, or `accelerate launch` it."""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import agents
import optenv


def main(controller: str = "ppo", epochs: int = 5, examples: int = 4096, lr: float = 1e-3, seed: int = 0) -> float:
    """Train a perceptron on noisy sines, each update on two minibatches; return the loss on all of its data."""
    torch.manual_seed(seed)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    x = torch.rand(examples, 4) * 4 - 2
    y = torch.sin(3 * x[:, :1]) * x[:, 1:2] + 0.1 * torch.randn(examples, 1)
    model = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))
    base = torch.optim.AdamW(optenv.layer_groups(model), lr=lr)
    batches = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    total_steps = epochs * len(batches) // (2 * accelerator.num_processes)
    controlled = optenv.ControlledOptimizer(base, agents.load(controller), total_steps=total_steps)
    model, optimizer, batches = accelerator.prepare(model, controlled, batches)
    for _ in range(epochs):
        for inputs, targets in batches:
            with accelerator.accumulate(model):
                loss = nn.functional.mse_loss(model(inputs), targets)
                accelerator.backward(loss)
                controlled.observe(loss)  # Accelerate's own optimizer calls `step` without a loss
                optimizer.step()
                optimizer.zero_grad()
    with torch.no_grad():
        return nn.functional.mse_loss(model(x), y).item()


if __name__ == "__main__":
    print(f"loss: {main():.3f} under ppo, {main('neutral'):.3f} with AdamW alone")
