"""How fast the environment trains: inner steps per CPU second, against what one would write without it.

    python benchmarks/throughput.py [--quick] [--json FILE] [--dacbench-python PATH]

All numbers come from one run on one thread, in CPU time. The cases of a table take turns, and every
ratio is the median over the rounds of the ratio within a round, so that a busy machine slows both sides.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from optenv.env import OptControlVectorEnv
from optenv.inner.compiled import Compiled
from optenv.inner.layout import Layout
from optenv.inner.optimizers import OPTIMIZERS, base_values
from optenv.inner.step import InnerStep
from optenv.inner.trainer import denormals_flushed
from optenv.tasks import Data
from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import Mlp, PerceptronTask

LEARNING_RATE = 1e-3
STEPS_PER_ACTION = 5
EPISODE = 200
Case = Callable[[], int]  # takes inner steps and returns their number
Rows = list[dict[str, float | str]]


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


def stacked_loop(model: Model, num_runs: int, steps: int, *, compiled: bool = False) -> Case:
    """Train stacked models with the environment's own forward, backward and update, and nothing else."""
    task, rule = make_task(model), OPTIMIZERS["adamw"]
    generator, base = torch.Generator().manual_seed(0), base_values(rule, None)
    layout = Layout.of(task.init(generator))
    params = torch.stack([layout.flatten(task.init(generator)) for _ in range(num_runs)])
    slots = {name: torch.zeros_like(params) for name in rule.slots}
    constant = rule.coefficients(base | {"lr": np.full((num_runs, 1), LEARNING_RATE)})
    inner, (x, y) = InnerStep(task, rule, layout, params.device), make_data(model).train

    def step(params: torch.Tensor, slots: dict, batch: tuple, hyper: dict) -> torch.Tensor:
        loss, gradient = inner.gradient(params, batch)
        rule.update(params, gradient, slots, hyper)
        return loss

    take = Compiled(step) if compiled else step

    def run() -> int:
        for t in range(steps):
            index = torch.randint(len(x), (num_runs * model.batch,))
            batch = tuple(d.index_select(0, index).unflatten(0, (num_runs, model.batch)) for d in (x, y))
            hyper = constant | rule.corrections(base, np.full((num_runs, 1), t + 1.0))
            with denormals_flushed():
                take(params, slots, batch, {name: as_float32(value) for name, value in hyper.items()})
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


def dacbench(python: str, rows: Rows) -> Rows:
    """Measure DACBench's SGD environment in another interpreter, and compare it with rows of the same model."""
    script = Path(__file__).with_name("dacbench_steps.py")
    output = subprocess.run([python, str(script)], capture_output=True, text=True, check=True).stdout
    speed = float(output.split()[-1])
    own = [float(r["environment steps/s"]) for r in rows if r["model"] == LARGE.name]
    return [{"DACBench steps/s": round(speed, 1), "environment / DACBench": round(max(own) / speed)}]


def take_turns(cases: dict[str, Case], rounds: int) -> dict[str, list[float]]:
    """Measure the inner steps per CPU second of every case once a round."""
    for case in cases.values():
        case()
    speeds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            start = time.process_time()
            steps = case()
            speeds[name].append(steps / (time.process_time() - start))
    return speeds


def ratio(speeds: dict[str, list[float]], name: str, reference: str) -> float:
    """Return how many times as fast `name` is as `reference`."""
    return median(a / b for a, b in zip(speeds[name], speeds[reference], strict=True))


def compare(model: Model, num_runs: Iterable[int], rounds: int, kinds: tuple[bool, ...]) -> Rows:
    """Compare the environment with the bare loop and with the stacked loop, eager and compiled."""
    rows: Rows = []
    for n in num_runs:
        cases = {"bare": bare_loop(model, 400)}
        for kind in kinds:
            cases |= {
                f"stacked {kind}": stacked_loop(model, n, EPISODE, compiled=kind),
                f"env {kind}": environment(model, n, compiled=kind),
            }
        speeds = take_turns(cases, rounds)
        rows += [row(model, n, kind, speeds) for kind in kinds]
    return rows


def row(model: Model, num_runs: int, compiled: bool, speeds: dict[str, list[float]]) -> dict[str, float | str]:
    """Summarise one comparison."""
    env, stacked = f"env {compiled}", f"stacked {compiled}"
    return {
        "model": model.name,
        "runs": num_runs,
        "mode": "compile=True" if compiled else "eager",
        "bare steps/s": round(median(speeds["bare"])),
        "stacked steps/s": round(median(speeds[stacked])),
        "environment steps/s": round(median(speeds[env])),
        "environment / bare": round(ratio(speeds, env, "bare"), 2),
        "cost over stacked": f"{ratio(speeds, stacked, env) - 1:.0%}",
    }


def scaling(models: dict[str, tuple[Model, int]], rounds: int) -> Rows:
    """Measure the CPU time of an inner step of one run, for models and numbers of runs by name."""
    speeds = take_turns({name: environment(model, n) for name, (model, n) in models.items()}, rounds)
    return [
        {
            "case": name,
            "us per run and inner step": round(1e6 / median(speeds[name]), 1),
            "us per group": round(1e6 / median(speeds[name]) / (len(model.hidden) + 1), 1),
        }
        for name, (model, _) in models.items()
    ]


def markdown(rows: Rows) -> str:
    """Lay rows out as a table."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(r[name]) for name in head] for r in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def measure(quick: bool) -> Iterable[tuple[str, Rows]]:
    """Measure one table after the other."""
    rounds = 3
    if quick:
        yield "speed", [*compare(LARGE, (8,), rounds, (False,)), *compare(SMALL, (64,), rounds, (False,))]
        return
    yield "speed", [*compare(LARGE, (8, 16, 64), rounds, (False,)), *compare(SMALL, (64, 256), rounds, (False, True))]
    yield "scaling with runs", scaling({f"{n} runs": (SMALL, n) for n in (1, 4, 16, 64, 256, 1024)}, rounds)
    deep = {g: Model(32, (32,) * (g - 1), 10, 32, 2_000) for g in (1, 3, 10, 30, 100)}
    yield "scaling with groups, 16 runs", scaling({f"{g} groups": (model, 16) for g, model in deep.items()}, rounds)


def main() -> None:
    """Measure, print each table when it is there, and write the file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rows in under half a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables to FILE as well")
    parser.add_argument("--dacbench-python", metavar="PATH", help="a Python that has DACBench 0.5.6")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tables: dict[str, Rows] = {}
    for title, rows in measure(arguments.quick):
        tables[title] = rows
        print(f"\n### {title}\n\n{markdown(rows)}", flush=True)
    if arguments.dacbench_python:
        rows = dacbench(arguments.dacbench_python, tables["speed"])
        print(f"\n### DACBench, batch mode, {LARGE.name}\n\n{markdown(rows)}")
        tables["DACBench"] = rows
    if arguments.json:
        arguments.json.write_text(json.dumps(tables, indent=2) + "\n")


if __name__ == "__main__":
    main()
