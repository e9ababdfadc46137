"""What an environment is called with, checked before anything changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from optenv.errors import unknown_name

Array = np.ndarray
AUTORESET_MODES = (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)
WHOLE = (int, np.integer)


def check_whole(name: str, value: Any) -> int:
    """Return a whole number of at least 1.

    Raises:
      ValueError: if it is something else.
    """
    if not isinstance(value, WHOLE) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: expected a whole number of at least 1; received {value!r}")
    return int(value)


def check_autoreset(mode: AutoresetMode | str) -> AutoresetMode:
    """Return the autoreset mode, given as itself or as its value.

    Raises:
      ValueError: if it is neither SAME_STEP nor DISABLED.
    """
    if mode not in (*AUTORESET_MODES, *(known.value for known in AUTORESET_MODES)):
        raise ValueError(f"autoreset_mode: expected SAME_STEP or DISABLED; received {mode!r}")
    return AutoresetMode(mode)


def check_render_mode(mode: str | None, known: Sequence[str]) -> str | None:
    """Return the render mode.

    Raises:
      ValueError: if it is not one of the known.
    """
    if mode is not None and mode not in known:
        raise unknown_name("render_mode", mode, known)
    return mode


def check_mask(mask: Any, num_envs: int) -> Array:
    """Return which rows to reset, [N] bool: all of them where there is no mask.

    Raises:
      ValueError: if it is not one boolean per row.
    """
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
    valid = all(s is None or (isinstance(s, WHOLE) and s >= 0) for s in seeds)
    if len(seeds) != num_envs or not valid:
        raise ValueError(
            f"seed: expected a whole number of at least 0, or one per environment ({num_envs}); received {seed!r}"
        )
    return [s if s is None else int(s) + i * (np.ndim(seed) == 0) for i, s in enumerate(seeds)]
