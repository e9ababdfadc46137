"""OptControl-v0 for one run: the vector environment with N = 1."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from optenv.env.vector_env import METADATA, OptControlVectorEnv

Array = np.ndarray


class OptControlEnv(gymnasium.Env):
    """Train one inner run; see `OptControlVectorEnv` for observation, action and reward."""

    metadata = METADATA

    def __init__(self, *, render_mode: str | None = None, **settings: Any):
        """Prepare the environment; see `EnvSettings` for the settings."""
        self.vector = OptControlVectorEnv(1, autoreset_mode=AutoresetMode.DISABLED, render_mode=render_mode, **settings)
        self.render_mode = render_mode
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space

    @property
    def settings(self) -> Any:
        """The settings the environment was made with."""
        return self.vector.settings

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin a new episode; the same seed gives the same bits."""
        super().reset(seed=seed)
        observation, infos = self.vector.reset(seed=seed if seed is None else [seed])
        return observation[0], _first(infos)

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Advance the run by one control step; `action` is [G * knobs] in [-1, 1]."""
        observation, reward, terminated, truncated, infos = self.vector.step(np.asarray(action)[None])
        return observation[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), _first(infos)

    def render(self) -> Any:
        """Draw the run so far, as `render_mode` says."""
        frames = self.vector.render()
        return None if frames is None else frames[0]


def _first(infos: dict[str, Any]) -> dict[str, Any]:
    return {name: value[0].item() for name, value in infos.items() if not name.startswith("_")}
