"""Tables of a benchmark: for the terminal and as Markdown, and every run as CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from optenv.benchmark.results import Results, Summary
from optenv.benchmark.statistics import ConfidenceInterval, by_task, geometric_mean

HEADER = ("method", "mean", "95 %", "IQM", "worst task", "spread", "profile", "beats ref.", "reach ref.", "steps",
          "lost", "step time", "memory", "set-up runs")  # fmt: skip
LEGEND = """\
- with validation: test loss of the weights with the least validation loss of a run, measured 40 times along it, for
  every method; methods that are tuned choose their rate by the least validation loss. without: test loss of the final
  weights; rates are chosen by the final validation loss. Where a task has no test set, its validation set stands in,
  and what was chosen by it is flattered: the fewer its examples, the more.
- reference: what test losses are divided by, on the same seed; at the same base rate, or at its only one.
- mean, IQM: the ratio, geometric over tasks, base rates and seeds, and over the middle half of the runs; below 1 is
  better than the reference. 95 %: stratified bootstrap over seeds.
- worst task: the greatest geometric mean of a task. spread: worst over best base rate, of the task where that is
  greatest; empty for methods with a rate of their own.
- profile: mean share of runs whose ratio is below a threshold, thresholds from 0.5 to 4. beats ref.: chance of a
  lower test loss than the reference's run of the same task and seed.
- reach ref.: share of runs that reach the validation loss of what it delivers. steps: share of the budget until then,
  median.
- lost: runs whose delivered weights diverged; each counts as 1000 times its first loss. Losses below 2^-23 of the first
  count as that.
- step time, memory: of the optimizer alone, over AdamW's, on one perceptron; empty where not measured. set-up runs:
  ordinary runs that tuning takes for each task, or that meta-training took, once, in equal processor time."""


def format_rows(rows: Sequence[Summary]) -> list[tuple[str, ...]]:
    """Return the cells of the main table, a tuple for each method."""
    return [
        (
            row.method, _ratio(row.mean.value), _between(row.mean), _ratio(row.interquartile.value),
            f"{_ratio(row.worst.value)} {row.worst_task}", _known(row.spread),
            f"{row.area:.2f}", f"{row.improvement:.0%}", f"{row.reached:.0%}",
            f"{row.steps:.2f}" if np.isfinite(row.steps) else "–", str(row.diverged), _known(row.step_time),
            _known(row.memory), f"{row.setup:,.0f}",
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


def format_places(results: Results) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and cells of the ratios by task and base rate, a column for each method without its own rate."""
    rates = results.suite.rates
    means = {n: np.exp(r.log_ratios.mean(axis=2)) for n, r in results.runs.items() if n != results.reference}
    shown = {name: mean for name, mean in means.items() if mean.shape[1] == len(rates)}  # [T, R] each
    rows = [
        (task, f"{rate:.0e}", *(_ratio(mean[t, r]) for mean in shown.values()))
        for t, task in enumerate(results.tasks)
        for r, rate in enumerate(rates)
    ]
    return ("task", "base rate", *shown), rows


def format_suites(summaries: Mapping[str, Sequence[Summary]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
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
    """Write every run of every suite by every score as a line of CSV; losses are on the test set."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["suite", "score", "task", "optimizer", "budget", "method", "rate", "seed", "loss",
                         "first_loss", "ratio", "diverged", "reached_reference"])  # fmt: skip
        for result in results:
            for name, runs in result.runs.items():
                for t, r, s in np.ndindex(*runs.loss.shape):
                    case, at = result.suite.cases[t], (t, r, s)
                    writer.writerow([
                        result.suite.name, result.score.name, case.task, case.optimizer, case.total, name,
                        f"{runs.rates[t, r]:.6g}", s, f"{runs.loss[at]:.6g}", f"{runs.first[at]:.6g}",
                        f"{np.exp(runs.log_ratios[at]):.6g}", int(runs.diverged[at]), f"{runs.reached[at]:.4g}",
                    ])  # fmt: skip


def _known(value: float) -> str:
    return "" if np.isnan(value) else _ratio(value)


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 99.5 else f"{value:.0f}"


def _between(interval: ConfidenceInterval) -> str:
    return f"{_ratio(interval.low)} to {_ratio(interval.high)}"


def _mean(row: Summary | None) -> str:
    return "" if row is None else f"{_ratio(row.mean.value)} ({_between(row.mean)}), worst {_ratio(row.worst.value)}"
