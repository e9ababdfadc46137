"""What control costs in real training: time and memory, against the base optimizer alone.

    python benchmarks/overhead.py [--quick] [--every STEPS] [--rounds N] [--controller NAME] [--json FILE]
        [--validate] [--record RELEASE]

One thread, fused AdamW, stacks of linear layers of equal width. Training without control, with control, and with
control and a clock takes turns in one process, a few steps each.

- share: time inside the control code (the controlled step minus the base optimizer's own step, both measured from
  within) over that of the whole training step; the median over the rounds at each place of the control step, summed up,
  so that a step in which the machine did something else does not count;
- step: CPU time of the whole training step, controlled over uncontrolled, without clocks, median over the rounds;
- between, decision: control's own time in a step between decisions, and what a decision costs on top of that.

A run of 2,000 steps in 40 decisions, so a decision every 50 steps; with --every 10 one every 10. With --validate a
decision includes two calls of a validation function that does nothing but tell a loss less than the last, and what
`keep_best=True` copies then: that is what validation costs besides your own function.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import types
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from history import record
from torch import Tensor, nn
from torch.nn import functional as F

import agents
import optenv

TOTAL = 2_000
BLOCKS = 5  # into which a control step is divided; training with and without control take turns by the block
# What a program shares among all its objects: no part of what one of them holds.
CODE = (type, str, int, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType)
LARGE, LARGE_ROUNDS = 10_000_000, 3  # parameters from which a step takes so long that fewer rounds must do


@dataclass(frozen=True)
class Model:
    """A stack of linear layers, each added to what it gets, on minibatches of noise.

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
        groups = [
            {"params": [p for layer in part for p in layer.parameters()]}
            for part in np.array_split(np.array(layers, dtype=object), self.groups)
        ]
        return Residual(layers), groups


class Residual(nn.Module):
    """Adds every layer's output, over their number, so that a thousand of them neither explode nor vanish."""

    def __init__(self, layers: list[nn.Linear]):
        """Stack the layers."""
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what comes out of the last layer."""
        for layer in self.layers:
            x = torch.add(x, layer(x), alpha=1.0 / len(self.layers))
        return x


MODELS = (
    Model(50, 2, 1, 16, 200),
    Model(50, 2, 2, 16, 200),
    Model(204, 12, 12, 64, 100),
    Model(577, 12, 12, 64, 50),
    Model(292, 47, 47, 64, 50),
    Model(792, 47, 47, 64, 50),
    Model(63, 1000, 1000, 64, 50),
)


class Timed:
    """Notes the time that every step of an optimizer takes."""

    def __init__(self, optimizer: Any):
        """Time `optimizer` from now on."""
        self._step, self.log = optimizer.step, []
        optimizer.step = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Take a step."""
        start = time.perf_counter()  # the processor's own clock takes microseconds to read
        try:
            return self._step(*args, **kwargs)
        finally:
            self.log.append(time.perf_counter() - start)


class Training:
    """One model in training, with a controller or without."""

    def __init__(self, model: Model, controller: str | None, every: int, validate: bool = False, clock: bool = False):
        """Build it; `every` is the number of steps between decisions; with a `clock` steps are timed from within."""
        self._model, groups = model.build()
        base = torch.optim.AdamW(groups, lr=1e-4, fused=True)
        self.base: Any = Timed(base) if clock else None
        self.optimizer = base
        if controller is not None:
            settings: dict[str, Any] = {"total_steps": None, "steps_per_action": every}
            if validate:
                settings |= {"validate": map(lambda k: 1.0 / k, count(1)).__next__, "keep_best": True}
            self.optimizer = optenv.ControlledOptimizer(base, agents.load(controller), **settings)
        self.whole: Any = Timed(self.optimizer) if clock else None
        self._x, self._y = torch.randn(2, model.batch, model.width).unbind()
        self._controlled = controller is not None

    def run(self, steps: int) -> float:
        """Train and return the CPU seconds it took."""
        start = time.process_time()
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = F.mse_loss(self._model(self._x), self._y)
            loss.backward()
            self.optimizer.step(**({"loss": loss} if self._controlled else {}))
        return time.process_time() - start

    def control(self, every: int) -> Any:
        """Return the seconds inside the control code [control steps, steps each]; needs a clock."""
        seconds = np.array(self.whole.log) - np.array(self.base.log)
        self.whole.log, self.base.log = [], []
        return seconds.reshape(-1, every)


