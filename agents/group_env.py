"""The per-group view for stable-baselines3: every row is one parameter group of one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from agents.curriculum import Curriculum
from optenv.control.features import FEATURES
from optenv.env import OptControlVectorEnv

Array = np.ndarray
ROWS = 60


class GroupVecEnv(VecEnv):
    """Several vector environments drawn from a curriculum, seen group by group.

    Each of `slots` environments trains as many runs as give `ROWS` rows (one per run and group),
    and is drawn anew when its episodes end. Rows left over are idle: they observe zeros and earn
    nothing. All groups of a run earn the run's reward.
    """

    def __init__(self, curriculum: Curriculum, slots: int, seed: int):
        """Draw the first environments from `curriculum` with a generator seeded by `seed`."""
        self._curriculum, self._generator = curriculum, np.random.default_rng(seed)
        self._slots: list[_Slot] = [self._new_slot() for _ in range(slots)]
        low = np.array([f.low for f in FEATURES.values()], np.float32)
        high = np.array([f.high for f in FEATURES.values()], np.float32)
        num_knobs = self._slots[0].num_knobs
        self._actions: Array | None = None
        super().__init__(slots * ROWS, gymnasium.spaces.Box(low, high), gymnasium.spaces.Box(-1.0, 1.0, (num_knobs,)))

    def _new_slot(self) -> _Slot:
        return _Slot(self._curriculum.draw(self._generator), int(self._generator.integers(2**31)))

    def reset(self) -> Array:
        """Begin new episodes everywhere; return [rows, features]."""
        self._slots = [self._new_slot() for _ in self._slots]
        return np.concatenate([slot.observe() for slot in self._slots])

    def step_async(self, actions: Array) -> None:
        """Remember the actions, [rows, knobs]."""
        self._actions = actions

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Advance every run by one control step."""
        assert self._actions is not None
        parts = [slot.step(a) for slot, a in zip(self._slots, np.split(self._actions, len(self._slots)), strict=True)]
        observation, reward, ended, infos = zip(*parts, strict=True)
        observation = list(observation)
        for i, slot in enumerate(self._slots):
            if slot.over:
                self._slots[i] = self._new_slot()
                observation[i] = self._slots[i].observe()
        return np.concatenate(observation), np.concatenate(reward), np.concatenate(ended), [x for part in infos for x in part]

    def close(self) -> None:
        """Nothing is held open."""

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


class _Slot:
    """One vector environment and its rows."""

    def __init__(self, settings: dict[str, Any], seed: int):
        groups = OptControlVectorEnv(1, **settings).max_groups
        self.env = OptControlVectorEnv(max(1, ROWS // groups), **settings)
        self.num_knobs = len(settings["knobs"])
        self._used = self.env.num_envs * groups
        self._left = self.env.settings.num_inner_steps // self.env.settings.steps_per_action
        self.env.reset(seed=seed)

    @property
    def over(self) -> bool:
        return self._left == 0

    def observe(self) -> Array:
        return self._rows(self.env.group_observation())

    def step(self, actions: Array) -> tuple[Array, Array, Array, Sequence[dict[str, Any]]]:
        shape = (self.env.num_envs, -1)
        _, reward, terminated, _, info = self.env.step(actions[: self._used].reshape(shape))
        self._left -= 1
        groups = self.env.max_groups
        observation = self.observe()
        # A run that diverged began anew within the slot and is cut off when the slot ends.
        cut = np.full(len(reward), self.over) & ~terminated
        infos: list[dict[str, Any]] = [{} for _ in range(ROWS)]
        for row in np.flatnonzero(np.repeat(terminated | cut, groups)):
            infos[row] = {"terminal_observation": observation[row], "TimeLimit.truncated": bool(cut[row // groups])}
        for row in range(self._used, ROWS):
            infos[row] = {"terminal_observation": observation[row]} if self.over else {}
        idle = np.zeros(ROWS - self._used)
        ended = np.concatenate([np.repeat(terminated | cut, groups), idle + self.over]).astype(bool)
        return observation, np.concatenate([np.repeat(reward, groups), idle]).astype(np.float32), ended, infos

    def _rows(self, observation: Array) -> Array:
        rows = observation.reshape(-1, observation.shape[-1])
        return np.concatenate([rows, np.zeros((ROWS - len(rows), rows.shape[1]), np.float32)])
