"""The minibatches of a run's inner steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count, islice, repeat

import numpy as np
import torch

from optenv.inner.randomness import minibatch_indices
from optenv.inner.state import RunState
from optenv.tasks.task import Batch

DRAWN = 20  # inner steps whose minibatches are drawn at once
GATHERED = 2**16  # numbers in those gathered at once


def upcoming(state: RunState, batch_size: int, num_steps: int) -> Iterator[Batch]:
    """Return the minibatches of the next inner steps, all of which have to be taken.

    Those of small runs are drawn for several control steps at once, since the calls take longer than the numbers.
    """
    known = state.upcoming is not None and np.array_equal(state.upcoming[0], state.step)
    batches = state.upcoming[1] if state.upcoming is not None and known else minibatches(state, batch_size)
    state.upcoming = state.step + num_steps, batches
    return islice(batches, num_steps)


def minibatches(state: RunState, batch_size: int) -> Iterator[Batch]:
    """Yield the minibatches of all inner steps from the present one on, as `InnerStep` takes them.

    Args:
      state: N runs.
      batch_size: examples in each minibatch.
    """
    examples = state.train[0].shape[1] if state.train else 1
    runs = (batch_size,) if state.alone else (len(state), batch_size)
    first = np.zeros((len(state), 1), np.int64) if state.shared else np.arange(len(state))[:, None] * examples
    flat = [t.flatten(0, 1) for t in state.train]
    size = sum(math.prod(t.shape[1:]) for t in flat) * math.prod(runs)
    seed, step = state.seed.copy(), state.step.copy()
    for ahead in count(step=DRAWN):
        index = first + minibatch_indices(seed, step + ahead, DRAWN, batch_size, examples)
        # As many steps' at once as do not push the runs themselves out of the processor's cache.
        for part in torch.from_numpy(index).to(state.params.device).split(max(1, GATHERED // max(1, size))):
            gathered = [t.index_select(0, part.flatten()).view(-1, *runs, *t.shape[1:]).unbind() for t in flat]
            yield from zip(*gathered, strict=True) if flat else repeat((), len(part))
