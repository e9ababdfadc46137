"""What can train the inner runs of an environment, one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from optenv.env.torch_trainer import MakeOptimizer, TorchRuns, torch_optimizer
from optenv.inner.architecture_batches import ArchitectureBatches
from optenv.inner.optimizers import OPTIMIZERS, base_values
from optenv.inner.rollout import Runs
from optenv.inner.trainer import make_trainer
from optenv.registry import Registry
from optenv.tasks.task import Family, Task, members

MakeRuns = Callable[[Task | Family], Runs]


class TrainerSettings(Protocol):
    """What a trainer reads of an environment's settings; see `EnvSettings`."""

    @property
    def optimizer(self) -> str | MakeOptimizer: ...  # noqa: D102
    @property
    def optimizer_options(self) -> Mapping[str, float] | None: ...  # noqa: D102
    @property
    def groups(self) -> str: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def compile(self) -> bool: ...  # noqa: D102


def _batched(s: TrainerSettings) -> MakeRuns:
    name, options = s.optimizer, s.optimizer_options or {}
    if not isinstance(name, str):
        raise ValueError(f"optimizer: expected a name, or trainer='torch'; received {name!r}")
    base_values(OPTIMIZERS[name], options)  # what is wrong is to be known before anything is built

    def build(task: Task | Family) -> ArchitectureBatches:
        return ArchitectureBatches(
            [
                make_trainer(member, name, s.groups, device=s.device, compile=s.compile, **options)
                for member in members(task)
            ]
        )

    return build


def _torch(s: TrainerSettings) -> MakeRuns:
    if s.compile:
        raise ValueError("compile: expected trainer='batched'; received trainer='torch'")
    if isinstance(s.optimizer, str):
        make = torch_optimizer(s.optimizer, s.optimizer_options)
    elif s.optimizer_options is None:
        make = s.optimizer
    else:
        raise ValueError("optimizer_options: expected None beside an optimizer of your own, which sets them itself")
    return lambda task: TorchRuns(task, make, grouping=s.groups, device=s.device)


TRAINERS: Registry[Callable[[TrainerSettings], MakeRuns]] = Registry(
    "trainer", (("batched", _batched), ("torch", _torch))
)
