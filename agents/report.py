"""What a trained controller is worth: a table and a picture over base learning rates."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from optenv.benchmark.compare import REFERENCE, Method, Row, compare, geometric_mean, ratios
from optenv.benchmark.run import constant, warmup_cosine
from optenv.benchmark.suites import Case, Suite
from optenv.control.controller import Controller

SCHEDULES: dict[str, Method] = {"constant": constant, "cosine": warmup_cosine}


def evaluate(controller: Controller, suite: Suite, *, workers: int = 2, progress: bool = True) -> list[Row]:
    """Run the controller, constant and cosine on every case, beside the tuned reference.

    Args:
      controller: what is judged.
      suite: cases, base rates and seeds.
      workers: processes.
      progress: whether to show a progress bar.
    """
    methods = {"controller": controller, **SCHEDULES}
    # The slowest cases first, so that no worker is left with one at the end.
    cases = sorted(suite.cases, key=lambda case: (not case.task.startswith("char"), -case.total))
    jobs = Parallel(n_jobs=workers, return_as="generator")(delayed(_compare)(case, methods, suite) for case in cases)
    return [row for rows in tqdm(jobs, total=len(cases), desc="evaluate", disable=not progress) for row in rows]


def _compare(case: Case, methods: dict[str, Method], suite: Suite) -> list[Row]:
    import torch

    torch.set_num_threads(1)
    return compare(case, methods, suite)


def format_table(rows: Sequence[Row], method: str = "controller") -> str:
    """Return final loss over the tuned reference's, by task and base rate, as Markdown."""
    by_task = ratios(list(rows), method)
    rates = sorted({rate for values in by_task.values() for rate in values})
    lines = ["| task | " + " | ".join(f"{rate:.0e}" for rate in rates) + " |", "|" + " --- |" * (len(rates) + 1)]
    for task, values in sorted(by_task.items()):
        lines.append(f"| {task} | " + " | ".join(f"{values[rate]:.2f}" for rate in rates) + " |")
    columns = [geometric_mean(np.array([values[rate] for values in by_task.values()])) for rate in rates]
    lines.append("| **geometric mean** | " + " | ".join(f"**{value:.2f}**" for value in columns) + " |")
    return "\n".join(lines)


def summary(rows: Sequence[Row], method: str) -> float:
    """Return the geometric mean of final loss over the tuned reference's, over tasks and base rates."""
    by_task = ratios(list(rows), method)
    return geometric_mean(np.array([value for values in by_task.values() for value in values.values()]))


def write_report(rows: Sequence[Row], folder: Path) -> str:
    """Write `evaluation.csv`, `evaluation.md` and `evaluation.png`, and return the table."""
    with (folder / "evaluation.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["task", "method", "rate", "seed", "loss"])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    lines = [f"- {method}: {summary(rows, method):.3g}" for method in ("controller", *SCHEDULES)]
    text = (
        "Final validation loss over that of AdamW with warm-up and cosine, its rate tuned for each task\n"
        "(1.00 = equal to the tuned optimizer), by base learning rate; geometric mean over seeds:\n\n"
        f"{format_table(rows)}\n\nGeometric mean over tasks and base rates:\n\n" + "\n".join(lines) + "\n"
    )
    (folder / "evaluation.md").write_text(text)
    try:
        _draw(rows, folder / "evaluation.png")
    except ImportError as error:  # the numbers are worth having without the picture
        text += f"\nNo picture was drawn: {error}\n"
    return text


def _draw(rows: Sequence[Row], path: Path) -> None:
    from optenv.figures import rate_figure

    rates = sorted({row.rate for row in rows if row.method != REFERENCE})
    curves: dict[str, dict[str, np.ndarray]] = {}
    references = {}
    for task in sorted({row.task for row in rows}):
        losses = {
            m: [[r.loss for r in rows if (r.task, r.method, r.rate) == (task, m, x)] for x in rates]
            for m in ("controller", *SCHEDULES)
        }
        curves[task] = {m: np.array([np.exp(np.mean(np.log(v))) for v in values]) for m, values in losses.items()}
        references[task] = float(
            np.exp(np.mean(np.log([r.loss for r in rows if r.task == task and r.method == REFERENCE])))
        )
    rate_figure(rates, curves, references=references).savefig(path, dpi=110)
