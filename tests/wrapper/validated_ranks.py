"""What two processes with validation losses of their own do; `test_validated_ranks.py` starts them."""

import torch
import torch.distributed as dist
from meeting import meet_and_report
from torch import nn, optim
from torch.nn.parallel import DistributedDataParallel

import agents
import optenv

EVERY = 2


def trained(paused_rank=None):
    torch.manual_seed(0)
    ddp = DistributedDataParallel(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)))
    generator = torch.Generator().manual_seed(dist.get_rank())
    held_back, own = torch.randn(16, 4, generator=generator), []

    def validate():
        own.append(ddp.module(held_back).square().mean().item())
        return own[-1]

    optimizer = optenv.ControlledOptimizer(
        optim.SGD(ddp.parameters(), lr=0.5), agents.load("neutral"), total_steps=41, steps_per_action=EVERY,
        validate=validate, keep_best=True,
    )  # fmt: skip
    error = None
    for step in range(41):
        if step == 21 and dist.get_rank() == paused_rank:
            optimizer.pause()
        optimizer.zero_grad()
        x = torch.randn(8, 4, generator=generator)
        loss = (ddp(x) - x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        try:
            optimizer.step(loss=loss)
        except RuntimeError as raised:
            error = str(raised)
            break
    best = optimizer.restore_best()
    weights = nn.utils.parameters_to_vector(ddp.parameters()).tolist()
    return {"own": own, "best": best, "weights": weights, "error": error}


def main(folder):
    report = {"together": trained(), "one pauses": trained(paused_rank=1)}
    return report


if __name__ == "__main__":
    meet_and_report(main)
