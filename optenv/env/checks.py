"""What an environment is called with, checked before anything changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from optenv.errors import unknown_name

Array = np.ndarray


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number, of Python or of numpy."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Tell whether a value is a real number, of Python or of numpy."""
    return is_whole(value) or isinstance(value, (float, np.floating))


def check_whole(name: str, value: Any) -> int:
    """Return a whole number of at least 1.

    Raises:
      ValueError: if it is something else.
    """
    if not is_whole(value) or value < 1:
        raise ValueError(f"{name}: expected a whole number of at least 1; received {value!r}")
    return int(value)


def check_limit(limit: int | None) -> float:
    """Return the greatest number of control steps in an episode; infinity for None and, as in Gymnasium, for -1.

    Raises:
      ValueError: if it is none of these and no whole number of at least 1.
    """
    return math.inf if limit is None or limit == -1 else check_whole("max_episode_steps", limit)


def check_autoreset(mode: AutoresetMode | str) -> AutoresetMode:
    """Return the autoreset mode, given as itself or as its value.

    Raises:
      ValueError: if Gymnasium has no such mode.
    """
    known = [each.value for each in AutoresetMode]
    if mode not in (*AutoresetMode, *known):
        raise unknown_name("autoreset_mode", mode, known)
    return AutoresetMode(mode)


def check_render_mode(mode: str | None, known: Sequence[str]) -> str | None:
    """Return the render mode.

    Raises:
      ValueError: if it is not one of the known.
    """
    if mode is not None and mode not in known:
        raise unknown_name("render_mode", mode, known)
    return mode


def check_device(device: Any) -> None:
    """Check that torch can compute on a device.

    Raises:
      ValueError: if it cannot.
    """
    try:
        torch.empty(1, device=torch.device(device)).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device: expected one that torch can use here, such as 'cpu'; received {device!r}") from error


def check_action(action: Any, shape: tuple[int, ...] | None) -> Array:
    """Return an action as an array.

    Raises:
      ValueError: if it does not consist of numbers, or has another shape.
    """
    try:
        numbers = np.asarray(action).astype(float, casting="same_kind")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"action: expected numbers of shape {shape}; received {action!r}") from error
    if numbers.shape != shape:
        raise ValueError(f"action: expected shape {shape}; received {numbers.shape}")
    return numbers


def check_mask(options: Any, num_envs: int) -> Array:
    """Return which rows to reset, [N] bool: all of them where the options hold no `reset_mask`.

    Raises:
      ValueError: if the options are no dictionary, or the mask is not one boolean per row.
    """
    if not isinstance(options, (Mapping, type(None))):
        raise ValueError(f"options: expected a dictionary or None; received {options!r}")
    mask = (options or {}).get("reset_mask")
    marks = np.ones(num_envs, bool) if mask is None else np.asarray(mask)
    if marks.shape != (num_envs,) or marks.dtype != bool:
        raise ValueError(f"reset_mask: expected {num_envs} booleans; received {mask!r}")
    return marks


def check_seed(seed: Any, num_envs: int) -> list[int | None]:
    """Return one seed per row, None where the row goes on with its own generator.

    Args:
      seed: one seed, from which row i takes `seed + i`, or one per row, or None.
      num_envs: number of rows, N.

    Raises:
      ValueError: if there is not one whole number of at least 0 per row.
    """
    seeds = [seed] * num_envs if np.ndim(seed) == 0 else list(seed)
    valid = all(s is None or (is_whole(s) and s >= 0) for s in seeds)
    if len(seeds) != num_envs or not valid:
        raise ValueError(
            f"seed: expected a whole number of at least 0, or one per environment ({num_envs}); received {seed!r}"
        )
    return [s if s is None else int(s) + i * (np.ndim(seed) == 0) for i, s in enumerate(seeds)]
