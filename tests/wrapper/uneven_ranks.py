"""What two processes with unequally many minibatches do; `test_uneven_inputs.py` starts them."""

import torch
import torch.distributed as dist
from meeting import meet_and_report
from torch import nn, optim
from torch.nn.parallel import DistributedDataParallel

import agents
import optenv


def epochs(controller, batches):
    torch.manual_seed(0)
    ddp = DistributedDataParallel(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)))
    optimizer = optim.AdamW(ddp.parameters(), lr=0.01)
    if controller is not None:
        optimizer = optenv.ControlledOptimizer(optimizer, agents.load(controller), total_steps=100, steps_per_action=4)
    generator = torch.Generator().manual_seed(dist.get_rank())
    for _ in range(2):
        with ddp.join():
            for _ in range(batches[dist.get_rank()]):
                optimizer.zero_grad()
                loss = ddp(torch.randn(8, 4, generator=generator)).square().mean()
                loss.backward()
                optimizer.step(**({} if controller is None else {"loss": loss}))
    weights = nn.utils.parameters_to_vector(ddp.parameters()).tolist()
    steps = None if controller is None else [decision["step"] for decision in optimizer.history]
    return {"weights": weights, "decisions": steps, "steps": getattr(optimizer, "step_count", None)}


def main(folder):
    report = {
        f"{name} {batches}": epochs(name, batches)
        for name in (None, "neutral", "ppo")
        for batches in ((12, 9), (9, 12), (3, 12))
    }
    return report


if __name__ == "__main__":
    meet_and_report(main)
