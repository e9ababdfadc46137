"""Collected data: split in a reproducible way, features standardised by the training part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from optenv.tasks.task import Batch, Data


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


@dataclass(frozen=True)
class Resplit:
    """A source that splits a table anew for every run: a fifth each for validation and test, standardised.

    Attributes:
      load: returns all examples, features first; called no earlier than the first draw.
    """

    load: Callable[[], Batch]

    def __call__(self, generator: Generator) -> Data:
        """Draw one run's split."""
        examples = self.load()
        fifth = len(examples[0]) // 5
        order = torch.randperm(len(examples[0]), generator=generator)
        return standardise_all(parts(*examples, order=order, valid=fifth, test=fifth))


def split(*tensors: Tensor, valid: float = 0.25) -> Data:
    """Split rows at random, the same way every time.

    Args:
      tensors: tensors with the same number of rows.
      valid: share of the rows that goes into the validation set.
    """
    return parts(*tensors, order=shuffled(len(tensors[0])), valid=round(valid * len(tensors[0])))


def shuffled(count: int) -> Tensor:
    """Return the numbers from 0 to `count - 1` in a random order, the same every time."""
    return torch.randperm(count, generator=Generator().manual_seed(0))


def distinct(x: Tensor) -> Tensor:
    """Return the rows of examples that equal none before them, shuffled, the same way every time."""
    rows = np.unique(x.flatten(1).numpy(), axis=0, return_index=True)[1]
    return torch.from_numpy(np.sort(rows))[shuffled(len(rows))]


def spread(rows: Tensor, count: int) -> Tensor:
    """Return so many of the rows, from the first to the last, evenly."""
    return rows[torch.linspace(0, len(rows) - 1, count).long()]


def parts(*tensors: Tensor, order: Tensor, valid: int, test: int = 0) -> Data:
    """Take the first rows of an order for validation, those after them for test and the others for training.

    Args:
      tensors: tensors with the same number of rows.
      order: the rows that are used, each once.
      valid: how many go into the validation set.
      test: how many go into the test set; with 0 there is none.
    """
    rows = order[valid + test :], order[:valid], order[valid : valid + test]
    train, held_back, last = (tuple(t[r] for t in tensors) if len(r) else () for r in rows)
    return Data(train, held_back, last)


def standardise(data: Data, *, first: int = 1) -> Data:
    """Give the columns of the first tensors mean 0 and deviation 1, by the statistics of the training set.

    Columns of nothing but 0 and 1, such as the indicators of a category, and constant ones stay as they are.

    Args:
      data: the data set.
      first: how many of its tensors; 1 leaves labels alone, 2 includes the targets of a regression.
    """
    sets = [list(data.train), list(data.valid), list(data.test)]
    for k in range(first):
        deviation, mean = torch.std_mean(data.train[k], 0)
        kept = ((data.train[k] == 0) | (data.train[k] == 1)).all(0) | (deviation == 0)
        for part in filter(None, sets):
            part[k] = torch.where(kept, part[k], (part[k] - mean) / deviation)
    train, valid, test = map(tuple, sets)
    return Data(train, valid, test)


def standardise_all(data: Data) -> Data:
    """Standardise features, and targets that are numbers; labels, which are whole, stay."""
    return standardise(data, first=sum(tensor.is_floating_point() for tensor in data.train))
