"""Any Gymnasium vector environment as a vector environment of stable-baselines3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from optenv.errors import needed_for

with needed_for("training with stable-baselines3"):
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
        infos = [_of_row(info, row) for row in range(self.num_envs)]
        for row in np.flatnonzero(ended).tolist():
            infos[row] = _of_row(info.get("final_info", {}), row) | {
                "terminal_observation": info["final_obs"][row],
                "TimeLimit.truncated": bool(truncated[row] and not terminated[row]),
            }
        return observation, reward.astype(np.float32), ended, infos

    def get_images(self) -> Sequence[Array | None]:
        """Return a picture of every row, [H, W, 3] uint8; None for each where the environment draws none."""
        frames: Any = self.env.render() if self.render_mode == "rgb_array" else None
        return [None] * self.num_envs if frames is None else list(frames)

    def close(self) -> None:
        """Close the wrapped environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the wrapped environment for each of the rows `indices`, the same for all."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the wrapped environment, which all rows share."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the wrapped environment once, and return one answer for each of the rows `indices`.

        Where it returns an array or a tuple with an entry a row, as `validation_loss` and `render` do, each row gets
        its own; else all get what it returned.
        """
        answer = getattr(self.env, method_name)(*args, **kwargs)
        by_row = isinstance(answer, (np.ndarray, tuple)) and len(answer) == self.num_envs
        return [answer[row] if by_row else answer for row in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Tell for each of the rows `indices` whether the wrapped environment is an instance of `wrapper_class`."""
        return [isinstance(self.env, wrapper_class)] * len(list(self._get_indices(indices)))


def _of_row(info: dict[str, Any], row: int) -> dict[str, Any]:
    """Return one row's part of a vector environment's info: what its mask `_name` marks, as plain numbers."""
    marked = (name for name in info if f"_{name}" in info and name not in ("final_obs", "final_info"))
    return {name: np.asarray(info[name])[row].item() for name in marked if info[f"_{name}"][row]}
