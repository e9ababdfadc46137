"""Cells: the units of a benchmark, each a method on a case, at its base rates and seeds; run once, stored once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from optenv.benchmark.methods import BenchmarkMethod
from optenv.benchmark.run import DELIVERED, SAMPLES
from optenv.benchmark.scores import SCORES
from optenv.benchmark.suites import STEP_COST, Case, Suite, check_case
from optenv.benchmark.work import Work, check_numbers

_PLACES = 7  # significant digits of what is stored besides final and test losses
# What results depend on: rooms of the package, and of this one the files that train.
SOURCES = ("control", "env", "inner", "tasks", "wrapper")
OWN_SOURCES = ("cells", "losses", "methods", "nadamw", "rivals", "run", "scores", "tuning")


@dataclass(frozen=True)
class Cell(Work):
    """A method on a case, at its base rates and seeds.

    Attributes:
      case: what is trained.
      method: what trains it.
      rates: base learning rates; () where the method finds its own, one for each score.
      seeds: of the runs at every rate.
      device: where they are trained.
    """

    case: Case
    method: BenchmarkMethod
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    device: str = "cpu"

    @property
    def identity(self) -> dict[str, Any]:
        """What the result depends on: a change of any of it makes another cell."""
        return {
            "case": asdict(self.case),
            "method": self.method.name,
            "mark": self.method.mark,
            "rates": self.rates,
            "seeds": self.seeds,
            "device": self.device,
            "code": code_mark(),
        }

    @property
    def task(self) -> str:
        """The task's name."""
        return self.case.task

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method.name

    @property
    def work(self) -> float:
        """An estimate of what it costs, in inner steps of one run of digits_mlp."""
        runs = self._num_rates * len(self.seeds)
        return runs * self.case.total * STEP_COST.get(self.case.task, 1.0) * self.method.cost + 500.0

    @property
    def _num_rates(self) -> int:
        return len(self.rates) or len(SCORES)

    def run(self) -> dict[str, Any]:
        """Run the method.

        Returns:
          JSON values: `rates` [R] and `seeds` [S]; final and first validation losses `loss` and `first`, [R, S]; inner
          steps `steps`, [V], after which the validation losses `valid` and `offered`, [V, R, S], were measured; test
          losses `test_first`, `test_best`, `test_final` and `test_average`, [R, S], see `Outcome.test`; `bound`, the
          greatest known lower bound of the loss; and `seconds` of processor time.
        """
        import torch

        torch.set_num_threads(1)
        started = time.process_time()
        count = self._num_rates
        rates = np.repeat(self.rates or np.ones(count), len(self.seeds))
        outcome, used = self.method.run(self.case, np.tile(self.seeds, count), rates, self.device, SAMPLES)
        shape = (count, len(self.seeds))
        return {
            "rates": used.reshape(shape)[:, 0].tolist(),
            "seeds": list(self.seeds),
            "loss": outcome.loss.reshape(shape).tolist(),
            "first": _short(outcome.first.reshape(shape)),
            "steps": outcome.steps.tolist(),
            **{name: _short(getattr(outcome, name).reshape(-1, *shape)) for name in ("valid", "offered")},
            **{f"test_{name}": outcome.test[name].reshape(shape).tolist() for name in DELIVERED},
            "bound": float(check_case(self.case).lower_bound),
            "seconds": round(time.process_time() - started, 3),
        }

    def check(self, result: dict[str, Any]) -> None:
        """Check what a file says was the result.

        Raises:
          ValueError: if it is not of the form that `run` returns.
        """
        runs, times = (self._num_rates, len(self.seeds)), np.shape(result["steps"])
        shapes = {
            "rates": runs[:1],
            "loss": runs,
            "first": runs,
            "steps": times[:1],
            "valid": (*times, *runs),
            "offered": (*times, *runs),
        }
        shapes |= {f"test_{name}": runs for name in DELIVERED}
        check_numbers(result, {**shapes, "bound": (), "seconds": ()})
        if not min(result["steps"]) >= 0 < result["steps"][-1]:
            raise ValueError(f"expected numbers of steps taken; received {result['steps']}")


def plan(suite: Suite, methods: Iterable[BenchmarkMethod], *, device: str = "cpu") -> list[Cell]:
    """List the cells of a suite, those of the present methods, costly ones first."""
    seeds = tuple(range(suite.num_seeds))
    cells = [
        Cell(case, method, rates, seeds, device)
        for method in methods
        if not method.missing
        for case in suite.cases
        for rates in _portions(method, suite.rates)
    ]
    return by_work(cells)


def by_work(cells: Iterable[Cell]) -> list[Cell]:
    """Sort cells, costly ones first, so that no worker is left with a long one at the end."""
    return sorted(cells, key=lambda cell: -cell.work)


def _portions(method: BenchmarkMethod, rates: tuple[float, ...]) -> Sequence[tuple[float, ...]]:
    own = rates if method.rates is None else method.rates
    return [(rate,) for rate in own] if method.alone else [own]


def _short(values: np.ndarray) -> Any:
    return np.vectorize(lambda x: float(f"{x:.{_PLACES}g}"), otypes=[float])(values).tolist()


@cache
def code_mark() -> str:
    """Return a digest of the code that results depend on, so that other code's results are not taken for its own."""
    root = Path(__file__).parents[1]
    rooms = [file for room in SOURCES for file in (root / room).rglob("*.py")]
    return digest(*sorted(rooms), *(root / "benchmark" / f"{name}.py" for name in OWN_SOURCES))


def digest(*files: Path) -> str:
    """Return a short digest of files' contents, 16 hexadecimal digits."""
    total = hashlib.sha256()
    for file in files:
        total.update(file.read_bytes())
    return total.hexdigest()[:16]
