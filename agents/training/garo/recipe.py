"""GARO's recipe: a teacher with hindsight, then a recurrent network that imitates it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.policies.garo.controller import BASE_DECAY, EMITTED, ONE, untrained
from agents.policies.garo.torch_twin import GruTwin
from agents.training.curriculum import BUDGETS, Curriculum, cost, members
from agents.training.hindsight.teacher import teach
from agents.training.hindsight.trials import TRIALS, PeakNetwork
from agents.training.imitation import NOISE, Teacher, imitate, linear_decay
from agents.training.run_folder import CONTROLLER, begin, settings_of
from optenv.benchmark.run import run_controller
from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURE_NAMES
from optenv.inner.trainer import make_trainer

Array = np.ndarray
INTERFACE = Interface(knobs=EMITTED, control="relative", first_update=1e-3)
IMITATED, RUNS = 32, 24  # tasks whose runs are imitated, and runs of each
FITTING_STEPS, RATE = 400, 1e-2
_DRAWS = 1_000_000  # keeps these draws apart from others under the same seed

FIXED_ACTIONS = (1.0, 0.0)  # of momentum, which then rises to its bound, and of weight decay
MOMENTUM = 2.0  # emission before tanh
# See docs/research.md, "GARO: from a schedule by evolution, then by hindsight".
FIRST_PEAK, PEAK_RANGE, MEMORY = 2.25, (0.5, 4.75), 0.5
_PROGRESS = FEATURE_NAMES.index("progress")


@dataclass(frozen=True, kw_only=True)
class GaroSettings:
    """Settings of a training.

    Attributes:
      agent: "garo".
      tasks: tasks or families; empty for the synthetic train split, the last two members of each family left out.
      optimizers: base optimizers.
      options: their hyperparameters besides the rate, by name.
      lr: base learning rate of the runs that are imitated; the first scale takes its place.
      budgets: inner steps of the runs.
      groupings: what a parameter group is, drawn for every task.
      hindsight: tasks in each of the rounds on which peaks are tried, see `agents.training.hindsight`.
      hidden_budget_share: share of the imitated tasks whose budget is not observed.
      workers: processes.
      seed: of everything.
    """

    agent: str = "garo"
    tasks: Sequence[str] = ()
    optimizers: Sequence[str] = ("sgd",)
    options: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: {"sgd": {"weight_decay": BASE_DECAY}})
    lr: float = 1e-2
    budgets: Sequence[int] = (40, *BUDGETS)
    groupings: Sequence[str] = ("layer", "model")
    hindsight: int = 280
    hidden_budget_share: float = 0.2
    workers: int = 2
    seed: int = 0

    @property
    def base(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """The base optimizer that it is judged on, the first of those it is trained on, and its hyperparameters."""
        first = self.optimizers[0]
        return first, tuple(sorted(self.options.get(first, {}).items()))

    @property
    def curriculum(self) -> Curriculum:
        """What it is trained on."""
        return Curriculum(
            tasks=tuple(self.tasks) or members(),
            optimizers=tuple(self.optimizers),
            options=self.options,
            budgets=tuple(self.budgets),
            groupings=tuple(self.groupings),
            decisions=INTERFACE.decisions,
            settings={},
        )


class HindsightTeacher(Teacher):
    """Rise to e^peak times the first rate, then fall linearly to 0 at the end of the budget, under momentum.

    The choices of groups and of decisions are averaged, since single ones jump about. Recorded are observations
    averaged over groups, and emissions before softplus, tanh and softplus.
    """

    def __init__(self, interface: Interface, network: PeakNetwork, generator: np.random.Generator):
        """Choose the network that is followed; `interface` is that of the policy, and `generator` of the noise."""
        self.interface, self._network, self._generator = interface, network, generator

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin runs at the first rate."""
        super().reset(num_runs, num_groups)
        self._log_rate, self._peak = np.zeros(num_runs), np.full(num_runs, FIRST_PEAK)

    def demonstrate(self, observation: Array) -> tuple[Array, Array, Array]:
        """Return mean observations, [N, features], emissions, [N, 3], and actions of all three knobs, [N, G, 3]."""
        chosen = self._network.choose(observation.reshape(-1, observation.shape[-1])).reshape(observation.shape[:2])
        self._peak = MEMORY * self._peak + (1.0 - MEMORY) * np.clip(chosen.mean(axis=1), *PEAK_RANGE)
        wanted = linear_decay(observation[:, 0, _PROGRESS], self._peak, self.interface.decisions)
        change = np.clip(wanted - self._log_rate, -1.0, 1.0)
        emitted = np.log(np.expm1(np.exp(change))) - ONE
        emissions = np.stack([emitted, np.full_like(emitted, MOMENTUM), 0.0 * emitted], axis=-1)
        moved = np.clip(change + NOISE * self._generator.standard_normal(len(change)), -1.0, 1.0)
        self._log_rate = self._log_rate + moved
        action = np.stack([moved, *(np.full_like(moved, a) for a in FIXED_ACTIONS)], axis=-1)
        return observation.mean(axis=1), emissions, np.repeat(action[:, None], observation.shape[1], axis=1)


