"""What OptBrain is worth and what it costs: final losses on held-out tasks, size of its state, time in its own code.

    python benchmarks/optbrain.py [--only loss size time] [--tasks NAME ...] [--unknown-budget] [--validation]

Losses: for every task the rate of the base optimizer, Adam at a constant rate, is tuned over 15 log-uniform
rates on seeds of its own; then five fresh seeds run at a tenth of that rate, at it, and at ten times it,
without the brain and with one that begins neutral and learns within the run, under the guard: the decisions of
`OptBrain(base, total_steps=...)`, as tests/agents/test_drop_ins.py holds. Equal seeds have equal weights and
minibatches. With `--validation` both sides, and the tuning, deliver the weights of the least validation loss among
forty looks, under the brain their average too, and test losses are compared: what `keep_best=True` gives. Time is CPU
time, of one run on one thread.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import gmean
from torch import nn

from agents import OptBrain
from agents.policies.optbrain.controller import OptBrainController
from optenv import tasks
from optenv.benchmark.run import SAMPLES, constant, run_controller, run_schedule
from optenv.benchmark.tuning import tune
from optenv.inner.trainer import make_trainer

TASKS = (
    "digits_mlp",
    "digits_autoencoder",
    "breast_cancer",
    "wine",
    "diabetes",
    "friedman",
    "teacher_student_wide",
    "char_gru",
)
FACTORS = np.array([0.1, 1.0, 10.0])
NUM_SEEDS = 5
TOTAL = 1000
LEAST_GAP = np.log(1.01)
GROUPS = 47
Array = np.ndarray
Row = dict[str, Any]


def measure_task(name: str, *, reveal_budget: bool = True, validation: bool = False) -> Row:
    """Return a task's losses over those of the tuned rate, geometric means over the seeds, by base rate."""
    task = tasks.get(name)
    assert isinstance(task, tasks.Task)
    trainer = make_trainer(task, "adam")
    rate = tune(trainer, constant, TOTAL)["best" if validation else "final"]
    seeds, rates = np.tile(np.arange(NUM_SEEDS), len(FACTORS)), rate * np.repeat(FACTORS, NUM_SEEDS)
    looks: dict[str, Any] = {"samples": SAMPLES, "test": True} if validation else {}
    outcomes = (
        run_schedule(trainer, constant, seeds, rates, TOTAL, **looks),
        run_controller(trainer, OptBrainController(), seeds, rates, TOTAL, reveal_budget=reveal_budget, **looks),
    )
    alone, brain = (_by_rate(o.test["best"] if validation else o.loss) for o in outcomes)
    return {"task": name, "rate": rate, "alone": alone / alone[1], "brain": brain / alone[1]}


def _by_rate(loss: Array) -> Array:
    """Return geometric means over the seeds, [3]; a diverged run counts as a loss of 1e6."""
    loss = np.clip(loss, 1e-30, 1e6).reshape(len(FACTORS), NUM_SEEDS)
    return np.array([gmean(losses) for losses in loss])


def gap_closed(row: Row) -> Array:
    """Return the share of the log gap to the tuned rate that the brain closes, [low, high]; NaN below a gap of 1 %."""
    gap = np.log(row["alone"][[0, 2]])
    closed = gap - np.log(row["brain"][[0, 2]])
    return np.where(gap > LEAST_GAP, closed / np.maximum(gap, LEAST_GAP), np.nan)


