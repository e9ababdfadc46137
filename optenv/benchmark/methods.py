"""Methods: everything a benchmark runs on a case, one row of data each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from optenv import tasks
from optenv.benchmark.compare import REFERENCE, Fitted, check_case, run_method, tune
from optenv.benchmark.compare import Method as Runnable
from optenv.benchmark.nadamw import NADAMW
from optenv.benchmark.rivals import RIVALS, Rival, run_rival, set_mode
from optenv.benchmark.run import Outcome, constant, make_trainer, warmup_cosine
from optenv.benchmark.suites import Case
from optenv.control.controller import Controller
from optenv.errors import unknown_name
from optenv.inner.optimizers import Rule
from optenv.inner.trainer import BatchedTrainer
from optenv.wrapper.controlled import ControlledOptimizer
from optenv.wrapper.groups import ParamGroup

Array = np.ndarray
Run = Callable[[Case, Array, Array, str, int], tuple[Outcome, Array]]
CALIBRATED = "calibrated"


@dataclass(frozen=True)
class Method:
    """One thing that is compared.

    Attributes:
      name: as in tables.
      why: one line on what it is.
      role: "reference" (tuned per task), "baseline" (not tuned per task) or "controller".
      run: from a case, seeds [N], base rates [N], device and number of validation samples to an outcome and the rates
        it really used, [N].
      rates: its own base rates; None for the suite's, () for one it finds itself.
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
    cost: float = 1.0
    mark: str = ""
    missing: str = ""
    alone: bool = False
    build: Callable[[list[ParamGroup], int], tuple[Any, Callable[[Any], Any]]] | None = None
    meta_seconds: float = 0.0


def _trainer(case: Case, device: str, optimizer: str | Rule | None, options: tuple) -> BatchedTrainer:
    rule, own = (case.optimizer, case.options) if optimizer is None else (optimizer, options)
    return make_trainer(check_case(case), rule, case.grouping, device=device, **dict[str, Any](own))


def _run(case: Case, seeds: Array, rates: Array, device: str, samples: int, *, method: Runnable,
         optimizer: str | Rule | None = None, options: tuple = ()) -> tuple[Outcome, Array]:  # fmt: skip
    """Run a controller or a schedule at the given rates."""
    trainer = _trainer(case, device, optimizer, options)
    return run_method(trainer, method, seeds, rates, case.total, samples=samples), rates


def _run_fitted(case: Case, seeds: Array, rates: Array, device: str, samples: int, *, method: Fitted
                ) -> tuple[Outcome, Array]:  # fmt: skip
    """Run a controller in hindsight at one rate, to which it is fitted first."""
    trainer = _trainer(case, device, None, ())
    controller = method.fit(trainer, float(rates[0]), case.total)
    return run_method(trainer, controller, seeds, rates, case.total, samples=samples), rates


def _run_tuned(case: Case, seeds: Array, rates: Array, device: str, samples: int, *,
               optimizer: str | Rule | None = None, options: tuple = ()) -> tuple[Outcome, Array]:  # fmt: skip
    """Tune the rate of warm-up and cosine for this case, on the tuning seeds, and run it on fresh ones."""
    trainer = _trainer(case, device, optimizer, options)
    best = np.full(len(seeds), tune(trainer, warmup_cosine, case.total))
    return run_method(trainer, warmup_cosine, seeds, best, case.total, samples=samples), best


def _run_rival(case: Case, seeds: Array, rates: Array, device: str, samples: int, *, name: str
               ) -> tuple[Outcome, Array]:  # fmt: skip
    task = check_case(case)
    return run_rival(task, RIVALS[name], seeds, case.total, device=device, samples=samples), rates


def _rival_method(rival: Rival) -> Method:
    run, build = partial(_run_rival, name=rival.name), partial(_build_rival, rival.name)
    missing = rival.package if rival.missing else ""
    return Method(rival.name, rival.why, "baseline", run, (1.0,), 6.0, missing=missing, build=build)


def _build_rival(name: str, groups: list[ParamGroup], total: int) -> tuple[Any, Callable[[Any], Any]]:
    rival = RIVALS[name]
    optimizer = rival.build([{"params": [p for group in groups for p in group["params"]]}], total)
    set_mode(optimizer, "train")
    return optimizer, (lambda loss: optimizer.step(loss=loss)) if rival.takes_loss else lambda loss: optimizer.step()


def _build_controlled(controller: Controller, groups: list[ParamGroup], total: int) -> tuple[Any, Callable[[Any], Any]]:
    optimizer = ControlledOptimizer(torch.optim.AdamW(groups), controller, total_steps=total)
    return optimizer, lambda loss: optimizer.step(loss=loss)


_TUNING = "warm-up and cosine, its rate tuned for each task over 15 rates and rerun on fresh seeds"
_COST_OF_TUNING = 7.0  # 30 runs before 5
BASELINES: dict[str, Method] = {
    row.name: row
    for row in (
        Method(REFERENCE, f"the base optimizer (AdamW) with {_TUNING}", "reference", _run_tuned, (), _COST_OF_TUNING),
        Method("nadamw_tuned", f"NAdamW with {_TUNING}", "reference", partial(_run_tuned, optimizer=NADAMW), (),
               _COST_OF_TUNING),
        Method("sgd_tuned", f"SGD with momentum 0.9 and {_TUNING}", "reference",
               partial(_run_tuned, optimizer="sgd", options=(("momentum", 0.9),)), (), _COST_OF_TUNING),
        Method("constant", "the base optimizer at the base rate", "baseline", partial(_run, method=constant)),
        Method("cosine", "the base optimizer with warm-up and cosine from the base rate", "baseline",
               partial(_run, method=warmup_cosine)),
        Method("adam_1e-3", "Adam at 1e-3, constant", "baseline",
               partial(_run, method=constant, optimizer="adam"), (1e-3,)),
        *map(_rival_method, RIVALS.values()),
    )
}  # fmt: skip


def calibrated(rate: float) -> Method:
    """Return AdamW with warm-up and cosine at one rate for all tasks."""
    why = f"AdamW with warm-up and cosine at {rate:.2g} everywhere, the best single rate on the train split"
    return replace(BASELINES["cosine"], name=CALIBRATED, why=why, rates=(rate,))


def controller_method(
    name: str, controller: Controller, *, role: str = "controller", why: str = "", mark: str = "",
    meta_seconds: float = 0.0,
) -> Method:  # fmt: skip
    """Return what runs a controller at every base rate of a suite; for the options see `Method`."""
    build = partial(_build_controlled, controller)
    fitted = isinstance(controller, Fitted)
    run: Run = partial(_run_fitted, method=controller) if fitted else partial(_run, method=controller)  # type: ignore
    return Method(name, why, role, run, cost=3.0 if fitted else 1.3, mark=mark, alone=fitted, build=build,
                  meta_seconds=meta_seconds)  # fmt: skip


def get_baseline(name: str) -> Method:
    """Return the baseline registered as `name`.

    Raises:
      ValueError: if there is none.
    """
    if name not in BASELINES:
        raise unknown_name("baseline", name, BASELINES)
    return BASELINES[name]


def lower_bound(case: Case) -> float:
    """Return the greatest known lower bound of a case's loss."""
    return float(tasks.members(check_case(case))[0].lower_bound)
