"""What control and the environment cost on an accelerator; says so and ends where there is none.

    python benchmarks/cuda_device.py [--quick] [--json FILE] [--record RELEASE]

- environment: inner steps per second of the vector environment with `device="cuda"`, over a bare loop on that device;
- wrapper: time of a training step under control over that of the base optimizer alone, for fused and for capturable
  bases and for a step captured as a CUDA graph, and how often a control step synchronises with the device.

Time is wall time between synchronisations of the device; the sides of a ratio take turns.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from history import record
from throughput import Rows, markdown
from torch import nn
from torch.nn import functional as F
from training_loops import EPISODE, LARGE, SMALL, STEPS_PER_ACTION, Model, make_data, make_task

import agents
import optenv
from optenv.env import OptControlVectorEnv

DEVICE = "cuda"
EVERY = 50
BASES: dict[str, dict[str, Any]] = {"fused": {"fused": True}, "capturable": {"capturable": True, "foreach": True}}


def seconds(run: Callable[[], Any]) -> float:
    """Return how long a call takes until the device has done all of it."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def turns(cases: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Time every case once a round, after a first time that does not count."""
    for case in cases.values():
        seconds(case)
    took: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            took[name].append(seconds(case))
    return took


def perceptron(model: Model) -> nn.Sequential:
    """Build a perceptron on the device."""
    widths = (model.inputs, *model.hidden, model.outputs)
    layers = [part for pair in zip(widths, widths[1:], strict=False) for part in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).to(DEVICE)


class Training:
    """A perceptron in training on the device, with a controller or without."""

    def __init__(self, model: Model, base: dict[str, Any], *, controlled: bool, graph: bool = False):
        """Build it; `graph`: capture forward and backward pass as a CUDA graph."""
        self._model, self._controlled = perceptron(model), controlled
        own = torch.optim.AdamW(self._model.parameters(), lr=1e-4, **base)
        settings = {"total_steps": None, "steps_per_action": EVERY}
        self.optimizer = optenv.ControlledOptimizer(own, agents.load("ppo"), **settings) if controlled else own
        self._x, self._y = (t[: model.batch].to(DEVICE) for t in make_data(model).train)
        self._graph = self._captured() if graph else None

    def _backward(self) -> torch.Tensor:
        loss = F.cross_entropy(self._model(self._x), self._y)
        loss.backward()
        return loss.detach()

    def _captured(self) -> torch.cuda.CUDAGraph:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                self._model.zero_grad()
                self._backward()
        torch.cuda.current_stream().wait_stream(side)
        self._model.zero_grad()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._loss = self._backward()
        return graph

    def step(self) -> None:
        """Take one step."""
        if self._graph is None:
            self.optimizer.zero_grad()
            loss = self._backward()
        else:  # which fills the same gradients anew
            for p in self._model.parameters():
                assert p.grad is not None
                p.grad.zero_()
            self._graph.replay()
            loss = self._loss
        self.optimizer.step(**({"loss": loss} if self._controlled else {}))

    def run(self) -> None:
        """Take a control step."""
        for _ in range(EVERY):
            self.step()

    def synchronisations(self) -> int:
        """Return how often a control step waits for the device."""
        self.run()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                self.run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchronizing" in str(each.message) for each in seen)


def wrapper(rounds: int) -> Rows:
    """Compare training under control with training without it."""
    rows: Rows = []
    kinds = [*((name, base, False) for name, base in BASES.items()), ("capturable, graph", BASES["capturable"], True)]
    for name, base, graph in kinds:
        alone, steered = (Training(LARGE, base, controlled=c, graph=graph) for c in (False, True))
        took = turns({"alone": alone.run, "steered": steered.run}, rounds)
        pairs = zip(took["steered"], took["alone"], strict=True)
        rows.append(
            {
                "model": LARGE.name,
                "mode": name,
                "step alone, us": round(1e6 * median(took["alone"]) / EVERY, 1),
                "controlled / alone": round(median(a / b for a, b in pairs), 3),
                "synchronisations a control step": steered.synchronisations(),
            }
        )
    return rows


def environment(rounds: int, cases: list[tuple[Model, int]]) -> Rows:
    """Compare the vector environment with a bare loop, both on the device."""
    rows: Rows = []
    for model, num_runs in cases:
        bare = Training(model, BASES["fused"], controlled=False)
        env = OptControlVectorEnv(
            num_runs, task=make_task(model), device=DEVICE, num_inner_steps=EPISODE, steps_per_action=STEPS_PER_ACTION
        )
        env.reset(seed=0)
        neutral = np.zeros(env.action_space.shape)
        took = turns({"bare": bare.run, "env": lambda env=env, neutral=neutral: env.step(neutral)}, rounds)
        speeds = {"bare": EVERY / median(took["bare"]), "env": num_runs * STEPS_PER_ACTION / median(took["env"])}
        rows.append(
            {
                "model": model.name,
                "runs": num_runs,
                **{f"{name} steps/s": round(speed) for name, speed in speeds.items()},
                "environment / bare": round(speeds["env"] / speeds["bare"], 2),
            }
        )
    return rows


def measure(quick: bool) -> dict[str, Rows]:
    """Measure all tables; needs a device."""
    rounds = 3 if quick else 15
    cases = (
        [(SMALL, 64)] if quick else [(LARGE, 8), (LARGE, 64), (LARGE, 256), (SMALL, 64), (SMALL, 256), (SMALL, 1024)]
    )
    return {"environment": environment(rounds, cases), "wrapper": wrapper(rounds)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one environment, few rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables to FILE as well")
    parser.add_argument("--record", metavar="RELEASE", help="add the ratios to benchmarks/history.csv")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("device: expected one that CUDA can use; there is none here, so nothing was measured")
        return
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    tables = measure(arguments.quick)
    for title, rows in tables.items():
        print(f"\n### {title}\n\n{markdown(rows)}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(tables, indent=2) + "\n")
    if arguments.record:
        record(arguments.record, "cuda", tables)


if __name__ == "__main__":
    main()
