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
from pathlib import Path
from statistics import median

import torch
from history import record
from training_loops import (
    EPISODE,
    LARGE,
    SMALL,
    Case,
    Model,
    bare_loop,
    environment,
    made,
    make_task,
    stacked_loop,
    task_loop,
)

from optenv import tasks

Rows = list[dict[str, float | str]]


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
    """Compare stacked steps of several runs, eager and compiled, with the loop that trains one."""
    rows: Rows = []
    for name in names:
        task = tasks.get(name)
        cases = {
            "loop": task_loop(task, 50),
            "stacked": stacked_loop(task, num_runs, 10),
            "compiled": stacked_loop(task, num_runs, 10, compiled=True),
        }
        speeds = take_turns(cases, rounds)
        steps = {f"{case} steps/s": round(median(speeds[case])) for case in speeds}
        ratios = {f"{case} / loop": round(ratio(speeds, case, "loop"), 2) for case in ("stacked", "compiled")}
        rows.append({"task": name, "runs": num_runs, **steps, **ratios})
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
