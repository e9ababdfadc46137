"""Sketches: few coordinates of every group, and their inner products."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from optenv.control.numpy_sketch import MAX_COORDINATES, MIN_COORDINATES, coordinates_per_group, to_products
from optenv.control.signals import Products
from optenv.control.sketch import SketchMemory, sketch_index

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


def products(unit: float) -> Products:
    """The second products of runs whose gradients are in some unit."""
    weights = torch.randn(3, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    gradient = torch.randn(3, 2, 3, 5, generator=torch.Generator().manual_seed(1)) * unit
    memory = SketchMemory.start(weights[0])
    first = to_products(memory.sums(gradient[1], weights[1]).double().numpy())
    assert np.isnan(first.g_g_last).all() and np.isnan(first.dd_last).all() and np.isfinite(first.g_d).all()
    return to_products(memory.sums(gradient[2], weights[2]).double().numpy())


# Squares of the outer two are no float32 numbers.
@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_products_are_those_of_the_gradient_the_weights_and_the_displacement(unit):
    p = products(unit)
    weights = torch.randn(3, 2, 3, 5, generator=torch.Generator().manual_seed(0)).double()
    gradient = torch.randn(3, 2, 3, 5, generator=torch.Generator().manual_seed(1)).double()
    d, d_last, g, g_last = weights[2] - weights[1], weights[1] - weights[0], gradient[2], gradient[1]

    def cosine(a, b):
        return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))

    tolerance = {"rtol": 1e-4, "atol": 1e-6}  # single precision
    np.testing.assert_allclose(np.sqrt(p.gg) / unit, g.norm(dim=-1), **tolerance)
    np.testing.assert_allclose(np.sqrt(p.dd / p.ww), d.norm(dim=-1) / weights[2].norm(dim=-1), **tolerance)
    np.testing.assert_allclose(p.g_d / np.sqrt(p.gg * p.dd), cosine(g, d), **tolerance)
    # What is remembered is held in half precision.
    np.testing.assert_allclose(p.g_g_last / np.sqrt(p.gg * p.gg_last), cosine(g, g_last), atol=2e-4)
    np.testing.assert_allclose(p.d_d_last / np.sqrt(p.dd * p.dd_last), cosine(d, d_last), atol=2e-4)
