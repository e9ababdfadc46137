"""A population of policies in one batched environment: every row is one run under one member's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from optenv.benchmark.run import run_controller
from optenv.control.controller import Controller
from optenv.control.policy import PolicyFile
from optenv.inner.trainer import BatchedTrainer

Array = np.ndarray
Build = Callable[[PolicyFile], Controller]


class Population(Controller):
    """K controllers of one kind side by side; of N runs, each steers N / K, one member's after the other's."""

    def __init__(self, members: Sequence[Controller]):
        """Take the members, which have one interface.

        Raises:
          ValueError: if there are none, or their interfaces differ.
        """
        if len({repr(member.interface) for member in members}) != 1:
            raise ValueError("population: expected at least one member, and one interface for all")
        self.interface, self._members = members[0].interface, list(members)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin `num_runs` runs, which all members share out evenly.

        Raises:
          ValueError: if they do not divide.
        """
        each, left = divmod(num_runs, len(self._members))
        if left:
            raise ValueError(f"population: expected a multiple of {len(self._members)} runs; received {num_runs}")
        for member in self._members:
            member.reset(each, num_groups)

    def act(self, observation: Array) -> Array:
        """Return every member's actions for its own runs, [N, G, knobs]."""
        parts = np.split(observation, len(self._members))
        return np.concatenate([member.act(part) for member, part in zip(self._members, parts, strict=True)])


def final_losses(trainer: BatchedTrainer, members: Sequence[Controller], seeds: Array, rates: Array, total: int,
                 *, tell_total: bool = True) -> Array:  # fmt: skip
    """Train every member on the same seeds and return the final validation losses, [K, S]; inf where one diverged.

    Equal seeds have equal weights, data and minibatches (common random numbers), so that members
    differ by nothing but their control.

    Args:
      trainer: what trains the runs, K S of them at once.
      members: K controllers.
      seeds: [S] uint64.
      rates: base learning rates, [S].
      total: budget in inner steps.
      tell_total: whether the members observe it.
    """
    k = len(members)
    outcome = run_controller(
        trainer, Population(members), np.tile(seeds, k), np.tile(rates, k), total, tell_total=tell_total
    )
    return outcome.loss.reshape(k, -1)
