"""Sketches: few coordinates of every group, and their inner products."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from optenv.control.sketch import MAX_COORDINATES, MIN_COORDINATES, SketchMemory, coordinates_per_group, sketch_index

sizes = st.lists(st.integers(0, 5000), min_size=1, max_size=40).filter(any)


@given(sizes)
def test_every_sketched_coordinate_is_one_of_its_group_and_no_group_is_left_out(sizes):
    index, mask = sketch_index(sizes)
    limit = coordinates_per_group(len(sizes))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    assert MIN_COORDINATES <= limit <= MAX_COORDINATES and index.shape[1] <= limit
    for g, size in enumerate(sizes):
        own = index[g][mask[g] == 1].tolist()
        assert own == sorted(set(own))
        assert all(starts[g] <= i < starts[g + 1] for i in own)
        assert (len(own) > 0) == (size > 0)
        assert len(own) == size or len(own) > limit / 2


def test_products_are_those_of_the_gradient_the_weights_and_the_displacement():
    weights = torch.randn(4, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    gradient = torch.randn(4, 2, 3, 5, generator=torch.Generator().manual_seed(1))
    memory = SketchMemory.start(weights[0])
    first = memory.advance(gradient[1], weights[1])
    assert np.isnan(first.g_g_last).all() and np.isnan(first.dd_last).all() and np.isfinite(first.g_d).all()
    second = memory.advance(gradient[2], weights[2])
    d, d_last = weights[2] - weights[1], weights[1] - weights[0]
    expected = {
        "gg": (gradient[2], gradient[2]),
        "gg_last": (gradient[1], gradient[1]),
        "g_g_last": (gradient[2], gradient[1]),
        "g_d": (gradient[2], d),
        "dd": (d, d),
        "dd_last": (d_last, d_last),
        "d_d_last": (d, d_last),
        "ww": (weights[2], weights[2]),
    }
    for name, (a, b) in expected.items():
        # Some are kept in single precision.
        np.testing.assert_allclose(getattr(second, name), (a.double() * b.double()).sum(-1), rtol=1e-5, atol=1e-6)