def measure(model: Model, controller: str, every: int, rounds: int, validate: bool = False) -> dict[str, float]:
    """Return the figures of one row."""
    alone, controlled = Training(model, None, every), Training(model, controller, every, validate)
    timed = Training(model, controller, every, validate, clock=True)
    trainings, took = [alone, controlled, timed], []
    for training in trainings:
        training.run(every)
    timed.control(every)
    block, steps = max(1, every // BLOCKS), every * max(1, model.steps // every)  # whole control steps
    for _ in range(rounds):
        seconds = {id(training): 0.0 for training in trainings}
        for done in range(0, steps, block):
            trainings.reverse()
            for training in trainings:
                seconds[id(training)] += training.run(min(block, steps - done))
        took.append((seconds[id(alone)] / steps, seconds[id(controlled)] / steps))
    profile = np.median(timed.control(every), axis=0)
    between = float(np.median(profile))
    return {
        "parameters": model.parameters,
        "groups": model.groups,
        "every": every,
        "step_ms": 1e3 * median(plain for plain, _ in took),
        "share": float(profile.mean()) / median(steered for _, steered in took),
        "step": median(steered / plain for plain, steered in took),
        "between_us": 1e6 * between,
        "decision_us": 1e6 * float(profile.sum() - every * between),
        "kilobytes": memory(model, controller),
    }


def memory(model: Model, controller: str) -> float:
    """Return what a controlled optimizer holds after 40 decisions, besides base and controller, in kilobytes.

    That is in the midst of a control step; between its end and the next step its sums are held too, 40 bytes a group.
    """
    module, groups = model.build()
    base, loaded = torch.optim.SGD(groups, lr=1e-4), agents.load(controller)
    for p in module.parameters():
        p.grad = torch.zeros_like(p)
    optimizer = optenv.ControlledOptimizer(base, loaded, total_steps=80, steps_per_action=2)
    for _ in range(79):
        optimizer.step(loss=1.0)
    seen: set[int] = set()
    objects_from([base, loaded, *module.parameters()], seen)
    return sum(map(size, objects_from([optimizer], seen))) / 1e3


def objects_from(values: list[Any], seen: set[int]) -> list[Any]:
    """Return all objects that `values` lead to and whose identity is not in `seen`, to which it is added; no code."""
    found = []
    while values:
        value = values.pop()
        if id(value) in seen or isinstance(value, CODE):
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            values.append(value.grad)
            if storage.data_ptr() in seen:  # a view
                continue
            seen.add(storage.data_ptr())
        found.append(value)
        values += gc.get_referents(value)
        if isinstance(value, np.ndarray):
            values.append(value.base)
    return found


def size(value: Any) -> int:
    """Return the bytes of an object and of the numbers in it."""
    return sys.getsizeof(value) + (value.untyped_storage().nbytes() if isinstance(value, Tensor) else 0)


def table(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table."""
    lines = [
        "| parameters | groups | step alone | control's share | step, controlled over alone | between | decision "
        "| memory |",
        "| --- " * 8 + "|",
    ]
    for row in rows:
        cells = (
            f"{row['parameters']:,}",
            f"{row['groups']:,}",
            f"{row['step_ms']:.2f} ms",
            f"{row['share']:.2%}",
            f"{row['step']:.3f}",
            f"{row['between_us']:.0f} us",
            f"{row['decision_us']:,.0f} us",
            f"{row['kilobytes']:.0f} KB",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest model alone, one round")
    parser.add_argument("--controller", default="ppo")
    parser.add_argument("--every", type=int, default=TOTAL // 40, help="steps between decisions")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--validate", action="store_true", help="with a validation function, and the best weights kept")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--record", metavar="RELEASE", help="add the ratios to benchmarks/history.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models, most = (MODELS[:1], 1) if arguments.quick else (MODELS, arguments.rounds)
    rows = []
    for model in models:
        rounds = min(most, LARGE_ROUNDS) if model.parameters > LARGE else most
        rows.append(measure(model, arguments.controller, arguments.every, rounds, arguments.validate))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    if arguments.record:
        rounded = [{name: round(value, 4) for name, value in row.items()} for row in rows]
        record(arguments.record, "overhead", {arguments.controller: rounded})


if __name__ == "__main__":
    main()
