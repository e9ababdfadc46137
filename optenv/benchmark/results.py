"""What a suite's finished cells say: arrays by method, and a row of statistics for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optenv.benchmark import statistics
from optenv.benchmark.cells import Cell, plan
from optenv.benchmark.costs import CostCell
from optenv.benchmark.losses import diverged, log_loss
from optenv.benchmark.methods import REFERENCE, BenchmarkMethod
from optenv.benchmark.run import DELIVERED
from optenv.benchmark.scores import SCORES, Score
from optenv.benchmark.store import Store
from optenv.benchmark.suites import Suite
from optenv.registry import Registry

Array = np.ndarray
BASE_COST = {"step_time": 1.0, "memory": 1.0}  # of what steps as the base optimizer does
UNMEASURED = {"step_time": np.nan, "memory": np.nan}
# Which axis of a result's arrays has the base rates.
_RATE_AXES = {"rates": 0, "loss": 0, "first": 0, "valid": 1, "offered": 1, **{f"test_{name}": 0 for name in DELIVERED}}


@dataclass(frozen=True)
class MethodRuns:
    """All runs of one method on a suite by one score; T tasks, R base rates, S seeds.

    Attributes:
      rates: base rates, [T, R]; a tuned method's are its own.
      loss: test losses of the delivered weights, [T, R, S]; not finite where they were lost.
      first: test losses before the first step, [T, R, S].
      log_ratios: logarithms of test loss over the reference's on the same seed, [T, R, S].
      diverged: whose delivered weights were lost, [T, R, S] bool.
      reached: share of the budget after which the validation loss of the weights that the reference delivers was first
        reached, infinite if never.
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
    """A suite's runs by method.

    Attributes:
      suite: what was run.
      score: which weights are delivered.
      reference: the method whose losses all are divided by, at the same base rate or at its only one.
      methods: those that were run.
      runs: their runs, by name.
      costs: `step_time` and `memory` over AdamW's by method, where measured.
      missing: names of methods without results, and why.
      facts: about the run as a whole, for the report's foot.
    """

    suite: Suite
    score: Score
    reference: str
    methods: tuple[BenchmarkMethod, ...]
    runs: dict[str, MethodRuns]
    costs: dict[str, dict[str, float]]
    missing: dict[str, str]
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """Labels of the suite's cases."""
        return [case.label for case in self.suite.cases]


def collect(
    suite: Suite,
    methods: Sequence[BenchmarkMethod],
    store: Store,
    score: Score,
    *,
    reference: str = REFERENCE,
    device: str = "cpu",
) -> Results:
    """Read a suite's results.

    Args:
      suite: what was run.
      methods: what to report; those without results for every case are listed as missing.
      store: holds the results.
      score: which weights are delivered.
      reference: the method whose losses all are divided by.
      device: where the runs were trained.

    Raises:
      ValueError: if the reference is unknown, or has no results.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    missing = {method.name: f"{method.missing} is not installed" for method in methods if method.missing}
    for method in methods:
        results = [] if method.missing else _of_method(suite, method, store, score, device)
        if results:
            found[method.name] = results
        else:
            missing.setdefault(method.name, "its runs are not finished")
    target = Registry("reference with results", found.items())[reference]
    present = tuple(method for method in methods if method.name in found)
    runs = {method.name: _runs(found[method.name], target, score) for method in present}
    costs = {method.name: cost for method in present if (cost := store.get(CostCell(method))) is not None}
    return Results(suite, score, reference, present, runs, costs, missing)


def _of_method(suite: Suite, method: BenchmarkMethod, store: Store, score: Score, device: str) -> list[dict[str, Any]]:
    """Return one result per case; none where a cell is not finished."""
    cells = plan(suite, [method], device=device)
    by_case = [[store.get(cell) for cell in _in_order(cells, index, suite)] for index in range(len(suite.cases))]
    if any(part is None for parts in by_case for part in parts):
        return []
    results = [_joined([part for part in parts if part is not None]) for parts in by_case]
    return [_own_rate(result, score) for result in results] if method.by_score else results


def _in_order(cells: Sequence[Cell], index: int, suite: Suite) -> list[Cell]:
    return sorted((cell for cell in cells if cell.case == suite.cases[index]), key=lambda cell: cell.rates)


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join cells of single base rates to one of all of them."""
    whole = dict(parts[0])
    for name, axis in _RATE_AXES.items():
        whole[name] = np.concatenate([np.asarray(part[name], float) for part in parts], axis)
    whole["seconds"] = sum(part["seconds"] for part in parts) / whole["loss"].size  # of a run
    return whole


