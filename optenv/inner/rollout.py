"""The rollout: the one place in the simulation where a control loop advances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from optenv.control.controller import Controller, Interface, check_base
from optenv.control.features import FEATURES
from optenv.control.guard import Authority, Guard
from optenv.control.loop import ControlLoop, check_learner
from optenv.control.signals import TRIAL_RATE, Interval

Array = np.ndarray
Values = dict[str, Array]


class Runs(Protocol):
    """N training runs side by side, one a row; a family's members may have different parameter groups.

    Attributes:
      num_members: members of the family, 1 for a single task.
      max_groups: groups of the widest member, G; narrower ones are padded.
      optimizer: name of the base optimizer.
      hyperparameters: those it has, named as in `Knob.moves`.
    """

    num_members: int
    max_groups: int
    optimizer: str
    hyperparameters: list[str]

    def start(self, rows: Array, members: Array, seeds: Array) -> None:
        """Begin fresh runs in `rows`, [n], of the given members, [n], from the given seeds, [n] uint64."""

    def num_groups(self, num_rows: int) -> Array:
        """Return the number of groups of each row's run, [N]."""

    def group_names(self, row: int) -> tuple[str, ...]:
        """Return the names of the groups of one row's run."""

    def run(self, rate: Array, values: Values, num_steps: int) -> Interval:
        """Take `num_steps` inner steps in every row, at base rates [N] under knob values [N, G]."""

    def evaluate(self, rows: Array, split: str) -> Array:
        """Return the losses of the runs in `rows`, [n] ascending, on the split "valid", "probe" or "test", [n]."""

    def first_update(self, rate: Array, rows: Array, *, norm: bool) -> Array:
        """Return `update_ratio`, or `update_norm`, of fresh runs in `rows`, [n, G]; NaN in the padding."""

    def keep_weights(self, rows: Array) -> None:
        """Keep the weights of the runs in `rows`, [n], instead of those kept before."""

    def restore_weights(self, rows: Array) -> None:
        """Put them back, with a fresh optimizer state; the next minibatch is passed over."""


@dataclass(frozen=True)
class ControlStep:
    """One control step of N runs.

    Attributes:
      observation: what the controller saw, [N, G, features].
      action: what it did, [N, G, knobs].
      positions: positions of the knobs after that, [N, G, knobs].
      values: knob values that came of it by name, [N, G] each.
      interval: what happened under them.
      first: inner steps before it.
      last: inner steps after it.
    """

    observation: Array
    action: Array
    positions: Array
    values: Values
    interval: Interval
    first: int
    last: int


class Rollout:
    """N training runs and their control loop.

    Attributes:
      runs: what is trained.
      loop: the control loop, the same as a controlled optimizer's.
      rates: base learning rates, [N].
      values: knob values in force by name, [N, G] each.
    """

    def __init__(self, runs: Runs, interface: Interface, num_runs: int, authority: Authority | None = None):
        """Prepare; `begin` begins runs, in all rows at first.

        Args:
          runs: what is trained.
          interface: what is observed and turned.
          num_runs: N.
          authority: least and greatest scale; None: as far as the knob goes.
        """
        self.runs, self.rates = runs, np.zeros(num_runs)
        self.loop = ControlLoop(interface, np.full(num_runs, np.nan), runs.max_groups, authority)

    def begin(self, rows: Array, members: Array, seeds: Array, rates: Array, budgets: Array) -> None:
        """Begin fresh runs in `rows`, [n].

        Args:
          rows: ascending.
          members: of the family, [n]; 0 for a single task.
          seeds: [n] uint64; equal seeds begin and draw minibatches alike.
          rates: base learning rates, [n].
          budgets: in inner steps, as the features tell them, [n]; NaN where they are hidden.
        """
        self.runs.start(rows, members, seeds)
        self.rates[rows] = rates
        fresh = ControlLoop(self.loop.interface, budgets, self.runs.max_groups, self.loop.authority)
        if fresh.interface.sets_first_scale:
            norm = fresh.interface.first_update_norm is not None
            size = self.runs.first_update(np.full_like(self.rates, TRIAL_RATE), rows, norm=norm)
            fresh.start_at(size * (self.rates[rows] / TRIAL_RATE)[:, None])
        self.loop.put(rows, fresh)
        self.values = self.loop.values()
        self._exists = np.arange(self.runs.max_groups) < self.runs.num_groups(len(self.rates))[:, None]

    def observe(self) -> Array:
        """Return every group's view, [N, G, features] float32."""
        return self.loop.observe()

    def step(self, action: Array, num_steps: int, learner: Controller | None = None) -> Interval:
        """Take one control step.

        Args:
          action: [N, G, knobs] in [-1, 1].
          num_steps: inner steps, the same in all rows.
          learner: a controller that is told what came of the action, see `ControlLoop.advance`.

        Raises:
          ValueError: if the action has another shape or is NaN.
        """
        # Groups that only pad a narrow run stay neutral, and so observe zeros.
        self.values = self.loop.apply(np.where(self._exists[:, :, None], action, 0.0))
        interval = self.runs.run(self.rates, self.values, num_steps)
        self.loop.advance(interval, learner)
        return interval


