"""Opt2Vec's teacher, and the imitation that its recipe begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR

from agents.policies.opt2vec.architecture import Architecture
from agents.policies.opt2vec.controller import Window, WindowedMlpController
from agents.policies.opt2vec.torch_twin import WindowedMlpTwin
from agents.training.imitation import ScheduleTeacher, imitate
from optenv.benchmark.run import run_controller
from optenv.control.controller import Controller
from optenv.control.policy_file import PolicyFile
from optenv.inner.trainer import make_trainer
from optenv.tasks import Task, get

Array = np.ndarray
BATCH, RATE = 1024, 3e-3
BASE_RATE = 1e-3  # the first scale takes its place


class WindowTeacher(ScheduleTeacher):
    """Follows the schedule; what it records is the policy's window of the past."""

    def __init__(self, file: PolicyFile, generator: np.random.Generator):
        """Take the policy that is to learn from it, and the generator of the noise."""
        super().__init__(file.interface, generator)
        self._shape = Architecture.of(file)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin with an empty past."""
        super().reset(num_runs, num_groups)
        shape = self._shape
        self._window = Window(num_runs, num_groups, shape.history_length, shape.use_extended_features)

    def demonstrate(self, observation: Array) -> tuple[Array, Array, Array]:
        """Return the windows, the schedule's actions and these with noise, [N, G, inputs or knobs]."""
        return self._window.append(observation), *super().demonstrate(observation)[1:]


def imitate_schedule(
    policy: WindowedMlpController,
    names: Sequence[str],
    *,
    seed: int,
    inner_steps: Sequence[int] = (4, 8, 16),
    runs: int = 3,
    fitting_steps: int = 2000,
    hidden_budget_share: float = 0.25,
) -> WindowedMlpController:
    """Return a policy of the same shape that acts as the teacher does.

    Args:
      policy: relative, its first knob `scale`.
      names: tasks, each trained in `runs` runs.
      seed: of all that is drawn.
      inner_steps: inner steps between two decisions; one is drawn for each task.
      runs: of each task.
      fitting_steps: steps of Adam on the squared error.
      hidden_budget_share: share of the tasks whose budget is not observed.

    Raises:
      ValueError: if the policy's control is not relative with `scale` as the first knob.
    """
    generator, twin = np.random.default_rng([seed, 1]), WindowedMlpTwin(policy.file)

    def episodes() -> Iterator[Callable[[Controller], Any]]:
        for name in names:
            task, reveal_budget = get(name), generator.random() >= hidden_budget_share
            assert isinstance(task, Task)
            total = int(generator.choice(inner_steps)) * policy.interface.decisions
            seeds = generator.integers(2**62, size=runs).astype(np.uint64)
            yield partial(
                run_controller,
                make_trainer(task, "adam"),
                seeds=seeds,
                rates=np.full(runs, BASE_RATE),
                total=total,
                reveal_budget=reveal_budget,
                guard=False,
            )

    error = imitate(
        twin,
        WindowTeacher(policy.file, generator),
        episodes(),
        generator,
        rate=RATE,
        batch=BATCH,
        steps=fitting_steps,
        whole_runs=False,
        decay=_to_a_hundredth,
    )
    return twin.policy(imitation_error=error)


def _to_a_hundredth(optimizer: Optimizer, steps: int) -> LinearLR:
    return LinearLR(optimizer, 1.0, 0.01, steps)
