"""What a user would pick instead: optimizers that need no tuning, from their own packages, one row each.

Each is set as its authors advise; where they advise several settings, as was best on members of the train split. Each
is run once per seed in the torch trainer, with the initial weights, data and minibatches of the batched runs. Their
packages come with the extra `rivals`; one that is missing is reported as missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from optenv.benchmark.run import Outcome, Schedule, constant, control_edges, sampled, warmup_cosine
from optenv.env.torch_trainer import TorchRun
from optenv.errors import missing_extra, unknown_name
from optenv.tasks.task import Task
from optenv.wrapper.groups import ParamGroup

Array = np.ndarray
Make = Callable[[Any, list[ParamGroup], int], Any]


def cosine(progress: Array) -> Array:
    """Fall from 1 to 0 as half a cosine, without warm-up."""
    return warmup_cosine(progress, warmup=0.0)


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
            raise missing_extra(self.package, "rivals")
        return self.make(import_module(self.module), groups, total)


RIVALS: dict[str, Rival] = {
    row.name: row
    for row in (
        Rival("schedule_free", "AdamW, rate 1e-2, 5 % warm-up (Defazio et al. 2024)", "schedulefree", "schedulefree",
              lambda m, groups, total: m.AdamWScheduleFree(groups, lr=1e-2, warmup_steps=round(0.05 * total))),
        Rival("prodigy", "rate 1, bias correction, cosine (Mishchenko and Defazio 2023)", "prodigyopt", "prodigyopt",
              lambda m, groups, total: m.Prodigy(groups, lr=1.0, use_bias_correction=True), cosine),
        Rival("prodigy_schedule_free", "rate 1, one distance for the model", "prodigy-plus-schedule-free",
              "prodigyplus",
              lambda m, groups, total: m.ProdigyPlusScheduleFree(groups, lr=1.0, split_groups=False)),
        Rival("ldog", "L-DoG, first step 1e-4, averaged weights (Ivgi et al. 2023)", "dog-optimizer", "dog",
              lambda m, groups, total: m.LDoG(groups, reps_rel=1e-4), averaged=True),
        Rival("mechanic", "around AdamW, rate 1, cosine (Cutkosky et al. 2023)", "mechanic-pytorch", "mechanic_pytorch",
              lambda m, groups, total: m.mechanize(torch.optim.AdamW)(groups, lr=1.0), cosine),
        Rival("momo_adam", "rate 1e-2 (Schaipp et al. 2024)", "momo-opt", "momo",
              lambda m, groups, total: m.MomoAdam(groups, lr=1e-2), takes_loss=True),
    )
}  # fmt: skip


def get_rival(name: str) -> Rival:
    """Return the rival registered as `name`.

    Raises:
      ValueError: if there is none.
    """
    if name not in RIVALS:
        raise unknown_name("rival", name, RIVALS)
    return RIVALS[name]


def run_rival(task: Task, rival: Rival, seeds: Array, total: int, *, device: str = "cpu", samples: int = 0) -> Outcome:
    """Train one run per seed, one after the other; the whole model is one parameter group, as in their examples.

    Args:
      task: what is trained.
      rival: the optimizer.
      seeds: of the runs, [N].
      total: budget in inner steps.
      device: where the runs are trained.
      samples: how often the validation loss is measured before the end, at most.
    """
    edges = control_edges(total, 40)
    watched = sampled(edges, samples)
    runs = [_train(task, rival, int(seed), total, edges, watched, device) for seed in seeds]
    curve, valid = (np.stack(part, axis=1) for part in zip(*runs, strict=True))  # [K, N], [1 + V, N]
    final = np.where(np.isfinite(valid[-1]), valid[-1], np.inf)
    return Outcome(final, edges[1:], curve, valid[0], watched, valid[1:])


def _train(
    task: Task, rival: Rival, seed: int, total: int, edges: Array, watched: Array, device: str
) -> tuple[Array, Array]:
    run = TorchRun(task, lambda groups: rival.build(groups, total), seed, grouping="model", device=device)
    optimizer: Any = run.optimizer
    average = _average(rival, run)
    rates = [group["lr"] for group in optimizer.param_groups]
    set_mode(optimizer, "train")
    losses: list[Tensor] = []
    measured = [run.evaluate("valid")]
    for step, factor in enumerate(rival.schedule(np.arange(total) / total).tolist(), start=1):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        losses.append(run.next_gradient())
        optimizer.step(**({"loss": losses[-1]} if rival.takes_loss else {}))
        if average is not None:
            average.step()
        if step in watched:
            measured.append(_evaluate(run, average))
    parts = np.split(torch.stack(losses).double().cpu().numpy(), edges[1:-1])
    return np.array([part.mean() for part in parts]), np.array(measured)


def _average(rival: Rival, run: TorchRun) -> Any:
    if not rival.averaged:
        return None
    model = nn.Module()
    for name, parameter in run.params.items():
        model.register_parameter(name.replace(".", "/"), parameter)
    return import_module(rival.module).PolynomialDecayAverager(model)


def _evaluate(run: TorchRun, average: Any) -> float:
    """Return the validation loss of the weights the method would hand over."""
    own = run.params
    if average is not None:
        run.params = {name.replace("/", "."): p for name, p in average.av_model.named_parameters()}
    set_mode(run.optimizer, "eval")
    loss = run.evaluate("valid")
    set_mode(run.optimizer, "train")
    run.params = own
    return loss


def set_mode(optimizer: Any, mode: str) -> None:
    """Switch a schedule-free optimizer between the weights it trains and those it hands over."""
    if hasattr(optimizer, mode):
        getattr(optimizer, mode)()
