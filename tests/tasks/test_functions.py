"""The test functions: their minima, and their gradients against differences."""

import pytest
import torch
from torch.func import grad, vmap

from optenv import tasks
from optenv.tasks.functions import FUNCTIONS

every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
AWKWARD = [(0, 0), (0, 1), (1, 0), (-1, 0), (1e-8, -1e-8), (3, 0.5), (1, 1), (500, 0), (-500, 500), (700, -600)]


def points(function, count):
    low_x, high_x, low_y, high_y = function.bounds
    low, high = torch.tensor([low_x, low_y]).double(), torch.tensor([high_x, high_y]).double()
    return low + (high - low) * torch.rand(count, 2, generator=torch.Generator().manual_seed(0)).double()


def differences(function, point):
    """Central differences; their error is about the third derivative times 1e-12, plus rounding."""
    steps = 1e-6 * torch.eye(2).double()
    return torch.stack([(function.evaluate(point + h) - function.evaluate(point - h)) / 2e-6 for h in steps])


@every_function
def test_every_listed_minimum_is_one_of_value_zero(function):
    minima = torch.tensor(function.minima, dtype=torch.float64)
    assert function.evaluate(minima).abs().max() < 1e-12
    gradients = vmap(grad(function.evaluate))(minima)
    assert gradients.abs().max() < 1e-9
    nearby = minima[:, None] + 1e-3 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    assert (function.evaluate(nearby) > function.evaluate(minima)[:, None]).all()


@every_function
def test_no_point_of_the_region_lies_lower_than_the_minima(function):
    assert function.evaluate(points(function, 100_000)).min() > 0


@every_function
def test_gradients_match_finite_differences(function):
    for point in points(function, 20):
        expected = differences(function, point)
        torch.testing.assert_close(grad(function.evaluate)(point), expected, rtol=1e-4, atol=1e-4)


@every_function
@pytest.mark.parametrize("point", AWKWARD)
def test_values_and_gradients_are_finite_at_awkward_points(function, point):
    for dtype in (torch.float32, torch.float64):
        where = torch.tensor(point, dtype=dtype)
        assert function.evaluate(where) >= 0
        assert grad(function.evaluate)(where).isfinite().all()
        assert vmap(grad(function.evaluate))(where[None]).isfinite().all()


@every_function
def test_the_gradient_is_zero_at_the_origin_where_symmetry_asks_for_it(function):
    if function.name in ("ackley", "schwefel", "rastrigin", "griewank", "quadratic"):
        assert torch.equal(grad(function.evaluate)(torch.zeros(2)), torch.zeros(2))


@every_function
def test_runs_start_in_the_region_and_at_different_points(function):
    task = tasks.get(f"function_{function.name}")
    low_x, high_x, low_y, high_y = function.bounds
    starts = torch.stack([task.init(torch.Generator().manual_seed(k))["point.weight"] for k in range(50)])
    assert (starts >= torch.tensor([low_x, low_y])).all() and (starts <= torch.tensor([high_x, high_y])).all()
    assert len(starts.unique(dim=0)) == 50


def test_schwefel_does_not_fall_without_bound_outside_its_region():
    schwefel = next(function for function in FUNCTIONS if function.name == "schwefel")
    far = torch.linspace(-1e4, 1e4, 20_001, dtype=torch.float64)
    assert schwefel.evaluate(torch.stack([far, far], -1)).min() >= 0
