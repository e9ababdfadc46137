"""Methods: everything a benchmark runs on a case, one row of data each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from optenv.benchmark.nadamw import NADAMW
from optenv.benchmark.rivals import RIVALS, Rival, run_rival, set_mode
from optenv.benchmark.run import Outcome, Schedule, constant, warmup_cosine
from optenv.benchmark.scores import SCORES
from optenv.benchmark.suites import MOMENTUM, Case, check_case
from optenv.benchmark.tuning import Fitted, Runnable, run_method, tune
from optenv.control.controller import Controller
from optenv.inner.optimizers import Rule
from optenv.inner.trainer import make_trainer
from optenv.registry import by_name
from optenv.wrapper.controlled import ControlledOptimizer
from optenv.wrapper.param_groups import ParamGroup

Array = np.ndarray
Run = Callable[[Case, Array, Array, str, int], tuple[Outcome, Array]]
REFERENCE, CALIBRATED = "tuned", "calibrated"


@dataclass(frozen=True)
class BenchmarkMethod:
    """One thing that is compared.

    Attributes:
      name: as in tables.
      why: one line on what it is.
      role: "reference" (tuned per task), "baseline" (not tuned per task) or "controller".
      run: from a case, seeds [N], base rates [N], device and number of validation samples to an outcome and the rates
        it really used, [N].
      rates: its own base rates; None for the suite's, () for those it finds itself.
      by_score: whether its base rates are one for each score, in their order.
      cost: of a run, in units of one under AdamW in the batched trainer.
      mark: tells one version of it from another; a finished cell is reused only under the same mark.
      missing: the package that it lacks, if any.
      alone: whether every base rate is run by itself.
      build: from parameter groups and a budget to the method as an optimizer of torch and the function of a loss that
        steps it, where that costs more than the base optimizer.
      meta_seconds: what its training took before it was ever used.
    """

    name: str
    why: str
    role: str
    run: Run
    rates: tuple[float, ...] | None = None
    by_score: bool = False
    cost: float = 1.0
    mark: str = ""
    missing: str = ""
    alone: bool = False
    build: Callable[[list[ParamGroup], int], tuple[Any, Callable[[Any], Any]]] | None = None
    meta_seconds: float = 0.0


def _run(
    case: Case,
    seeds: Array,
    rates: Array,
    device: str,
    samples: int,
    *,
    method: Runnable | Fitted,
    tuned: bool = False,
    optimizer: str | Rule | None = None,
    options: tuple = (),
) -> tuple[Outcome, Array]:
    """Run a controller or a schedule at the given rates, or at those that are best on the tuning seeds."""
    rule, own = (case.optimizer, case.options) if optimizer is None else (optimizer, options)
    trainer = make_trainer(check_case(case), rule, case.grouping, device=device, **dict[str, Any](own))
    if isinstance(method, Fitted):  # in hindsight, at a single rate
        method = method.fit(trainer, float(rates[0]), case.total)
    elif tuned:
        rates = np.repeat(list(tune(trainer, method, case.total).values()), len(seeds) // len(SCORES))
    # What is best by both scores is run once.
    wanted = list(zip(seeds.tolist(), rates.tolist(), strict=True))
    places = {run: place for place, run in enumerate(dict.fromkeys(wanted))}
    own_seeds, own_rates = map(np.array, zip(*places, strict=True))
    outcome = run_method(trainer, method, own_seeds, own_rates, case.total, samples=samples, test=True)
    return outcome.select([places[run] for run in wanted]), rates


def _run_rival(
    case: Case, seeds: Array, rates: Array, device: str, samples: int, *, name: str
) -> tuple[Outcome, Array]:
    outcome = run_rival(check_case(case), RIVALS[name], seeds, case.total, device=device, samples=samples, test=True)
    return outcome, rates


def _rival_method(rival: Rival) -> BenchmarkMethod:
    run, build = partial(_run_rival, name=rival.name), partial(_build_rival, rival.name)
    missing = rival.package if rival.missing else ""
    return BenchmarkMethod(rival.name, rival.why, "baseline", run, (1.0,), cost=6.0, missing=missing, build=build)


def _build_rival(name: str, groups: list[ParamGroup], total: int) -> tuple[Any, Callable[[Any], Any]]:
    rival = RIVALS[name]
    optimizer = rival.build([{"params": [p for group in groups for p in group["params"]]}], total)
    set_mode(optimizer, "train")
    return optimizer, (lambda loss: optimizer.step(loss=loss)) if rival.takes_loss else lambda loss: optimizer.step()


def _build_controlled(controller: Controller, groups: list[ParamGroup], total: int) -> tuple[Any, Callable[[Any], Any]]:
    optimizer = ControlledOptimizer(torch.optim.AdamW(groups), controller, total_steps=total)
    return optimizer, lambda loss: optimizer.step(loss=loss)


def tuned_method(name: str, base: str, schedule: Schedule = warmup_cosine, **own: Any) -> BenchmarkMethod:
    """Return a base optimizer under a schedule, its rate tuned for each case: 30 runs before those that count.

    Args:
      name: of the method.
      base: what is tuned, in words.
      schedule: factor on the rate over progress.
      **own: `optimizer` and its `options` in place of the case's.
    """
    why = f"{base}, its rate tuned for each task over 15 rates and rerun on fresh seeds"
    run = partial(_run, method=schedule, tuned=True, **own)
    return BenchmarkMethod(name, why, "reference", run, (), by_score=True, cost=4.0)


def _scheduled(name: str, why: str, schedule: Schedule, *rates: float, **own: Any) -> BenchmarkMethod:
    """Return a base optimizer under a schedule, at the suite's base rates or its own."""
    return BenchmarkMethod(name, why, "baseline", partial(_run, method=schedule, **own), rates or None)


