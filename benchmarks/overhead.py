"""What control costs in real training: time and memory, against the base optimizer alone.

    python benchmarks/overhead.py [--quick] [--every STEPS] [--controller NAME] [--json FILE]

CPU, one thread, fused AdamW, stacks of linear layers of equal width. Training with and without control takes turns in
one process, and every ratio is the median over the rounds. Two figures for time:

- share: time spent inside the control code (the controlled step minus the base optimizer's own step, measured from
  within) over that of the whole training step;
- step: the whole training step, controlled over uncontrolled.

A run of 2,000 steps in 40 decisions, so a decision every 50 steps; with --every 10 one every 10.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import agents
import optenv

TOTAL = 2_000


@dataclass(frozen=True)
class Model:
    """A stack of linear layers on minibatches of noise.

    Attributes:
      width: of every layer.
      depth: number of layers.
      groups: number of parameter groups they are divided into.
      batch: examples in a minibatch.
      steps: training steps in a round.
    """

    width: int
    depth: int
    groups: int
    batch: int
    steps: int

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return self.depth * self.width * (self.width + 1)

    def build(self) -> tuple[nn.Module, list[dict[str, Any]]]:
        """Return the model and its parameter groups."""
        torch.manual_seed(0)  # a benchmark's own process
        layers = [nn.Linear(self.width, self.width) for _ in range(self.depth)]
        groups = [{"params": [p for layer in part for p in layer.parameters()]}
                  for part in np.array_split(np.array(layers, dtype=object), self.groups)]  # fmt: skip
        return nn.Sequential(*layers), groups


MODELS = (
    Model(50, 2, 1, 16, 200),
    Model(50, 2, 2, 16, 200),
    Model(204, 12, 12, 64, 100),
    Model(577, 12, 12, 64, 50),
    Model(292, 47, 47, 64, 50),
    Model(792, 47, 47, 64, 50),
    Model(1580, 12, 12, 64, 50),
    Model(63, 1000, 1000, 64, 50),
)


class Timed:
    """Adds up the time that the steps of an optimizer take."""

    def __init__(self, optimizer: torch.optim.Optimizer):
        """Time `optimizer` from now on."""
        self._step, self.seconds = optimizer.step, 0.0
        optimizer.step = self  # type: ignore[method-assign, assignment]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Take a step."""
        start = time.perf_counter()  # the processor's own clock takes microseconds to read
        try:
            return self._step(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - start


class Training:
    """One model in training, with a controller or without."""

    def __init__(self, model: Model, controller: str | None, every: int):
        """Build it; `every` is the number of steps between decisions."""
        self._model, groups = model.build()
        base = torch.optim.AdamW(groups, lr=1e-4, fused=True)
        self.base, self.whole, self.optimizer = Timed(base), None, base
        if controller is not None:
            settings = {"total_steps": None, "steps_per_action": every}
            self.optimizer = optenv.ControlledOptimizer(base, agents.load(controller), **settings)
            self.whole = Timed(self.optimizer)
        self._x, self._y = torch.randn(2, model.batch, model.width).unbind()
        self._controlled = controller is not None

    def run(self, steps: int) -> float:
        """Train and return the seconds of a step."""
        start = time.process_time()
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = F.mse_loss(self._model(self._x), self._y)
            loss.backward()
            self.optimizer.step(**({"loss": loss} if self._controlled else {}))
        return (time.process_time() - start) / steps

    def share(self, steps: int) -> float:
        """Train and return the share of the time that is spent inside the control code."""
        assert self.whole is not None
        self.whole.seconds = self.base.seconds = 0.0
        start = time.perf_counter()
        self.run(steps)
        return (self.whole.seconds - self.base.seconds) / (time.perf_counter() - start)


def measure(model: Model, controller: str, every: int, rounds: int) -> dict[str, float]:
    """Return the figures of one row."""
    alone, controlled = Training(model, None, every), Training(model, controller, every)
    steps = every * max(1, model.steps // every)  # whole control steps
    for training in (alone, controlled):
        training.run(steps if rounds > 1 else 2)
    ratios, shares, seconds = [], [], []
    for turn in range(rounds):
        pair = [alone, controlled] if turn % 2 else [controlled, alone]
        took = {id(training): training.run(steps) for training in pair}
        ratios.append(took[id(controlled)] / took[id(alone)])
        seconds.append(took[id(alone)])
        shares.append(controlled.share(steps))
    return {"parameters": model.parameters, "groups": model.groups, "every": every, "step_ms": 1e3 * median(seconds),
            "share": median(shares), "step": median(ratios), "kilobytes": memory(model, controller)}  # fmt: skip


def memory(model: Model, controller: str) -> float:
    """Return what a controlled optimizer holds besides base and controller after 40 decisions, in kilobytes."""
    module, groups = model.build()
    base, loaded = torch.optim.SGD(groups, lr=1e-4), agents.load(controller)
    for p in module.parameters():
        p.grad = torch.zeros_like(p)
    for _ in range(2):  # the first one also pays for what is imported and cached on the way
        tracemalloc.start()
        optimizer = optenv.ControlledOptimizer(base, loaded, total_steps=80, steps_per_action=2)
        for _ in range(80):
            optimizer.step(loss=1.0)
        gc.collect()
        objects = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    tensors: dict[int, int] = {}
    collect(optimizer._steering, tensors, {id(base), id(loaded)})
    for p in module.parameters():
        for tensor in (p, p.grad):
            tensors.pop(tensor.untyped_storage().data_ptr(), None)
    return (objects + sum(tensors.values())) / 1e3


def collect(value: Any, found: dict[int, int], seen: set[int]) -> None:
    """Note the bytes of all tensor storages that `value` leads to; numpy's and Python's own are traced anyway."""
    if id(value) in seen or isinstance(value, (type, str, bytes, int, float)):
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        found[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for part in (*parts, *getattr(value, "__dict__", {}).values()):
        collect(part, found, seen)


def table(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table."""
    lines = ["| parameters | groups | step alone | control's share | step, controlled over alone | memory |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for row in rows:
        cells = (f"{row['parameters']:,}", f"{row['groups']:,}", f"{row['step_ms']:.2f} ms", f"{row['share']:.2%}",
                 f"{row['step']:.3f}", f"{row['kilobytes']:.0f} KB")  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest model alone, one round")
    parser.add_argument("--controller", default="ppo")
    parser.add_argument("--every", type=int, default=TOTAL // 40, help="steps between decisions")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models, rounds = (MODELS[:1], 1) if arguments.quick else (MODELS, arguments.rounds)
    rows = []
    for model in models:
        rows.append(measure(model, arguments.controller, arguments.every, rounds))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
