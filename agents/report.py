"""What controllers are worth: runs on a suite, and tables and pictures of them over base learning rates."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from optenv.benchmark.compare import REFERENCE, Method, Row, geometric_mean, ratios, run_case, run_reference
from optenv.benchmark.run import constant, warmup_cosine
from optenv.benchmark.suites import Suite
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
    return run_suite({"controller": controller, **SCHEDULES}, suite, workers=workers, progress=progress)


def run_suite(
    methods: Mapping[str, Method], suite: Suite, *, tuned: bool = True, workers: int = 2, progress: bool = True
) -> list[Row]:
    """Run every method on every case, at every base rate and seed, paired.

    Args:
      methods: what is compared, by name.
      suite: cases, base rates and seeds.
      tuned: whether to run the tuned reference too.
      workers: processes.
      progress: whether to show a progress bar, which counts methods and cases.
    """
    # The slowest cases first, so that no worker is left with one at the end.
    cases = sorted(suite.cases, key=lambda case: (not case.task.startswith("char"), -case.total))
    calls = [(run_reference, case, suite) for case in cases if tuned]
    calls += [(run_case, case, name, method, suite) for case in cases for name, method in methods.items()]  # type: ignore
    jobs = Parallel(n_jobs=workers, return_as="generator")(delayed(_single_threaded)(*call) for call in calls)
    return [row for rows in tqdm(jobs, total=len(calls), desc="evaluate", disable=not progress) for row in rows]


def _single_threaded(run: Callable[..., list[Row]], *arguments: object) -> list[Row]:
    import torch

    torch.set_num_threads(1)
    return run(*arguments)


def method_names(rows: Sequence[Row]) -> list[str]:
    """List the methods that were run, the tuned reference left out, in their order."""
    return list(dict.fromkeys(row.method for row in rows if row.method != REFERENCE))


def format_table(rows: Sequence[Row], method: str = "controller") -> str:
    """Return final loss over the tuned reference's, by task and base rate, as Markdown."""
    by_task = ratios(rows, method)
    rates = sorted({rate for values in by_task.values() for rate in values})
    lines = [_line("task", *(f"{rate:.0e}" for rate in rates)), "|" + " --- |" * (len(rates) + 1)]
    for task, values in sorted(by_task.items()):
        lines.append(_line(task, *(_cell(values[rate]) for rate in rates)))
    columns = [geometric_mean(np.array([values[rate] for values in by_task.values()])) for rate in rates]
    return "\n".join([*lines, _line("**geometric mean**", *(f"**{_cell(value)}**" for value in columns))])


def format_comparison(rows: Sequence[Row], reference: str = REFERENCE) -> str:
    """Return final loss over the reference's, by task and base rate, with a column for each method, as Markdown."""
    by_method = {method: ratios(rows, method, reference) for method in method_names(rows)}
    places = sorted({(row.task, row.rate) for row in rows if row.method != REFERENCE})
    lines = [_line("task", "base rate", *by_method), "| --- | --- |" + " --- |" * len(by_method)]
    for task, rate in places:
        lines.append(_line(task, f"{rate:.0e}", *(_cell(values[task][rate]) for values in by_method.values())))
    means = (f"**{_cell(summary(rows, method, reference))}**" for method in by_method)
    return "\n".join([*lines, _line("**geometric mean**", "", *means)])


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(ratio: float) -> str:
    return "–" if np.isnan(ratio) else "diverged" if np.isinf(ratio) else f"{ratio:.2f}"


def summary(rows: Sequence[Row], method: str, reference: str = REFERENCE) -> float:
    """Return the geometric mean of final loss over the reference's, over tasks and base rates."""
    by_task = ratios(rows, method, reference)
    return geometric_mean(np.array([value for values in by_task.values() for value in values.values()]))


def write_report(rows: Sequence[Row], folder: Path, *, optimizer: str = "AdamW") -> str:
    """Write `evaluation.csv`, `evaluation.md` and `evaluation.png`, and return the table.

    Args:
      rows: of `evaluate`.
      folder: where they go.
      optimizer: the base optimizer, as it is called in text.
    """
    lines = [f"- {method}: {summary(rows, method):.3g}" for method in method_names(rows)]
    text = (
        f"Final validation loss over that of {optimizer} with warm-up and cosine, its rate tuned for each task\n"
        "(1.00 = equal to the tuned optimizer), by base learning rate; geometric mean over seeds:\n\n"
        f"{format_table(rows)}\n\nGeometric mean over tasks and base rates:\n\n" + "\n".join(lines) + "\n"
    )
    return _write(rows, folder / "evaluation", text)


def write_comparison(rows: Sequence[Row], folder: Path, reference: str = REFERENCE) -> str:
    """Write `comparison.csv`, `comparison.md` and `comparison.png`, and return the table."""
    tuned = "the base optimizer with warm-up and cosine, its rate tuned for each task"
    other = tuned if reference == REFERENCE else f"{reference} at the same base rate"
    text = (
        f"Final validation loss over that of {other}\n"
        f"(below 1.00 is better), geometric mean over {len({row.seed for row in rows})} paired seeds; "
        f"– where only the reference diverged:\n\n{format_comparison(rows, reference)}\n"
    )
    return _write(rows, folder / "comparison", text)


def _write(rows: Sequence[Row], path: Path, text: str) -> str:
    """Write the rows, the text and a picture beside each other, and return the text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=[field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    path.with_suffix(".md").write_text(text)
    try:
        _draw(rows, path.with_suffix(".png"))
    except ImportError as error:  # the numbers are worth having without the picture
        text += f"\nNo picture was drawn: {error}\n"
    return text


def _draw(rows: Sequence[Row], path: Path) -> None:
    from optenv.figures import rate_figure

    losses: dict[tuple[str, str], dict[float, list[float]]] = {}
    for row in rows:
        losses.setdefault((row.task, row.method), {}).setdefault(row.rate, []).append(max(row.loss, 1e-30))
    means = {
        key: [geometric_mean(np.array(by_rate[rate])) for rate in sorted(by_rate)] for key, by_rate in losses.items()
    }
    rates = sorted({row.rate for row in rows if row.method != REFERENCE})
    tasks = sorted({row.task for row in rows})
    curves = {task: {method: means[task, method] for method in method_names(rows)} for task in tasks}
    references = {task: means[task, REFERENCE][0] for task in tasks if (task, REFERENCE) in means}
    rate_figure(rates, curves, references=references).savefig(path, dpi=110)