def report_losses(names: list[str], **options: bool) -> list[Row]:
    """Measure and print the table of losses."""
    print(
        "| task | tuned rate | alone at 0.1x | with brain | alone at 10x | with brain | brain at 1x | closed at 0.1x"
        " | closed at 10x |\n" + "| --- " * 9 + "|"
    )
    rows = []
    for name in names:
        row = measure_task(name, **options)
        rows.append(row)
        alone, brain, closed = row["alone"], row["brain"], gap_closed(row)
        cells = [f"{x:.3g}" for x in (row["rate"], alone[0], brain[0], alone[2], brain[2])]
        cells += [f"{brain[1]:.3f}", *(f"{c:.2f}" for c in closed)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    tuned = np.array([row["brain"][1] for row in rows])
    closed = np.nanmedian(np.stack([gap_closed(row) for row in rows]), axis=0)
    print(f"\nbase rate tuned: geometric mean {gmean(tuned):.3f}, worst task {tuned.max():.3f}")
    print(f"log gap closed, median over tasks with one: {closed[0]:.2f} at a tenth, {closed[1]:.2f} at ten times")
    return rows


def perceptron(widths: tuple[int, ...]) -> nn.Sequential:
    """Build a perceptron with ReLU between its layers."""
    layers = [m for a, b in zip(widths[:-1], widths[1:], strict=True) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def size_of(state: Any) -> int:
    """Return the bytes of the tensors in a nested state."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    nested = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return sum(map(size_of, nested))


def measure_size() -> Row:
    """Return the bytes of the state and of the file of a brain with 47 groups, for a small and a large model."""
    found: Row = {}
    for width in (8, 256):
        layers = [nn.Linear(width, width) for _ in range(GROUPS)]
        optimizer: Any = OptBrain(torch.optim.Adam([{"params": layer.parameters()} for layer in layers], lr=1e-4))
        for _ in range(25):
            for p in (p for layer in layers for p in layer.parameters()):
                p.grad = torch.randn_like(p)
            optimizer.step(loss=1.0)
        state = optimizer.state_dict()["control"]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "brain.npz"
            optimizer.save(path)
            found[str(width)] = (size_of(state), path.stat().st_size)
    for size, (memory, file) in found.items():
        print(f"{GROUPS} groups, layers of {size} x {size}: state {memory / 1e3:.1f} kB, file {file / 1e3:.1f} kB")
    return found


class Timed:
    """A function that counts the CPU time within it."""

    def __init__(self, function: Callable[[], Any]):
        """Wrap `function`."""
        self._function, self.nanoseconds = function, 0

    def __call__(self) -> None:
        """Call it."""
        start = time.thread_time_ns()
        self._function()
        self.nanoseconds += time.thread_time_ns() - start

    def around(self, call: Callable[..., Any], **arguments: float) -> int:
        """Return the nanoseconds of `call` outside this function, which is called within it."""
        before, start = self.nanoseconds, time.thread_time_ns()
        call(**arguments)
        return time.thread_time_ns() - start - (self.nanoseconds - before)


def measure_time(widths: tuple[int, ...], batch: int, steps: int) -> Row:
    """Return the CPU time of the drop-in's own code over that of the whole training step, in a run of 1,000 steps.

    The first and the last step of a control step, which decide and sum up, cost more than those between; so it is the
    mean over a control step of the medians of its steps. What it costs to read the clock around an optimizer that does
    nothing is taken off.
    """
    torch.manual_seed(0)
    model, nothing = perceptron(widths), Timed(lambda: None)
    base = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    timed = Timed(base.step)
    base.step = timed  # type: ignore[method-assign, assignment]
    optimizer: Any = OptBrain(base, total_steps=TOTAL)
    x, y = torch.randn(batch, widths[0]), torch.randint(widths[-1], (batch,))
    own: list[int] = []
    clock: list[int] = []
    whole: list[int] = []
    for _ in range(min(steps, TOTAL)):
        start = time.thread_time_ns()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        value = loss.item()
        own.append(timed.around(optimizer.step, loss=value))
        optimizer.zero_grad()
        whole.append(time.thread_time_ns() - start)
        clock.append(nothing.around(nothing))
    every = optimizer.steps_per_action
    microseconds = (np.median(np.reshape(own, (-1, every)), axis=0) - np.median(clock)) / 1e3
    between, step = float(np.median(microseconds[1:-1])), float(np.median(whole)) / 1e3
    result = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps_per_action": every,
        "decision_microseconds": float(microseconds[[0, -1]].sum()) - 2.0 * between,
        "between_microseconds": between,
        "step_microseconds": step,
        "share": float(microseconds.mean()) / step,
    }
    print(
        f"{result['parameters']} parameters, batch {batch}: {microseconds.mean():.1f} of {step:.0f} microseconds, "
        f"{100 * result['share']:.3f} % (a decision every {every} steps of {result['decision_microseconds']:.0f} "
        f"microseconds, {between:.1f} in every step)"
    )
    return result


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=["loss", "size", "time"], choices=["loss", "size", "time"])
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), metavar="NAME")
    parser.add_argument("--unknown-budget", action="store_true", help="the brain does not observe the budget")
    parser.add_argument("--validation", action="store_true", help="both deliver the weights that validate best")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: Row = {}
    if "size" in options.only:
        found["size"] = measure_size()
    if "time" in options.only:
        found["time"] = [measure_time((32, 64, 32, 10), 32, 1000), measure_time((1024,) * 4 + (1000,), 64, 160)]
    if "loss" in options.only:
        found["loss"] = report_losses(
            options.tasks, reveal_budget=not options.unknown_budget, validation=options.validation
        )
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2, default=lambda a: np.asarray(a).tolist()) + "\n")


if __name__ == "__main__":
    main()
