"""The trainable numbers of a policy file as one vector, and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from optenv.control.policy import PolicyFile

Array = np.ndarray
FIXED = ("mean", "std")


def trainable(file: PolicyFile) -> list[str]:
    """List the tensors that are trained, in the order of the vector: all but the statistics of the features."""
    return sorted(name for name in file.tensors if name not in FIXED)


def flatten(file: PolicyFile) -> Array:
    """Return the trainable tensors as one vector, [D] float64."""
    return np.concatenate([np.asarray(file.tensors[name], float).ravel() for name in trainable(file)])


def unflatten(file: PolicyFile, vector: Array) -> PolicyFile:
    """Return `file` with its trainable tensors replaced by those of a vector, [D], as float32.

    Raises:
      ValueError: if the vector has another length.
    """
    names = trainable(file)
    sizes = [file.tensors[name].size for name in names]
    if vector.shape != (sum(sizes),):
        raise ValueError(f"weights: expected {sum(sizes)} numbers; received shape {vector.shape}")
    parts = np.split(vector, np.cumsum(sizes)[:-1])
    tensors = {n: p.reshape(file.tensors[n].shape).astype(np.float32) for n, p in zip(names, parts, strict=True)}
    return replace(file, tensors={**file.tensors, **tensors})