BASELINES = by_name(
    "baseline",
    (
        tuned_method(REFERENCE, "the base optimizer (AdamW) with warm-up and cosine"),
        tuned_method("nadamw_tuned", "NAdamW with warm-up and cosine", optimizer=NADAMW),
        tuned_method("sgd_tuned", "SGD with momentum 0.9, warm-up and cosine", optimizer="sgd", options=MOMENTUM),
        _scheduled("constant", "the base optimizer at the base rate", constant),
        _scheduled("warmup_cosine", "the base optimizer with warm-up and cosine from the base rate", warmup_cosine),
        _scheduled("adam_1e-3", "Adam at 1e-3, constant", constant, 1e-3, optimizer="adam"),
        *map(_rival_method, RIVALS.values()),
    ),
)


def calibrated(rates: Sequence[float]) -> BenchmarkMethod:
    """Return AdamW with warm-up and cosine at one rate for all tasks, that of each score."""
    at = ", ".join(f"{rate:.2g} {score.title}" for rate, score in zip(rates, SCORES.values(), strict=True))
    why = f"AdamW with warm-up and cosine at {at}, the best single rate on the train split"
    return replace(BASELINES["warmup_cosine"], name=CALIBRATED, why=why, rates=tuple(rates), by_score=True)


def controller_method(
    name: str,
    controller: Controller,
    *,
    role: str = "controller",
    why: str = "",
    mark: str = "",
    meta_seconds: float = 0.0,
) -> BenchmarkMethod:
    """Return what runs a controller, guarded, at every base rate of a suite; for the options see `BenchmarkMethod`."""
    fitted, build = isinstance(controller, Fitted), partial(_build_controlled, controller)
    run: Run = partial(_run, method=controller)
    more: dict[str, Any] = {"mark": mark, "alone": fitted, "build": build, "meta_seconds": meta_seconds}
    return BenchmarkMethod(name, why, role, run, cost=3.0 if fitted else 1.3, **more)
