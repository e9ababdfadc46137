"""A task of your own: a module, a criterion, and tensors."""

import torch
from torch import nn
from torch.nn import functional as F

from optenv import tasks

generator = torch.Generator().manual_seed(0)
x = torch.rand(600, 2, generator=generator) * 4 - 2
y = torch.sin(3 * x[:, :1]) * x[:, 1:]

task = tasks.from_module(
    name="saddle_of_sines",
    build=lambda: nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1)),
    loss=F.mse_loss,
    train=(x[:500], y[:500]),
    valid=(x[500:], y[500:]),
)
tasks.register(task, split="held_out")  # now every function that takes a task's name knows it

if __name__ == "__main__":
    params = tasks.get("saddle_of_sines").init(generator)
    print("groups:", tasks.group_names(params))
    print("validation loss before training:", task.loss(params, task.draw(generator).valid).item())