def train(settings: GaroSettings, folder: Path, *, resume: bool = False, progress: bool = True) -> Path:
    """Train GARO, or go on training it; an interrupted and resumed training gives the same file, bit for bit.

    Args:
      settings: what to train on.
      folder: where trials of peaks, which a resumed training goes on from, and the controller go.
      resume: whether to go on from the folder's trials.
      progress: whether to show progress bars.

    Returns:
      The path of the controller file.

    Raises:
      FileNotFoundError: if there is nothing to resume.
    """
    torch.set_num_threads(1)  # as the workers, so that every machine finds the same
    if begin(folder, settings, resume=resume, progress=TRIALS):
        return folder / CONTROLLER
    started, generator = time.monotonic(), np.random.default_rng(settings.seed)
    network = teach(
        settings.curriculum,
        INTERFACE,
        folder,
        number=settings.hindsight,
        workers=settings.workers,
        seed=settings.seed,
        progress=progress,
        fixed_actions=FIXED_ACTIONS,
    )
    twin, teacher = (
        GruTwin(untrained(settings.seed, interface=INTERFACE)),
        HindsightTeacher(INTERFACE, network, generator),
    )
    episodes = _episodes(settings, generator)
    imitate(twin, teacher, episodes, generator, rate=RATE, steps=FITTING_STEPS, progress=progress)
    notes = {"settings": asdict(settings), "seconds": round(time.monotonic() - started, 1)}
    path = folder / CONTROLLER
    replace(twin.export(), notes=notes).write(path)
    return path


def _episodes(settings: GaroSettings, generator: np.random.Generator) -> Iterator[Callable[[Controller], Any]]:
    """Yield the runs that are imitated, task by task."""
    for drawn, reveal_budget in _drawn_tasks(settings):
        trainer = make_trainer(drawn["task"], drawn["optimizer"], drawn["groups"], **drawn["optimizer_options"])
        yield partial(
            run_controller,
            trainer,
            seeds=generator.integers(2**62, size=RUNS).astype(np.uint64),
            rates=np.full(RUNS, settings.lr),
            total=drawn["num_inner_steps"],
            reveal_budget=reveal_budget,
            guard=False,
        )


def _drawn_tasks(settings: GaroSettings) -> list[tuple[dict[str, Any], bool]]:
    """Draw tasks, and whether their budgets are observed; a function of the seed."""
    found = []
    for i in range(IMITATED):
        generator = np.random.default_rng((settings.seed, _DRAWS, i, 0))
        drawn = settings.curriculum.draw(generator)
        found.append((drawn, bool(generator.uniform() >= settings.hidden_budget_share)))
    return sorted(found, key=lambda pair: -_weight(cost(pair[0])))


def _weight(cost: float) -> float:
    """Order tasks as those of the shipped policy were: by their cost, which counts no further from 1e8 on."""
    return max(4, round(24 * min(1.0, 1e8 / cost))) * cost


def read_settings(folder: Path) -> GaroSettings:
    """Read the settings of a run folder.

    Raises:
      FileNotFoundError: if the folder holds no run.
    """
    return settings_of(folder, GaroSettings)


def from_options(options: argparse.Namespace) -> GaroSettings:
    """Turn the options of a command line into settings; see `agents.cli.add_train`.

    Of them the tasks, the workers, the seed and `hindsight` are read; the base optimizer is SGD.
    """
    settings = GaroSettings(tasks=tuple(options.task), workers=options.workers, seed=options.seed)
    return settings if options.hindsight is None else replace(settings, hindsight=options.hindsight)
