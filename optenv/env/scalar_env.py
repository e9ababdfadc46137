"""OptControl-v0 for one run: the vector environment with N = 1."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from optenv.env.checks import check_action, check_seed
from optenv.env.settings import check_names
from optenv.env.vector_env import METADATA, OptControlVectorEnv

Array = np.ndarray


class OptControlEnv(gymnasium.Env):
    """Train one inner run; see `OptControlVectorEnv` for observation, action and reward."""

    metadata = METADATA

    def __init__(self, *, max_episode_steps: int | None = None, render_mode: str | None = None, **settings: Any):
        """Prepare the environment.

        Args:
          max_episode_steps: control steps after which an episode is truncated; None, or -1, never does.
          render_mode: None, "rgb_array" or "ansi"; a twin is run beside the run to be drawn with it.
          **settings: see `EnvSettings`.

        Raises:
          ValueError: if a setting is unknown or out of range.
        """
        check_names(settings)
        self.vector = OptControlVectorEnv(
            max_episode_steps=max_episode_steps,
            autoreset_mode=AutoresetMode.DISABLED,
            render_mode=render_mode,
            **settings,
        )
        self.render_mode = render_mode
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space

    @property
    def settings(self) -> Any:
        """The settings the environment was made with."""
        return self.vector.settings

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin a new episode.

        Args:
          seed: the same seed gives the same bits; None goes on from the last.
          options: none are read.

        Returns:
          The observation, [6 + 6 G] float32, and the info.
        """
        seeds = check_seed(seed, 1)
        super().reset(seed=seeds[0])
        observation, infos = self.vector.reset(seed=seeds)
        return observation[0], _first(infos)

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Advance the run by one control step; `action` is [G * knobs] in [-1, 1]."""
        observation, reward, terminated, truncated, infos = self.vector.step(
            check_action(action, self.action_space.shape)[None]
        )
        return observation[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), _first(infos)

    def render(self) -> Any:
        """Draw the run so far, as `render_mode` says."""
        frames = self.vector.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """End; only `close` may be called after it."""
        self.vector.close()


def _first(infos: dict[str, Any]) -> dict[str, Any]:
    return {name: value[0].item() for name, value in infos.items() if not name.startswith("_")}
