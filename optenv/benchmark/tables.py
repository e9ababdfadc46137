"""Tables of a benchmark: for the terminal and as Markdown, and every run as CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from optenv.benchmark.results import Results, Row
from optenv.benchmark.statistics import Interval, by_task, geometric_mean

HEADER = ("method", "mean", "95 %", "IQM", "worst task", "spread", "profile", "beats tuned", "reach tuned", "steps",
          "lost", "step time", "memory", "set-up runs")  # fmt: skip
LEGEND = """\
- mean, IQM: final validation loss over the tuned reference's on the same seed, geometric over tasks, base rates and
  seeds, and over the middle half of the runs; below 1 is better than tuned. 95 %: stratified bootstrap over seeds.
- worst task: the greatest geometric mean of a task. spread: worst over best base rate, of the task where that is
  greatest; empty for methods with a rate of their own.
- profile: mean share of runs whose ratio is below a threshold, thresholds from 0.5 to 4. beats tuned: chance of a
  lower final loss than the tuned run of the same task and seed.
- reach tuned: share of runs that reach the tuned run's final loss. steps: share of the budget until then, median.
- lost: runs that diverged; each counts as 1000 times its first loss. Losses below 2^-23 of the first count as that.
- step time, memory: of the optimizer alone, over AdamW's, on one perceptron. set-up runs: ordinary runs that tuning
  takes for each task, or that meta-training took, once, in equal processor time."""


def format_rows(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the cells of the main table, a tuple for each method."""
    return [
        (
            row.method, _ratio(row.mean.value), _between(row.mean), _ratio(row.interquartile.value),
            f"{_ratio(row.worst.value)} {row.worst_task}", "" if np.isnan(row.spread) else _ratio(row.spread),
            f"{row.area:.2f}", f"{row.improvement:.0%}", f"{row.reached:.0%}",
            f"{row.steps:.2f}" if np.isfinite(row.steps) else "–", str(row.diverged), f"{row.step_time:.2f}",
            f"{row.memory:.2f}", f"{row.setup:,.0f}",
        )
        for row in rows
    ]  # fmt: skip


def format_tasks(results: Results, methods: Sequence[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and cells of the ratios by task, a column for each method."""
    values = {name: by_task(results.runs[name].log_ratios) for name in methods}
    rows = [(task, *(_ratio(values[name][t]) for name in methods)) for t, task in enumerate(results.tasks)]
    return ("task", *methods), rows


def format_rates(results: Results, methods: Sequence[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and cells of the ratios by base rate, a row for each method that has none of its own."""
    rows = []
    for name in methods:
        logs = results.runs[name].log_ratios
        if logs.shape[1] == len(results.suite.rates) > 1:
            rows.append((name, *(_ratio(float(geometric_mean(logs[:, r : r + 1]))) for r in range(logs.shape[1]))))
    return ("method", *(f"{rate:.0e}" for rate in results.suite.rates)), rows


def format_suites(summaries: Mapping[str, Sequence[Row]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and cells of the means over suites, a row for each method that is in more than one."""
    cells = {(row.method, suite): row for suite, rows in summaries.items() for row in rows}
    names = list(dict.fromkeys(row.method for rows in summaries.values() for row in rows))
    several = [name for name in names if sum((name, suite) in cells for suite in summaries) > 1]
    rows = [(name, *(_mean(cells.get((name, suite))) for suite in summaries)) for name in several]
    return ("method", *summaries), rows


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its columns padded so that a terminal shows them straight."""
    widths = [max(len(line[k]) for line in (header, *rows)) for k in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in lines
    )


def write_runs(results: Sequence[Results], path: Path) -> None:
    """Write every run of every suite as a line of CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["suite", "task", "optimizer", "budget", "method", "rate", "seed", "loss", "first_loss",
                         "ratio", "diverged", "reached_tuned"])  # fmt: skip
        for result in results:
            for name, runs in result.runs.items():
                for t, r, s in np.ndindex(*runs.loss.shape):
                    case, at = result.suite.cases[t], (t, r, s)
                    writer.writerow([
                        result.suite.name, case.task, case.optimizer, case.total, name, f"{runs.rates[t, r]:.6g}", s,
                        f"{runs.loss[at]:.6g}", f"{runs.first[at]:.6g}", f"{np.exp(runs.log_ratios[at]):.6g}",
                        int(runs.diverged[at]), f"{runs.reached[at]:.4g}",
                    ])  # fmt: skip


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 99.5 else f"{value:.0f}"


def _between(interval: Interval) -> str:
    return f"{_ratio(interval.low)} to {_ratio(interval.high)}"


def _mean(row: Row | None) -> str:
    return "" if row is None else f"{_ratio(row.mean.value)} ({_between(row.mean)}), worst {_ratio(row.worst.value)}"
