"""Steer data-parallel training: `torchrun --nproc-per-node 2 examples/data_parallel.py`, with `--shard` for FSDP2.

Nothing changes for the controlled optimizer: every process passes its own loss, and once a control step they pool what
they saw and decide alike. Without torchrun it is a run in one process.
"""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import agents
import optenv


def main(controller: str = "ppo", total_steps: int = 400, shard: bool = False, seed: int = 0) -> float:
    """Train a perceptron on noisy sines, each process on minibatches of its own; return the loss on fresh data."""
    torch.manual_seed(seed)  # the same weights and data everywhere
    x = torch.rand(4096, 4) * 4 - 2
    y = torch.sin(3 * x[:, :1]) * x[:, 1:2] + 0.1 * torch.randn(4096, 1)
    model = trained = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if world > 1:  # before the optimizer is made: sharding replaces the parameters
        trained = fully_shard(model) if shard else DistributedDataParallel(model)
    base = torch.optim.AdamW(optenv.layer_groups(model), lr=1e-3)
    optimizer = optenv.ControlledOptimizer(base, agents.load(controller), total_steps=total_steps)
    batches = torch.Generator().manual_seed(1000 * seed + rank)
    for _ in range(total_steps):
        batch = torch.randint(3072, (64 // world,), generator=batches)
        loss = nn.functional.mse_loss(trained(x[batch]), y[batch])
        loss.backward()
        optimizer.step(loss=loss)
        optimizer.zero_grad()
    with torch.no_grad():
        return nn.functional.mse_loss(trained(x[3072:]), y[3072:]).item()


if __name__ == "__main__":
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    final = main(shard="--shard" in sys.argv)
    print(f"loss on fresh data: {final:.4f}")
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
