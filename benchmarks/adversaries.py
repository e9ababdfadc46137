"""What a guard makes of controllers that do harm: adversaries on top of AdamW, against AdamW alone.

    python benchmarks/adversaries.py [--quick] [--tasks TASK ...] [--json FILE]

Every figure is a final validation loss over that of the base optimizer with the same seed, geometric mean over the
seeds; the base is AdamW at a constant rate, the best of three on seeds of its own. The tasks are held out: the guard's
constants were chosen on members of the synthetic families.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from optenv import tasks
from optenv.benchmark.run import constant, run_controller, run_schedule
from optenv.control.controller import Controller, Interface
from optenv.inner.trainer import make_trainer

TASKS = (
    "breast_cancer",
    "wine",
    "diabetes",
    "friedman",
    "digits_mlp",
    "digits_autoencoder",
    "teacher_student_wide",
    "matrix_completion:0",
)
RATES = (1e-3, 3e-3, 1e-2)
SEEDS, TUNING_SEEDS = np.arange(20, 25), np.arange(90, 92)
STEPS = 300
LEAST = 1e-12  # a loss of 0 has no logarithm


class Adversary(Controller):
    """Turns the default knobs without looking: at random, always up, always down, or up and down in turn."""

    def __init__(self, kind: str, control: str):
        """Choose what it does, a key of `KINDS`, and under which control."""
        self.interface, self._kind = Interface(control=control), kind

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin anew; every run draws numbers of its own."""
        self._generators = [np.random.default_rng(run) for run in range(num_runs)]
        self._count = 0

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return the action, [N, G, knobs]."""
        self._count += 1
        shape = (observation.shape[1], len(self.interface.knobs))
        return np.stack([np.broadcast_to(KINDS[self._kind](g, self._count, shape), shape) for g in self._generators])


KINDS: dict[str, Any] = {
    "random": lambda generator, count, shape: generator.uniform(-1.0, 1.0, shape),
    "maximal": lambda generator, count, shape: 1.0,
    "minimal": lambda generator, count, shape: -1.0,
    "sign-flipping": lambda generator, count, shape: -1.0 if count % 2 else 1.0,
}


def measure(task: str, seeds: np.ndarray, steps: int) -> list[dict[str, Any]]:
    """Run every adversary with and without a guard on one task."""
    trainer = make_trainer(tasks.get(task))
    tried = [_mean(run_schedule(trainer, constant, TUNING_SEEDS, np.full(2, rate), steps).loss) for rate in RATES]
    rates = np.full(len(seeds), RATES[int(np.argmin(tried))])
    base, rows = run_schedule(trainer, constant, seeds, rates, steps).loss, []
    for control in ("absolute", "relative"):
        for kind in KINDS:
            for guarded in (False, True):
                adversary = Adversary(kind, control)
                loss = run_controller(trainer, adversary, seeds, rates, steps, guard=guarded).loss
                broken = np.isfinite(base) & ~np.isfinite(loss)
                row = {"task": task, "rate": float(rates[0]), "kind": kind, "control": control, "guarded": guarded}
                rows.append(row | {"ratio": _mean(loss) / _mean(base), "lost": int(broken.sum())})
    return rows


def _mean(losses: np.ndarray) -> float:
    return float(np.exp(np.log(np.maximum(losses, LEAST)).mean()))


def table(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table: a row an adversary, guarded and not, a column a task."""
    names = list(dict.fromkeys(row["task"] for row in rows))
    lines = ["| adversary | " + " | ".join(names) + " | mean | lost |", "| --- " * (len(names) + 3) + "|"]
    for key in dict.fromkeys((row["control"], row["kind"], row["guarded"]) for row in rows):
        own = [row for row in rows if (row["control"], row["kind"], row["guarded"]) == key]
        ratios = [row["ratio"] for row in own]
        cells = [f"{ratio:.2f}" for ratio in (*ratios, _mean(np.array(ratios)))]
        label = f"{key[1]}, {key[0]}, {'guarded' if key[2] else 'alone'}"
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {sum(row['lost'] for row in own)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small task, one seed, 80 steps")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS, metavar="TASK", help="some of the eight")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen, seeds, steps = (TASKS[:1], SEEDS[:1], 80) if arguments.quick else (arguments.tasks, SEEDS, STEPS)
    rows: list[dict[str, Any]] = []
    for task in chosen:
        rows += measure(task, seeds, steps)
        print(task, f"base rate {rows[-1]['rate']:g}", flush=True)
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
