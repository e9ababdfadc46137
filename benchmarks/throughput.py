"""How fast the environment trains: inner steps per CPU second, against what one would write without it.

    python benchmarks/throughput.py [--quick] [--only TABLE] [--json FILE] [--record RELEASE]
        [--dacbench-python PATH] [--jax-python PATH]

- speed: the vector environment over the bare loop, and what it costs over stacked steps alone;
- alone: `gymnasium.make("OptControl-v0", task=...)`, whole episodes of zero actions, over a loop of fused AdamW;
- architectures: the stacked steps of 32 runs of a task, without an environment, over the same loop;
- scaling: with the number of runs, and of groups;
- DACBench, XLA: where a Python is named that has them, DACBench's SGD environment, and the same training by jax.

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

import gymnasium
import numpy as np
import torch
from history import record
from torch import nn
from torch.nn import functional as F

from optenv import tasks
from optenv.env import OptControlVectorEnv
from optenv.inner.compiled import Compiled
from optenv.inner.layout import Layout
from optenv.inner.optimizers import OPTIMIZERS, base_values
from optenv.inner.step import InnerStep
from optenv.inner.trainer import denormals_flushed
from optenv.tasks import Data, Task
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
    constant = rule.coefficients(base | {"lr": np.full((num_runs, 1), LEARNING_RATE)})
    inner = InnerStep(task, rule, layout, params.device)
    leaves = None if compiled else inner.leaves(params)

    def step(params: torch.Tensor, slots: dict, batch: tuple, hyper: dict) -> torch.Tensor:
        loss, gradient = inner.gradient(params, batch, leaves)
        rule.update(params, gradient, slots, hyper)
        return loss

    take = Compiled(step) if compiled else step

    def run() -> int:
        for t in range(steps):
            index = torch.randint(len(data[0]), (num_runs * task.batch_size,))
            batch = tuple(d.index_select(0, index).unflatten(0, (num_runs, task.batch_size)) for d in data)
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


def dacbench(python: str, env: Case) -> Rows:
    """Measure DACBench's SGD environment in another interpreter, and that of the same model before and after it."""
    script = Path(__file__).with_name("dacbench_steps.py")
    own = take_turns({"env": env}, 1)["env"]
    output = subprocess.run([python, str(script)], capture_output=True, text=True, check=True).stdout
    speed = float(output.split()[-1])
    own += take_turns({"env": env}, 1)["env"]
    return [{"DACBench steps/s": round(speed, 1), "environment / DACBench": round(median(own) / speed)}]


def xla(python: str) -> Rows:
    """Measure the same training by jax in another interpreter, and ours before and after it."""
    rows: Rows = []
    for model, num_runs, compiled in ((SMALL, 64, True), (LARGE, 64, False)):
        cases = {
            "stacked": stacked_loop(make_task(model), num_runs, EPISODE, compiled=compiled),
            "environment": environment(model, num_runs, compiled=compiled),
        }
        before = take_turns(cases, 1)
        sizes = (model.inputs, *model.hidden, model.outputs, model.batch, model.examples, num_runs)
        script = [python, str(Path(__file__).with_name("xla_steps.py")), *map(str, sizes)]
        speed = float(subprocess.run(script, capture_output=True, text=True, check=True).stdout)
        after = take_turns(cases, 1)
        own = {f"{name} / XLA": round(median(before[name] + after[name]) / speed, 2) for name in cases}
        mode = "compile=True" if compiled else "eager"
        rows.append({"model": model.name, "runs": num_runs, "mode": mode, "XLA steps/s": round(speed), **own})
    return rows


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
                f"stacked {kind}": stacked_loop(make_task(model), n, EPISODE, compiled=kind),
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


def alone(names: Iterable[str], rounds: int) -> Rows:
    """Compare the environment of one run with the loop that trains its task."""
    rows: Rows = []
    for name in names:
        speeds = take_turns({"loop": task_loop(tasks.get(name), EPISODE), "env": made(name)}, rounds)
        steps = {f"{case} steps/s": round(median(speeds[case])) for case in speeds}
        rows.append({"task": name, **steps, "environment / loop": round(ratio(speeds, "env", "loop"), 2)})
    return rows


def architectures(names: Iterable[str], num_runs: int, rounds: int) -> Rows:
    """Compare stacked steps of several runs with the loop that trains one."""
    rows: Rows = []
    for name in names:
        task = tasks.get(name)
        speeds = take_turns({"loop": task_loop(task, 50), "stacked": stacked_loop(task, num_runs, 10)}, rounds)
        steps = {f"{case} steps/s": round(median(speeds[case])) for case in speeds}
        rows.append(
            {"task": name, "runs": num_runs, **steps, "stacked / loop": round(ratio(speeds, "stacked", "loop"), 2)}
        )
    return rows


def markdown(rows: Rows) -> str:
    """Lay rows out as a table."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(r[name]) for name in head] for r in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


ALONE = ("digits_mlp", "digits_conv", "char_transformer")
ARCHITECTURES = ("digits_mlp", "digits_conv", "char_gru", "char_transformer", "digits_mlp_x4")
DEEP = {g: Model(32, (32,) * (g - 1), 10, 32, 2_000) for g in (1, 3, 10, 30, 100)}
QUICK: dict[str, Callable[[], Rows]] = {
    "speed": lambda: [*compare(LARGE, (8,), 3, (False,)), *compare(SMALL, (64,), 3, (False,))],
    "alone": lambda: alone(ALONE[:1], 3),
}
TABLES: dict[str, Callable[[], Rows]] = {
    "speed": lambda: [*compare(LARGE, (8, 16, 64), 3, (False,)), *compare(SMALL, (64, 256), 3, (False, True))],
    "alone": lambda: alone(ALONE, 9),
    "architectures": lambda: architectures(ARCHITECTURES, 32, 5),
    "scaling with runs": lambda: scaling({f"{n} runs": (SMALL, n) for n in (1, 4, 16, 64, 256, 1024)}, 3),
    "scaling with groups, 16 runs": lambda: scaling({f"{g} groups": (model, 16) for g, model in DEEP.items()}, 3),
}


def main() -> None:
    """Measure, print each table when it is there, and write the files that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three rows in under half a minute")
    parser.add_argument("--only", choices=TABLES, metavar="TABLE", help=f"one of {', '.join(TABLES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables to FILE as well")
    parser.add_argument("--record", metavar="RELEASE", help="add the ratios to benchmarks/history.csv")
    parser.add_argument("--dacbench-python", metavar="PATH", help="a Python that has DACBench 0.5.6")
    parser.add_argument("--jax-python", metavar="PATH", help="a Python that has jax")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = QUICK if arguments.quick else TABLES
    known = TABLES | chosen
    tables: dict[str, Rows] = {}
    for title in [arguments.only] if arguments.only else chosen:
        tables[title] = known[title]()
        print(f"\n### {title}\n\n{markdown(tables[title])}", flush=True)
    if arguments.dacbench_python:
        tables["DACBench"] = dacbench(arguments.dacbench_python, environment(LARGE, 64))
        print(f"\n### DACBench, batch mode, {LARGE.name}\n\n{markdown(tables['DACBench'])}")
    if arguments.jax_python:
        tables["XLA"] = xla(arguments.jax_python)
        print(f"\n### XLA, the same training by jax, without an environment\n\n{markdown(tables['XLA'])}")
    if arguments.json:
        arguments.json.write_text(json.dumps(tables, indent=2) + "\n")
    if arguments.record:
        record(arguments.record, "throughput", tables)


if __name__ == "__main__":
    main()
