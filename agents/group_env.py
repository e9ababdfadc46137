"""The per-group view for stable-baselines3: every row is one parameter group of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from agents.curriculum import Curriculum
from agents.sharing import cost, share_out
from agents.slots import ROWS, LocalHost, RemoteHost, Step
from optenv.control.features import FEATURES

Array = np.ndarray


class GroupVecEnv(VecEnv):
    """Vector environments drawn from a curriculum, seen group by group.

    Each of `slots` environments trains as many runs as give `ROWS` rows, one per run and group. All
    are drawn anew when their episodes end, which is at the same control step. All groups of a run
    earn the run's reward.
    """

    render_mode = None

    def __init__(self, curriculum: Curriculum, *, slots: int = 8, workers: int = 0, seed: int = 0):
        """Prepare the environments; the first are drawn by `reset`.

        Args:
          curriculum: what they are drawn from.
          slots: how many there are at a time.
          workers: processes that run them; 0 runs them in this one.
          seed: of the draws.
        """
        self._curriculum, self._generator = curriculum, np.random.default_rng(seed)
        self._drawn_from = self._generator.bit_generator.state
        self._hosts: list[LocalHost | RemoteHost] = [RemoteHost() for _ in range(min(workers, slots))] or [LocalHost()]
        self._num_slots = slots
        low = np.array([f.low for f in FEATURES.values()], np.float32)
        high = np.array([f.high for f in FEATURES.values()], np.float32)
        knobs = len(curriculum.settings["knobs"])
        super().__init__(slots * ROWS, gymnasium.spaces.Box(low, high), gymnasium.spaces.Box(-1.0, 1.0, (knobs,)))

    def get_state(self) -> Mapping[str, Any]:
        """Return what `set_state` needs to draw the present environments again."""
        return self._drawn_from

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Let the next `reset` draw what was drawn after `state`."""
        self._generator.bit_generator.state = state

    def reset(self) -> Array:
        """Draw new environments; return [rows, features]."""
        self._drawn_from = self._generator.bit_generator.state
        draws = range(self._num_slots)
        drawn = [(self._curriculum.draw(self._generator), int(self._generator.integers(2**31))) for _ in draws]
        shares = share_out([cost(settings) for settings, _ in drawn], len(self._hosts))
        self._cuts = np.cumsum([len(share) * ROWS for share in shares])[:-1]
        # Row i of this environment is row _place[i] of the hosts' rows one after the other.
        self._place = np.argsort(np.concatenate([np.arange(ROWS) + slot * ROWS for share in shares for slot in share]))
        for host, share in zip(self._hosts, shares, strict=True):
            host.send("begin", [drawn[slot] for slot in share])
        self._steps_left = self._curriculum.decisions
        return self._gather([host.receive() for host in self._hosts])

    def step_async(self, actions: Array) -> None:
        """Send the actions, [rows, knobs], to the environments."""
        placed = np.empty_like(actions)
        placed[self._place] = actions
        for host, part in zip(self._hosts, np.split(placed, self._cuts), strict=True):
            host.send("step", part)

    def step_wait(self) -> Step:
        """Wait for the environments to have advanced by one control step."""
        observations, rewards, ended, infos = zip(*(host.receive() for host in self._hosts), strict=True)
        flat = [info for part in infos for info in part]
        result = self._gather(rewards), self._gather(ended), [flat[place] for place in self._place]
        self._steps_left -= 1
        return self._gather(observations) if self._steps_left else self.reset(), *result

    def _gather(self, parts: Sequence[Array]) -> Array:
        return np.concatenate(parts)[self._place]

    def close(self) -> None:
        """End the worker processes."""
        for host in self._hosts:
            host.close()

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
