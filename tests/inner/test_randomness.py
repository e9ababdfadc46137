"""What a run draws depends on its own seed and step alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from optenv.inner.randomness import generator, minibatch_indices

seeds = st.lists(st.integers(0, 2**63), min_size=1, max_size=5, unique=True).map(lambda s: np.array(s, np.uint64))


@given(seeds, st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 8), st.integers(1, 10**6))
def test_minibatches_do_not_depend_on_the_other_runs_or_on_how_steps_are_cut(seeds, step, steps, batch, examples):
    first = np.full(len(seeds), step)
    together = minibatch_indices(seeds, first, steps, batch, examples)
    assert together.shape == (steps, len(seeds), batch)
    assert ((together >= 0) & (together < examples)).all()
    for n, seed in enumerate(seeds):
        for t in range(steps):
            alone = minibatch_indices(np.array([seed]), np.array([step + t]), 1, batch, examples)
            assert (alone[0, 0] == together[t, n]).all()


def test_every_example_is_drawn_equally_often_and_every_batch_is_new():
    index = minibatch_indices(np.arange(20, dtype=np.uint64), np.zeros(20, int), 50, 32, 10)
    counts = np.bincount(index.ravel(), minlength=10)
    # A chi-square of 9 degrees of freedom; above 33.7 once in ten thousand.
    expected = index.size / 10
    assert ((counts - expected) ** 2 / expected).sum() < 33.7
    assert len({row.tobytes() for row in index.reshape(-1, 32)}) == 1000


def test_streams_and_seeds_have_generators_of_their_own():
    draws = {generator(seed, stream).initial_seed() for seed in range(50) for stream in range(2)}
    assert len(draws) == 100
    assert generator(7, 1).initial_seed() == generator(7, 1).initial_seed()
