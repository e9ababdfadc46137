"""What a user would pick instead: optimizers that need no tuning, from their own packages, one row each.

Each is set as its authors advise; where they advise several settings, as was best on members of the train split. Each
is run once per seed in the torch trainer, with the initial weights, data and minibatches of the batched runs. Their
packages come with the extra `rivals`; one that is missing is reported as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from optenv.benchmark.run import CHUNKS, Outcome, Schedule, constant, measure, sampled, warmup_cosine
from optenv.env.torch_trainer import TorchRun
from optenv.errors import missing_extra
from optenv.inner.rollout import control_edges
from optenv.inner.trainer import make_trainer
from optenv.registry import by_name
from optenv.tasks.task import Task
from optenv.wrapper.param_groups import ParamGroup

Array = np.ndarray
Make = Callable[[Any, list[ParamGroup], int], Any]
half_cosine = partial(warmup_cosine, warmup=0.0)


@dataclass(frozen=True)
class Rival:
    """One optimizer of another package.

    Attributes:
      name: as in `--controllers schedule_free`.
      why: how it is set, and the source.
      package: what pip installs.
      module: what is imported.
      make: from the module, the parameter groups and the budget to the optimizer.
      schedule: factor on its learning rate over progress.
      takes_loss: whether its step wants the loss.
      averaged: whether it is judged by a polynomially decayed average of its weights.
    """

    name: str
    why: str
    package: str
    module: str
    make: Make
    schedule: Schedule = constant
    takes_loss: bool = False
    averaged: bool = False

    @property
    def missing(self) -> bool:
        """Whether its package is not installed."""
        return find_spec(self.module) is None

    def build(self, groups: list[ParamGroup], total: int) -> Any:
        """Make the optimizer for a budget of `total` steps.

        Raises:
          ImportError: if its package is not installed.
        """
        if self.missing:
            raise missing_extra(self.package, "rivals", self.name)
        return self.make(import_module(self.module), groups, total)


RIVALS = by_name(
    "rival",
    (
        Rival("schedule_free", "AdamW, rate 1e-2, 5 % warm-up (Defazio et al. 2024)", "schedulefree", "schedulefree",
              lambda m, groups, total: m.AdamWScheduleFree(groups, lr=1e-2, warmup_steps=round(0.05 * total))),
        Rival("prodigy", "rate 1, bias correction, cosine (Mishchenko and Defazio 2023)", "prodigyopt", "prodigyopt",
              lambda m, groups, total: m.Prodigy(groups, lr=1.0, use_bias_correction=True), half_cosine),
        Rival("prodigy_schedule_free", "rate 1, one distance for the model", "prodigy-plus-schedule-free",
              "prodigyplus",
              lambda m, groups, total: m.ProdigyPlusScheduleFree(groups, lr=1.0, split_groups=False)),
        Rival("ldog", "L-DoG, first step 1e-4, averaged weights (Ivgi et al. 2023)", "dog-optimizer", "dog",
              lambda m, groups, total: m.LDoG(groups, reps_rel=1e-4), averaged=True),
        Rival("mechanic", "around AdamW, rate 1, cosine (Cutkosky et al. 2023)", "mechanic-pytorch", "mechanic_pytorch",
              lambda m, groups, total: m.mechanize(torch.optim.AdamW)(groups, lr=1.0), half_cosine),
        Rival("momo_adam", "rate 1e-2 (Schaipp et al. 2024)", "momo-opt", "momo",
              lambda m, groups, total: m.MomoAdam(groups, lr=1e-2), takes_loss=True),
    ),
)  # fmt: skip


def run_rival(
    task: Task, rival: Rival, seeds: Array, total: int, *, device: str = "cpu", samples: int = 0, test: bool = False
) -> Outcome:
    """Train one run per seed, one after the other; the whole model is one parameter group, as in their examples.

    Args:
      task: what is trained.
      rival: the optimizer.
      seeds: of the runs, [N].
      total: budget in inner steps.
      device: where the runs are trained.
      samples: how often the validation loss is measured before the end, at most.
      test: measure test losses too.
    """
    watched, trainer = sampled(control_edges(total, CHUNKS), samples), make_trainer(task, device=device)

    def outcome(seed: int) -> Outcome:
        along = _train(task, rival, seed, total, watched, device)
        weights = ((trainer.layout.flatten(params)[None],) for params in along)
        return measure(trainer, trainer.start(np.array([seed], np.uint64)), weights, watched, test=test)

    return Outcome.join([outcome(int(seed)) for seed in seeds])


def _train(task: Task, rival: Rival, seed: int, total: int, watched: Array, device: str) -> Iterator[dict[str, Tensor]]:
    """Yield the weights that the method would hand over before the first step and after the watched ones."""
    run = TorchRun(task, lambda groups: rival.build(groups, total), seed, grouping="model", device=device)
    optimizer: Any = run.optimizer
    average = _average(rival, run)
    rates = [group["lr"] for group in optimizer.param_groups]
    set_mode(optimizer, "train")
    yield _delivered(run, None)
    for step, factor in enumerate(rival.schedule(np.arange(total) / total).tolist(), start=1):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        loss = run.next_gradient()
        optimizer.step(**({"loss": loss} if rival.takes_loss else {}))
        if average is not None:
            average.step()
        if step in watched:
            yield _delivered(run, average)


def _average(rival: Rival, run: TorchRun) -> Any:
    if not rival.averaged:
        return None
    model = nn.Module()
    for name, parameter in run.params.items():
        model.register_parameter(name.replace(".", "/"), parameter)
    return import_module(rival.module).PolynomialDecayAverager(model)


def _delivered(run: TorchRun, average: Any) -> dict[str, Tensor]:
    """Return a copy of the weights the method would hand over."""
    set_mode(run.optimizer, "eval")
    own = run.params if average is None else dict(average.av_model.named_parameters())
    copied = {name.replace("/", "."): parameter.detach().clone() for name, parameter in own.items()}
    set_mode(run.optimizer, "train")
    return copied


def set_mode(optimizer: Any, mode: str) -> None:
    """Switch a schedule-free optimizer between the weights it trains and those it hands over."""
    if hasattr(optimizer, mode):
        getattr(optimizer, mode)()
