"""What `throughput.py` times: bare loops, stacked steps and the environment, as functions that take inner steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from optenv.env import OptControlVectorEnv
from optenv.inner.compiled import Compiled
from optenv.inner.fused import FusedUpdate
from optenv.inner.layout import Layout
from optenv.inner.optimizers import OPTIMIZERS, base_values
from optenv.inner.processor import denormals_flushed
from optenv.inner.step import InnerStep
from optenv.inner.step_settings import StepSettings
from optenv.tasks import Data, Task
from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import Mlp, PerceptronTask

LEARNING_RATE = 1e-3
STEPS_PER_ACTION = 5
EPISODE = 200
Case = Callable[[], int]  # takes inner steps and returns their number


@dataclass(frozen=True)
class Model:
    """A perceptron, and the shape of the data it is trained on."""

    inputs: int
    hidden: tuple[int, ...]
    outputs: int
    batch: int
    examples: int

    @property
    def name(self) -> str:
        """Its widths."""
        return "-".join(map(str, (self.inputs, *self.hidden, self.outputs)))


LARGE = Model(784, (64,), 10, batch=64, examples=60_000)
SMALL = Model(32, (32,), 10, batch=32, examples=2_000)


@cache
def make_data(model: Model) -> Data:
    """Draw noise of the model's shape; the time of a step does not depend on what is learned."""
    generator = torch.Generator().manual_seed(0)

    def draw(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.rand(rows, model.inputs, generator=generator)
        return x, torch.randint(model.outputs, (rows,), generator=generator)

    return Data(draw(model.examples), draw(model.examples // 6))


def make_task(model: Model) -> PerceptronTask:
    """Make the task of training `model`."""
    mlp = Mlp(model.inputs, model.hidden, model.outputs)
    return PerceptronTask(model.name, mlp, cross_entropy, lambda generator: make_data(model), model.batch)


def bare_loop(model: Model, steps: int) -> Case:
    """Train one module in an ordinary PyTorch loop."""
    widths = (model.inputs, *model.hidden, model.outputs)
    layers = [part for pair in zip(widths, widths[1:], strict=False) for part in (nn.Linear(*pair), nn.ReLU())]
    module, (x, y) = nn.Sequential(*layers[:-1]), make_data(model).train
    optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE)

    def run() -> int:
        for _ in range(steps):
            index = torch.randint(len(x), (model.batch,))
            optimizer.zero_grad()
            F.cross_entropy(module(x[index]), y[index]).backward()
            optimizer.step()
        return steps

    return run


def task_loop(task: Task, steps: int) -> Case:
    """Train a task in an ordinary PyTorch loop under fused AdamW."""
    generator = torch.Generator().manual_seed(0)
    params = {name: nn.Parameter(value) for name, value in task.init(generator).items()}
    data, optimizer = task.draw(generator).train, torch.optim.AdamW(params.values(), lr=LEARNING_RATE, fused=True)

    def run() -> int:
        for _ in range(steps):
            index = torch.randint(len(data[0]), (task.batch_size,))
            optimizer.zero_grad()
            task.loss(params, tuple(d[index] for d in data)).backward()
            optimizer.step()
        return steps

    return run


def stacked_loop(task: Task, num_runs: int, steps: int, *, compiled: bool = False) -> Case:
    """Train stacked models with the environment's own forward, backward and update, and nothing else."""
    rule, generator = OPTIMIZERS["adamw"], torch.Generator().manual_seed(0)
    base, data = base_values(rule, None), task.draw(generator).train
    layout = Layout.of(task.init(generator))
    params = torch.stack([layout.flatten(task.init(generator)) for _ in range(num_runs)])
    slots = {name: torch.zeros_like(params) for name in rule.slots}
    values = base | {"lr": np.full((num_runs, 1), LEARNING_RATE)}
    inner = InnerStep(task, rule, layout, params.device)
    leaves = None if compiled else inner.leaves(params)
    constant = rule.coefficients(values)
    fused = FusedUpdate(rule, layout, params, slots, values) if FusedUpdate.pays(layout) and not compiled else None

    def settings(t: float) -> StepSettings:
        if fused is not None:
            return StepSettings({}, update=partial(fused, steps=[torch.tensor(t)] * num_runs))
        hyper = constant | rule.corrections(base, np.full((num_runs, 1), t))
        return StepSettings({name: as_float32(value) for name, value in hyper.items()})

    def step(params: torch.Tensor, slots: dict, batch: tuple, hyper: dict, update: Any = None) -> torch.Tensor:
        loss, gradient = inner.gradient(params, batch, leaves)
        inner.update(params, gradient, slots, StepSettings(hyper, update=update))
        return loss

    take = Compiled(step) if compiled else step

    def run() -> int:
        for t in range(steps):
            index = torch.randint(len(data[0]), (num_runs * task.batch_size,))
            batch = tuple(d.index_select(0, index).unflatten(0, (num_runs, task.batch_size)) for d in data)
            with denormals_flushed():
                own = settings(t + 1.0)
                take(params, slots, batch, own.hyper, own.update)
        return num_runs * steps

    return run


def as_float32(value: float | np.ndarray) -> float | torch.Tensor:
    """Return an array as a tensor, and a number as it is."""
    return value if isinstance(value, float) else torch.tensor(value, dtype=torch.float32)


def environment(model: Model, num_runs: int, *, compiled: bool = False) -> Case:
    """Play whole episodes under random actions: knobs, features, reward with its probe loss, resets."""
    env = OptControlVectorEnv(
        num_runs,
        task=make_task(model),
        optimizer="adamw",
        lr=LEARNING_RATE,
        compile=compiled,
        num_inner_steps=EPISODE,
        steps_per_action=STEPS_PER_ACTION,
    )
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (7, *env.action_space.shape))

    def run() -> int:
        for t in range(EPISODE // STEPS_PER_ACTION):
            env.step(actions[t % 7])
        return num_runs * EPISODE

    return run


def made(name: str) -> Case:
    """Play whole episodes of zero actions in the environment of one run that Gymnasium makes."""
    env = gymnasium.make("OptControl-v0", task=name, num_inner_steps=EPISODE, steps_per_action=STEPS_PER_ACTION)
    neutral = np.zeros(env.action_space.shape, np.float32)

    def run() -> int:
        env.reset(seed=0)
        while not env.step(neutral)[2]:
            pass
        return EPISODE

    return run