def _own_rate(result: dict[str, Any], score: Score) -> dict[str, Any]:
    """Return the part of a result that is of the score's own rate."""
    place = [list(SCORES).index(score.name)]
    return result | {name: np.take(result[name], place, axis) for name, axis in _RATE_AXES.items()}


def delivered(result: dict[str, Any], score: Score) -> Array:
    """Return the validation losses of the weights that a cell's runs deliver, [R, S]."""
    return score.validation(np.concatenate([[result["first"]], result[score.reads]]))


def _runs(results: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]], score: Score) -> MethodRuns:
    logs, reached, lost, loss = [], [], [], f"test_{score.name}"
    for own, other in zip(results, reference, strict=True):
        first, bound = own["test_first"], own["bound"]
        logs.append(log_loss(own[loss], first, bound) - log_loss(other[loss], first, bound))
        lost.append(diverged(own[loss], first, bound))
        reached.append(statistics.steps_to_target(own["steps"], own[score.reads], delivered(other, score)))
    arrays = {"rates": "rates", "loss": loss, "first": "test_first"}
    return MethodRuns(
        **{name: np.stack([r[key] for r in results]) for name, key in arrays.items()},
        log_ratios=np.stack(logs),
        diverged=np.stack(lost),
        reached=np.stack(reached),
        seconds=float(np.mean([r["seconds"] for r in results])),
    )


@dataclass(frozen=True)
class Summary:
    """A method's statistics on a suite; see `statistics`.

    Attributes:
      method: its name.
      role: "reference", "baseline" or "controller".
      mean: geometric mean of test loss over the reference's, with its interval.
      interquartile: the same of the middle half of the runs.
      worst: the worst task's geometric mean.
      worst_task: its label.
      spread: worst over best base rate, of the task where that is greatest; NaN with a single base rate.
      area: mean height of the performance profile.
      improvement: probability of a lower loss than the reference's.
      reached: share of the runs that reach the validation loss of the weights that the reference delivers.
      steps: median share of the budget until then; infinite if fewer than half do.
      diverged: number of runs whose delivered weights were lost.
      step_time: of its optimizer, over AdamW's; NaN where it is not measured.
      memory: of its optimizer's state, likewise.
      setup: runs spent before the first use: of tuning, for each task, or of meta-training, once.
    """

    method: str
    role: str
    mean: statistics.ConfidenceInterval
    interquartile: statistics.ConfidenceInterval
    worst: statistics.ConfidenceInterval
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


def summarise(results: Results, *, seed: int = 0) -> list[Summary]:
    """Return each method's statistics, the best mean first; `seed` is that of the bootstrap."""
    return sorted(_summaries(results, seed), key=lambda summary: summary.mean.value)


def _summaries(results: Results, seed: int) -> Iterator[Summary]:
    other = results.runs[results.reference].log_ratios
    per_run = results.runs.get("constant", results.runs[results.reference]).seconds
    for method in results.methods:
        runs = results.runs[method.name]
        logs, generator = runs.log_ratios, np.random.default_rng(seed)
        mean, middle, worst = (statistics.interval(logs, statistic, generator) for statistic in _STATISTICS)
        cost = results.costs.get(method.name, UNMEASURED if method.build else BASE_COST)
        several = logs.shape[1] > 1
        yield Summary(
            method.name,
            method.role,
            mean,
            middle,
            worst,
            results.tasks[int(np.argmax(statistics.by_task(logs)))],
            float(statistics.spread(logs).max()) if several else np.nan,
            statistics.profile_area(logs),
            statistics.probability_of_improvement(logs, other),
            float(np.isfinite(runs.reached).mean()),
            float(np.median(runs.reached)),
            int(runs.diverged.sum()),
            cost["step_time"],
            cost["memory"],
            30.0 if method.role == "reference" else method.meta_seconds / per_run,
        )


_STATISTICS = (statistics.geometric_mean, statistics.interquartile_mean, statistics.worst_task)
