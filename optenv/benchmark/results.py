"""What a suite's finished cells say: arrays by method, and a row of statistics for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optenv.benchmark import statistics
from optenv.benchmark.cells import Cell, plan
from optenv.benchmark.compare import REFERENCE
from optenv.benchmark.costs import CostCell
from optenv.benchmark.losses import diverged, log_loss
from optenv.benchmark.methods import Method
from optenv.benchmark.store import Store
from optenv.benchmark.suites import Suite
from optenv.errors import unknown_name

Array = np.ndarray


@dataclass(frozen=True)
class Runs:
    """All runs of one method on a suite; T tasks, R base rates, S seeds.

    Attributes:
      rates: base rates, [T, R]; a tuned method's are its own.
      loss: final validation losses, [T, R, S]; infinite where the run was lost.
      first: validation losses before the first step, [T, R, S].
      log_ratios: logarithms of final loss over the reference's on the same seed, [T, R, S].
      diverged: which runs were lost, [T, R, S] bool.
      reached: share of the budget after which the reference's final loss was first reached, infinite if never.
      seconds: processor time of a run, mean.
    """

    rates: Array
    loss: Array
    first: Array
    log_ratios: Array
    diverged: Array
    reached: Array
    seconds: float


@dataclass(frozen=True)
class Results:
    """A suite's runs by method, the reference first.

    Attributes:
      suite: what was run.
      methods: those that were run.
      runs: their runs, by name.
      costs: `step_time` and `memory` over AdamW's by method, where measured.
      missing: names of methods without results, and why.
      facts: about the run as a whole, for the report's foot.
    """

    suite: Suite
    methods: tuple[Method, ...]
    runs: dict[str, Runs]
    costs: dict[str, dict[str, float]]
    missing: dict[str, str]
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """Labels of the suite's cases."""
        return [case.label for case in self.suite.cases]


def collect(suite: Suite, methods: Sequence[Method], store: Store, *, reference: str = REFERENCE,
            device: str = "cpu") -> Results:  # fmt: skip
    """Read a suite's results.

    Args:
      suite: what was run.
      methods: what to report; those without results for every case are listed as missing.
      store: holds the results.
      reference: the method whose losses all are divided by.
      device: where the runs were trained.

    Raises:
      ValueError: if the reference is unknown, or has no results.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    missing = {method.name: f"{method.missing} is not installed" for method in methods if method.missing}
    for method in methods:
        results = [] if method.missing else _of_method(suite, method, store, device)
        if results:
            found[method.name] = results
        else:
            missing.setdefault(method.name, "its runs are not finished")
    if reference not in found:
        raise unknown_name("reference with results", reference, found)
    target = found[reference]
    present = tuple(method for method in methods if method.name in found)
    runs = {method.name: _runs(found[method.name], target) for method in present}
    costs = {method.name: cost for method in present if (cost := store.get(CostCell(method))) is not None}
    return Results(suite, present, runs, costs, missing)


def _of_method(suite: Suite, method: Method, store: Store, device: str) -> list[dict[str, Any]]:
    """Return one result per case; none where a cell is not finished."""
    cells = plan(suite, [method], device=device)
    by_case = [[store.get(cell) for cell in _in_order(cells, index, suite)] for index in range(len(suite.cases))]
    if any(part is None for parts in by_case for part in parts):
        return []
    return [_joined([part for part in parts if part is not None]) for parts in by_case]


def _in_order(cells: Sequence[Cell], index: int, suite: Suite) -> list[Cell]:
    return sorted((cell for cell in cells if cell.case == suite.cases[index]), key=lambda cell: cell.rates)


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join cells of single base rates to one of all of them."""
    whole = dict(parts[0])
    for name, axis in (("rates", 0), ("loss", 0), ("first", 0), ("valid", 1)):
        whole[name] = np.concatenate([np.asarray(part[name], float) for part in parts], axis)
    whole["seconds"] = sum(part["seconds"] for part in parts)
    return whole


def _runs(results: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]]) -> Runs:
    logs, reached, lost = [], [], []
    for own, other in zip(results, reference, strict=True):
        target, bound = np.asarray(other["loss"])[0], own["bound"]
        logs.append(log_loss(own["loss"], own["first"], bound) - log_loss(target, own["first"], bound))
        lost.append(diverged(own["loss"], own["first"], bound))
        reached.append(statistics.steps_to_target(own["steps"], own["valid"], target))
    arrays = {name: np.stack([np.asarray(r[name], float) for r in results]) for name in ("rates", "loss", "first")}
    seconds = sum(r["seconds"] for r in results) / arrays["loss"].size
    return Runs(**arrays, log_ratios=np.stack(logs), diverged=np.stack(lost), reached=np.stack(reached),
                seconds=seconds)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A method's statistics on a suite; see `statistics`.

    Attributes:
      method: its name.
      role: "reference", "baseline" or "controller".
      mean: geometric mean of final loss over the reference's, with its interval.
      interquartile: the same of the middle half of the runs.
      worst: the worst task's geometric mean.
      worst_task: its label.
      spread: worst over best base rate, of the task where that is greatest; NaN with a single base rate.
      area: mean height of the performance profile.
      improvement: probability of a lower loss than the reference's.
      reached: share of the runs that reach the reference's final loss.
      steps: median share of the budget until then; infinite if fewer than half do.
      diverged: number of runs that were lost.
      step_time: of its optimizer, over AdamW's.
      memory: of its optimizer's state, over AdamW's.
      setup: runs spent before the first use: of tuning, for each task, or of meta-training, once.
    """

    method: str
    role: str
    mean: statistics.Interval
    interquartile: statistics.Interval
    worst: statistics.Interval
    worst_task: str
    spread: float
    area: float
    improvement: float
    reached: float
    steps: float
    diverged: int
    step_time: float
    memory: float
    setup: float


def summarise(results: Results, *, reference: str = REFERENCE, seed: int = 0) -> list[Row]:
    """Return a row per method, the best mean first.

    Args:
      results: what was measured.
      reference: what improvement is judged against.
      seed: of the bootstrap.
    """
    return sorted(_rows(results, reference, seed), key=lambda row: row.mean.value)


def _rows(results: Results, reference: str, seed: int) -> Iterator[Row]:
    other = results.runs[reference].log_ratios
    per_run = results.runs["constant"].seconds if "constant" in results.runs else results.runs[reference].seconds
    for method in results.methods:
        runs = results.runs[method.name]
        logs, generator = runs.log_ratios, np.random.default_rng(seed)
        mean, middle, worst = (statistics.interval(logs, statistic, generator) for statistic in _STATISTICS)
        cost = results.costs.get(method.name, {"step_time": 1.0, "memory": 1.0})
        several = logs.shape[1] > 1
        yield Row(
            method.name, method.role, mean, middle, worst, results.tasks[int(np.argmax(statistics.by_task(logs)))],
            float(statistics.spread(logs).max()) if several else np.nan, statistics.profile_area(logs),
            statistics.probability_of_improvement(logs, other), float(np.isfinite(runs.reached).mean()),
            float(np.median(runs.reached)), int(runs.diverged.sum()), cost["step_time"], cost["memory"],
            30.0 if method.role == "reference" else method.meta_seconds / per_run,
        )  # fmt: skip


_STATISTICS = (statistics.geometric_mean, statistics.interquartile_mean, statistics.worst_task)
