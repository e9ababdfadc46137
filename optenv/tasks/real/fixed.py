"""Fixed data sets: a reproducible split, features standardised by the training part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from optenv.tasks.task import Data


@dataclass(frozen=True)
class Fixed:
    """A source of data that draws the same data for every run.

    Attributes:
      load: returns the data set, the same object every time; called no earlier than the first draw.
    """

    load: Callable[[], Data]

    def __call__(self, generator: Generator) -> Data:
        """Return the data set, whatever the generator."""
        return self.load()


def split(*tensors: Tensor, valid: float = 0.25) -> Data:
    """Split rows at random, the same way every time.

    Args:
      tensors: tensors with the same number of rows.
      valid: share of the rows that goes into the validation set.
    """
    count = len(tensors[0])
    order = torch.randperm(count, generator=Generator().manual_seed(0))
    train, held_back = order[round(valid * count) :], order[: round(valid * count)]
    return Data(train=tuple(t[train] for t in tensors), valid=tuple(t[held_back] for t in tensors))


def standardise(data: Data, *, first: int = 1) -> Data:
    """Give the columns of the first tensors mean 0 and deviation 1, by the statistics of the training set.

    Args:
      data: the data set.
      first: how many of its tensors; 1 leaves labels alone, 2 includes the targets of a regression.
    """
    train, valid = list(data.train), list(data.valid)
    for k in range(first):
        deviation, mean = torch.std_mean(data.train[k], 0)
        train[k], valid[k] = (train[k] - mean) / deviation, (valid[k] - mean) / deviation
    return Data(train=tuple(train), valid=tuple(valid))
