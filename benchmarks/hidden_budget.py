"""Controllers that are not told the budget against schedule-free AdamW at its best rate for each task.

    python benchmarks/hidden_budget.py [--suite NAME] [--controllers NAME ...] [--seeds N]

Schedule-free AdamW (Defazio et al. 2024) needs no budget either, but for its warm-up over a twentieth, which it is
given. Its rate is the best of nine for each task by the score, on a seed of its own. Scores are test losses: of the
weights with the least validation loss among forty looks, or under a controller as many as there are control steps of
ten; and of the final weights, and of a controller's average of them, both over the reference's final. A ratio is a
geometric mean over seeds, the last row one over tasks.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from no_budget import without_budget
from tqdm import tqdm

import agents
from optenv import tasks
from optenv.benchmark.losses import log_loss
from optenv.benchmark.rivals import RIVALS, Rival, run_rival
from optenv.benchmark.run import SAMPLES, Outcome, run_controller
from optenv.benchmark.scores import SCORES
from optenv.benchmark.suites import SUITES, Case
from optenv.inner.trainer import make_trainer

Array = np.ndarray
RATES = np.logspace(-3.5, 0.5, 9)
TUNING_SEED = 10_001
BASE_RATE = 1e-3  # the first scale takes its place
COLUMNS = {"best": "best", "final": "final", "average": "final"}  # what is delivered, and by the reference


def at_rate(rate: float) -> Rival:
    """Return schedule-free AdamW at a rate."""
    own = RIVALS["schedule_free"]

    def make(module: Any, groups: list[Any], total: int) -> Any:
        optimizer = own.make(module, groups, total)
        for group in optimizer.param_groups:
            group["lr"] = rate
        return optimizer

    return replace(own, make=make)


def reference(task: tasks.Task, seeds: Array, total: int) -> dict[str, Array]:
    """Return the log of the test losses at the best rate by every score, [seeds] each."""
    tuned = [run_rival(task, at_rate(rate), np.array([TUNING_SEED]), total, samples=SAMPLES) for rate in RATES]
    found: dict[str, Array] = {}
    for name, score in SCORES.items():
        by_rate = [float(outcome.validation(score)[0]) for outcome in tuned]
        best = float(RATES[int(np.argmin(np.where(np.isfinite(by_rate), by_rate, np.inf)))])
        outcome = run_rival(task, at_rate(best), seeds, total, samples=SAMPLES, test=True)
        found[name] = log_test(outcome, name, task)
    return found


def log_test(outcome: Outcome, score: str, task: tasks.Task) -> Array:
    """Return the log of the test losses by a score, [seeds]."""
    return log_loss(outcome.test[score], outcome.test["first"], task.lower_bound)


def ratios(case: Case, names: list[str], seeds: Array) -> dict[tuple[str, str], float]:
    """Return every controller's ratio by every score on one task."""
    task = tasks.get(case.task)
    assert isinstance(task, tasks.Task)
    bar, trainer = reference(task, seeds, case.total), make_trainer(task, "adamw")
    found = {}
    for name in names:
        rates, deployed = np.full(len(seeds), BASE_RATE), without_budget(agents.load(name), case.total)
        outcome = run_controller(
            trainer, deployed, seeds, rates, case.total, samples=SAMPLES, test=True, reveal_budget=False
        )
        for column, score in COLUMNS.items():
            found[name, column] = float(np.exp((log_test(outcome, column, task) - bar[score]).mean()))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="held_out", help="tasks and budgets (default: %(default)s)")
    parser.add_argument("--controllers", nargs="+", default=["auto", "ppo"], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3, help="(default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = SUITES[options.suite].cases
    columns = [(name, score) for score in COLUMNS for name in options.controllers]
    print(
        "| task |",
        " | ".join(f"{name}, {score}" for name, score in columns),
        "|\n" + "| --- " * (1 + len(columns)) + "|",
    )
    rows = []
    for case in tqdm(cases, unit="task", disable=None):
        found = ratios(case, options.controllers, np.arange(options.seeds))
        rows.append([found[column] for column in columns])
        tqdm.write(f"| {case.task} | " + " | ".join(f"{value:.2f}" for value in rows[-1]) + " |")
    mean, worst = np.exp(np.log(rows).mean(axis=0)), np.max(rows, axis=0)
    print("| geometric mean, worst |", " | ".join(f"{m:.2f}, {w:.2f}" for m, w in zip(mean, worst, strict=True)), "|")


if __name__ == "__main__":
    main()