def begin(
    runs: Runs, controller: Controller, seeds: Array, rates: Array, total: int, *, reveal_budget: bool = True
) -> Rollout:
    """Begin one run per seed of a single task, to be steered by `controller`; for the arguments see `rollout`."""
    check_base(controller, runs.optimizer, runs.hyperparameters)
    num_runs = len(seeds)
    authority = controller.authority if isinstance(controller, Guard) else None
    begun = Rollout(runs, controller.interface, num_runs, authority)
    budget = np.full(num_runs, float(total) if reveal_budget else np.nan)
    every, members = np.arange(num_runs), np.zeros(num_runs, int)
    begun.begin(every, members, np.asarray(seeds, np.uint64), np.asarray(rates, float), budget)
    return begun


def steer(
    begun: Rollout, controller: Controller, total: int, *, reveal_validation: bool = True, learn: bool = False
) -> Iterator[ControlStep]:
    """Yield every control step of runs that have just begun; for the arguments see `rollout`."""
    controller.reset(len(begun.rates), begun.runs.max_groups)
    every = np.arange(len(begun.rates))
    looks = reveal_validation and observes_validation(controller.interface)
    edges = control_edges(total, controller.interface.decisions).tolist()
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        controller.alarm(begun.loop.lost)
        if looks:
            begun.loop.take_validation(begun.runs.evaluate(every, "valid"), every)
        observation = begun.observe()
        action = controller.act(observation)
        if controller.restore_weights is not None:
            begun.runs.restore_weights(np.flatnonzero(controller.restore_weights))
        if controller.keep_weights is not None:
            begun.runs.keep_weights(np.flatnonzero(controller.keep_weights))
        interval = begun.step(action, last - first, controller if learn else None)
        yield ControlStep(observation, action, begun.loop.positions, begun.values, interval, first, last)


def rollout(
    runs: Runs,
    controller: Controller,
    seeds: Array,
    rates: Array,
    total: int,
    *,
    reveal_budget: bool = True,
    reveal_validation: bool = True,
    guard: bool = True,
    learn: bool = False,
) -> Iterator[ControlStep]:
    """Train one run per seed of a single task under a controller, as a controlled optimizer does.

    Args:
      runs: what is trained; they begin with this call, and advance as control steps are asked for.
      controller: decides every control step.
      seeds: of the runs, [N]; equal seeds begin and draw minibatches alike.
      rates: base learning rates, [N].
      total: budget in inner steps.
      reveal_budget: whether the controller observes the budget.
      reveal_validation: whether it observes validation losses, measured before every control step, if it asks for any.
      guard: pass its actions through a guard, which fades them to neutral while they do harm.
      learn: tell a controller that learns what came of every action; its runs are then no longer independent.

    Returns:
      Every control step, once it is taken.

    Raises:
      ValueError: if it is to learn, and does not, or the base optimizer has nothing for one of its knobs to move.
    """
    if learn:
        check_learner(controller)
    acting = guarded(controller) if guard else controller
    begun = begin(runs, acting, seeds, rates, total, reveal_budget=reveal_budget)
    return steer(begun, acting, total, reveal_validation=reveal_validation, learn=learn)


def guarded(controller: Controller) -> Controller:
    """Return a controller under a guard, or as it is where it has one."""
    return controller if isinstance(controller, Guard) else Guard(controller)


def observes_validation(interface: Interface) -> bool:
    """Return whether an interface has a feature that reads validation losses."""
    return any(FEATURES[name].of_validation for name in interface.features)


def control_edges(total: int, decisions: int) -> Array:
    """Divide a budget into control steps of equal length (the last may be shorter).

    >>> control_edges(10, 3).tolist()
    [0, 3, 6, 9, 10]
    """
    steps = max(1, round(total / decisions))
    return np.append(np.arange(0, total, steps), total)
