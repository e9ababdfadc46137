"""The per-group view for stable-baselines3, every row one parameter group of one run, and PPO on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from agents.training.curriculum import Curriculum, cost
from agents.training.rollout_workers import ROWS, LocalWorker, RemoteWorker, Step
from optenv.control.controller import Interface
from optenv.control.features import FEATURE_NAMES, bounds
from optenv.errors import needed_for

with needed_for("training with stable-baselines3"):
    from stable_baselines3 import PPO
    from stable_baselines3.common.buffers import RolloutBuffer
    from stable_baselines3.common.vec_env import VecEnv

Array = np.ndarray
INTERFACE = ("features", "knobs", "control", "first_update", "first_update_norm")


class GroupVecEnv(VecEnv):
    """Vector environments drawn from a curriculum, seen group by group.

    Each of the `environments` trains as many runs as give `ROWS` rows, one per run and group. All
    are drawn anew when their episodes end, which is at the same control step. All groups of a run
    earn the run's reward.
    """

    render_mode = None

    def __init__(self, curriculum: Curriculum, *, environments: int = 8, workers: int = 0, seed: int = 0):
        """Prepare the environments; the first are drawn by `reset`.

        Args:
          curriculum: what they are drawn from.
          environments: how many there are at a time.
          workers: processes that run them; 0 runs them in this one.
          seed: of the draws.
        """
        self._curriculum, self._generator = curriculum, np.random.default_rng(seed)
        self._drawn_from = self._generator.bit_generator.state
        remote = [RemoteWorker() for _ in range(min(workers, environments))]
        self._workers: list[LocalWorker | RemoteWorker] = [*remote] or [LocalWorker()]
        self._num_environments = environments
        low, high = bounds(1, curriculum.settings.get("features", FEATURE_NAMES))
        knobs = len(curriculum.settings["knobs"])
        seen, turned = gymnasium.spaces.Box(low, high), gymnasium.spaces.Box(-1.0, 1.0, (knobs,))
        super().__init__(environments * ROWS, seen, turned)

    @property
    def interface(self) -> Interface:
        """What a model of this environment observes and turns, of one group at a time."""
        settings = self._curriculum.settings
        given = {name: settings[name] for name in INTERFACE if name in settings}
        return Interface(**given, decisions=self._curriculum.decisions)

    def get_state(self) -> Mapping[str, Any]:
        """Return what `set_state` needs to draw the present environments again."""
        return self._drawn_from

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Let the next `reset` draw what was drawn after `state`."""
        self._generator.bit_generator.state = state

    def reset(self) -> Array:
        """Draw new environments; return [rows, features]."""
        self._drawn_from = self._generator.bit_generator.state
        draws = range(self._num_environments)
        drawn = [(self._curriculum.draw(self._generator), int(self._generator.integers(2**31))) for _ in draws]
        shares = share_out([cost(settings) for settings, _ in drawn], len(self._workers))
        self._cuts = np.cumsum([len(share) * ROWS for share in shares])[:-1]
        # Row i of this environment is row _place[i] of the workers' rows one after the other.
        self._place = np.argsort(np.concatenate([np.arange(ROWS) + i * ROWS for share in shares for i in share]))
        for worker, share in zip(self._workers, shares, strict=True):
            worker.send("begin", [drawn[i] for i in share])
        self._steps_left = self._curriculum.decisions
        return self._gather([worker.receive() for worker in self._workers])

    def step_async(self, actions: Array) -> None:
        """Send the actions, [rows, knobs], to the environments."""
        placed = np.empty_like(actions)
        placed[self._place] = actions
        for worker, part in zip(self._workers, np.split(placed, self._cuts), strict=True):
            worker.send("step", part)

    def step_wait(self) -> Step:
        """Wait for the environments to have advanced by one control step."""
        observations, rewards, ended, infos = zip(*(worker.receive() for worker in self._workers), strict=True)
        flat = [info for part in infos for info in part]
        result = self._gather(rewards), self._gather(ended), [flat[place] for place in self._place]
        self._steps_left -= 1
        return self._gather(observations) if self._steps_left else self.reset(), *result

    def _gather(self, parts: Sequence[Array]) -> Array:
        return np.concatenate(parts)[self._place]

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._workers:
            worker.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute, the same for all rows."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method once."""
        return [getattr(self, method_name)(*args, **kwargs)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No row is wrapped."""
        return [False] * len(list(self._get_indices(indices)))


def share_out(costs: Sequence[float], num_shares: int) -> list[list[int]]:
    """Divide jobs among workers, dearest first, each to the one with least to do (Graham 1969).

    Args:
      costs: of the jobs, positive.
      num_shares: workers, at most as many as jobs; each gets at least one.

    Returns:
      For each worker, the indices of its jobs.

    >>> share_out([1.0, 3.0, 1.0], 2)
    [[1], [0, 2]]
    """
    shares: list[list[int]] = [[] for _ in range(num_shares)]
    loads = [0.0] * num_shares
    for job in sorted(range(len(costs)), key=lambda job: -costs[job]):
        least = min(range(num_shares), key=lambda w: loads[w])
        shares[least].append(job)
        loads[least] += costs[job]
    return shares


class BalancedPPO(PPO):
    """Proximal policy optimisation (Schulman et al. 2017) with advantages in units of their own environment's spread.

    A task whose loss falls by many decades has returns a hundred times more varied than a language
    model's; in one batch its advantages would drown all others.
    """

    def collect_rollouts(self, *arguments: Any, **keywords: Any) -> bool:
        """Collect rollouts as PPO does, then divide every environment's advantages by their standard deviation."""
        going_on = super().collect_rollouts(*arguments, **keywords)
        if going_on:
            assert isinstance(self.rollout_buffer, RolloutBuffer)
            balance(self.rollout_buffer)
        return going_on


def balance(buffer: RolloutBuffer) -> None:
    """Divide the advantages, [steps, rows], of each environment's `ROWS` rows by their standard deviation, in place."""
    by_environment = buffer.advantages.reshape(len(buffer.advantages), -1, ROWS)
    spread = by_environment.std(axis=(0, 2), keepdims=True)
    buffer.advantages = (by_environment / (spread + 1e-8)).reshape(buffer.advantages.shape)
