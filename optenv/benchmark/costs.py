"""What a method costs a step: time and memory of its optimizer, over those of AdamW alone on the same model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from optenv.benchmark.cells import code_mark
from optenv.benchmark.methods import BenchmarkMethod
from optenv.benchmark.work import Work, check_numbers
from optenv.wrapper.param_groups import layer_groups

WIDTHS = (256, 512, 512, 10)
ROUNDS, STEPS = 9, 20
TOTAL = 1000


@dataclass(frozen=True)
class CostCell(Work):
    """The measurement of one method; see `work.Work`."""

    method: BenchmarkMethod

    @property
    def identity(self) -> dict[str, Any]:
        """What the result depends on, this machine's load left aside."""
        return {"cost": self.method.name, "mark": self.method.mark, "code": code_mark()}

    @property
    def work(self) -> float:
        """About what a short cell costs."""
        return 2_000.0

    @property
    def task(self) -> str:
        """No task is trained."""
        return ""

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method.name

    def check(self, result: dict[str, Any]) -> None:
        """Check what a file says was the result."""
        check_numbers(result, {"step_time": (), "memory": ()})

    def run(self) -> dict[str, Any]:
        """Return `step_time` and `memory`, both over AdamW's."""
        torch.set_num_threads(1)
        own, base = _Stepped(self.method.build or _adamw), _Stepped(_adamw)
        # Alternating rounds: a change of the machine's load meets both.
        times = np.array([(own.seconds(), base.seconds()) for _ in range(ROUNDS + 1)])[1:]
        return {
            "step_time": round(float(np.median(times[:, 0] / times[:, 1])), 3),
            "memory": round(state_bytes(own.optimizer.state_dict()) / state_bytes(base.optimizer.state_dict()), 3),
        }


def _adamw(groups: list[dict[str, Any]], total: int) -> tuple[Any, Callable[[Any], Any]]:
    optimizer = torch.optim.AdamW(groups)
    return optimizer, lambda loss: optimizer.step()


class _Stepped:
    """A perceptron with random gradients that an optimizer steps on."""

    def __init__(self, build: Callable[[list[dict[str, Any]], int], tuple[Any, Callable[[Any], Any]]]):
        layers = [nn.Linear(i, o) for i, o in zip(WIDTHS, WIDTHS[1:], strict=False)]
        generator = torch.Generator().manual_seed(0)
        for parameter in (p for layer in layers for p in layer.parameters()):
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)
            parameter.grad = 1e-3 * torch.randn(parameter.shape, generator=generator)
        self.optimizer, self._step = build(layer_groups(nn.Sequential(*layers)), TOTAL)

    def seconds(self) -> float:
        """Return the processor time of a round of steps."""
        loss, started = torch.tensor(1.0), time.process_time()
        for _ in range(STEPS):
            self._step(loss)
        return time.process_time() - started


def state_bytes(state: Any) -> int:
    """Return the size of all tensors and arrays in a nest of dicts, lists and tuples, each counted once."""
    sizes: dict[int, int] = {}
    stack = [state]
    while stack:
        value = stack.pop()
        if isinstance(value, (torch.Tensor, np.ndarray)):
            sizes[id(value)] = value.nbytes
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, (list, tuple)):
            stack.extend(value)
    return sum(sizes.values())
