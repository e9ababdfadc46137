"""Counter-based randomness: what a run draws depends on its own seed and step alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

Array = np.ndarray
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


def mix(value: Array | np.uint64) -> Any:
    """Scramble 64-bit integers (the finaliser of SplitMix64; Steele, Lea and Flood 2014)."""
    value = np.asarray(value, dtype=np.uint64)
    with np.errstate(over="ignore"):
        value = (value ^ (value >> _30)) * _FIRST
        value = (value ^ (value >> _27)) * _SECOND
    return value ^ (value >> _31)


def generator(seed: int, stream: int) -> torch.Generator:
    """Return the generator of one run's `stream`: 0 for initial weights, 1 for data."""
    with np.errstate(over="ignore"):
        key = mix(np.uint64(seed) + _GOLDEN * np.uint64(stream + 1))
    return torch.Generator().manual_seed(int(key >> np.uint64(1)))


def minibatch_indices(seeds: Array, first_step: Array, num_steps: int, batch_size: int, num_examples: int) -> Array:
    """Draw the examples of `num_steps` minibatches for each run, with replacement.

    Args:
      seeds: [N] uint64.
      first_step: inner steps each run has taken, [N].
      num_steps: minibatches to draw.
      batch_size: examples in each.
      num_examples: indices are drawn from 0 to `num_examples - 1`.

    Returns:
      [num_steps, N, batch_size] int64.
    """
    step = first_step.astype(np.uint64)[None, :] + np.arange(num_steps, dtype=np.uint64)[:, None]
    with np.errstate(over="ignore"):
        key = mix(seeds.astype(np.uint64)[None, :] + _GOLDEN * (step + np.uint64(3)))
        bits = mix(key[:, :, None] + _GOLDEN * np.arange(1, batch_size + 1, dtype=np.uint64))
    # 53 random bits as a fraction of 1: the bias of the product is below num_examples / 2^53.
    return ((bits >> np.uint64(11)).astype(np.float64) * (num_examples / 2.0**53)).astype(np.int64)
