"""What controllers are worth where `total_steps` is left out: losses over those of AdamW at a constant 1e-3.

    python benchmarks/no_budget.py [--controllers NAME ...] [--tasks NAME ...] [--seeds N] [--rates RATE ...]

Two tasks: the README's example ("Steer your own training"), whose data each seed draws anew, and a small convolutional
network on scikit-learn's digits. Runs are simulated as a controlled optimizer would take them, under the guard, ten
steps a decision; equal seeds have equal weights and minibatches. A cell is "training loss / loss on fresh data" of one
run after so many steps, on whole data sets, each the geometric mean over the seeds and over the last four decisions.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

import agents
from optenv.control.controller import Controller
from optenv.control.guard import Guard
from optenv.control.unknown_budget import STEPS_PER_ACTION
from optenv.inner.architecture_batches import ArchitectureBatches
from optenv.inner.rollout import rollout
from optenv.inner.trainer import BatchedTrainer, make_trainer
from optenv.tasks import Task
from optenv.tasks.mlp import Mlp, PerceptronTask
from optenv.tasks.own import from_module
from optenv.tasks.real import digits
from optenv.tasks.task import Batch, Data

STEPS = (500, 2_000, 5_000)
LAST = 4  # decisions that a loss is averaged over
REFERENCE_RATE = 1e-3
CONTROLLERS = ("ppo", "recurrent_ppo", "garo", "opt2vec", "auto", "optbrain", "adaptive")
BASES = {"garo": "sgd"}  # of others: AdamW
Array = np.ndarray


def example_data(generator: Generator) -> Data:
    """Draw the data of the README's example, and as much again for validation."""
    x = torch.randn(1024, 20, generator=generator)
    y = x[:, :1].sin() + 0.1 * torch.randn(1024, 1, generator=generator)
    return Data((x[:512], y[:512]), (x[512:], y[512:]))


def convolutions() -> nn.Module:
    """Build a network of two convolutions for digits of 8 x 8 pixels."""
    first, second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
    blocks = [layer for convolution in (first, second) for layer in (convolution, nn.ReLU(), nn.AvgPool2d(2))]
    return nn.Sequential(nn.Unflatten(-1, (1, 8, 8)), *blocks, nn.Flatten(), nn.Linear(64, 10))


def tasks() -> dict[str, Task]:
    """Return the tasks by name."""
    data = digits.load()
    return {
        "example": PerceptronTask("example", Mlp(20, (64,), 1), F.mse_loss, example_data),
        "digits": from_module(
            name="digits", build=convolutions, loss=F.cross_entropy, train=data.train, valid=data.valid
        ),
    }


def without_budget(controller: Controller, total: int) -> Guard:
    """Guard a controller that decides in `total` steps as often as a controlled optimizer without a budget has it."""
    guard = Guard(controller)
    guard.interface = replace(guard.interface, decisions=max(1, round(total / STEPS_PER_ACTION)))
    return guard


def losses(trainer: BatchedTrainer, controller: Controller, seeds: Array, rates: Array) -> Array:
    """Return log losses on the training data and on fresh data after `STEPS` steps, [len(STEPS), 2, N]."""
    runs, guard, seen = ArchitectureBatches([trainer]), without_budget(controller, STEPS[-1]), {}
    window = LAST * STEPS_PER_ACTION
    for step in rollout(runs, guard, seeds, rates, STEPS[-1], reveal_budget=False, reveal_validation=False):
        if any(0 <= end - step.last < window for end in STEPS):
            state = runs.states[0][1]
            seen[step.last] = [_whole(trainer, state.params, data) for data in (state.train, state.valid)]
    return np.array(
        [np.mean([value for last, value in seen.items() if 0 <= end - last < window], axis=0) for end in STEPS]
    )


@torch.no_grad()
def _whole(trainer: BatchedTrainer, params: Tensor, data: Batch) -> Array:
    """Return the logarithm of every run's loss on a whole data set, [N]; a diverged run counts as a loss of 1e6."""
    shared = tuple(None if len(tensor) < len(params) else 0 for tensor in data)
    whole = tuple(tensor[0] if axis is None else tensor for tensor, axis in zip(data, shared, strict=True))
    loss = torch.func.vmap(trainer.task.loss, (0, shared))(trainer.layout.views(params), whole)
    return loss.double().nan_to_num(1e6, 1e6).clamp(1e-30, 1e6).log().numpy()


def main() -> None:
    """Measure what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--controllers", nargs="*", default=list(CONTROLLERS), metavar="NAME")
    parser.add_argument("--tasks", nargs="*", default=["example", "digits"], choices=["example", "digits"])
    parser.add_argument("--seeds", type=int, default=2, metavar="N")
    parser.add_argument("--rates", nargs="*", type=float, default=[1e-5, 1e-3, 1e-1], metavar="RATE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| task | controller | base rate |" + "".join(f" {end} |" for end in STEPS) + "\n" + "| --- " * 6 + "|")
    seeds, rates = np.arange(options.seeds), np.array(options.rates)
    for name in options.tasks:
        task = tasks()[name]
        reference = losses(make_trainer(task), agents.make("neutral"), seeds, np.full(len(seeds), REFERENCE_RATE))
        for controller in options.controllers:
            trainer = make_trainer(task, BASES.get(controller, "adamw"))
            found = losses(trainer, agents.load(controller), np.tile(seeds, len(rates)), np.repeat(rates, len(seeds)))
            found = found.reshape(len(STEPS), 2, len(rates), len(seeds)) - reference[:, :, None]
            for rate, ratios in zip(rates, np.exp(found.mean(axis=-1)).transpose(2, 0, 1), strict=True):
                cells = " | ".join(f"{train:.2g} / {fresh:.2f}" for train, fresh in ratios)
                print(f"| {name} | {controller} | {rate:.0e} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
