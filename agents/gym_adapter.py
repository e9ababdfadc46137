"""Any Gymnasium vector environment as a vector environment of stable-baselines3."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecEnv

Array = np.ndarray


class GymnasiumVecEnv(VecEnv):
    """Adapt a Gymnasium vector environment that resets within the step (`AutoresetMode.SAME_STEP`)."""

    def __init__(self, env: VectorEnv):
        """Wrap `env`.

        Raises:
          ValueError: if it resets in another way.
        """
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"autoreset_mode: expected SAME_STEP; received {mode}")
        self.env, self.render_mode = env, env.render_mode
        self._actions: Array | None = None
        self._next_seed: int | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed the next reset; row i takes `seed + i`."""
        self._next_seed = seed
        return [None if seed is None else seed + i for i in range(self.num_envs)]

    def reset(self) -> Array:
        """Begin new episodes everywhere."""
        observation, _ = self.env.reset(seed=self._next_seed)
        self._next_seed = None
        return observation

    def step_async(self, actions: Array) -> None:
        """Remember the actions."""
        self._actions = actions

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Advance, and say how ended episodes ended in the way stable-baselines3 reads it."""
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        ended = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(ended):
            final = {name: value[row] for name, value in info.get("final_info", {}).items() if not name.startswith("_")}
            infos[row] = final | {
                "terminal_observation": info["final_obs"][row],
                "TimeLimit.truncated": bool(truncated[row] and not terminated[row]),
            }
        return observation, reward.astype(np.float32), ended, infos

    def close(self) -> None:
        """Close the wrapped environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the wrapped environment, the same for all rows."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the wrapped environment."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the wrapped environment once."""
        return [getattr(self.env, method_name)(*args, **kwargs)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Tell whether the wrapped environment is an instance of `wrapper_class`, for all rows."""
        return [isinstance(self.env, wrapper_class)] * len(list(self._get_indices(indices)))
