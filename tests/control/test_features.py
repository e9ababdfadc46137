"""Features: what holds for every row of the registry, whatever the losses."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from optenv.control.features import FEATURE_NAMES, FEATURES, bounds, flatten, observe, unflatten
from optenv.control.signals import Interval, Products, Signals, loss_statistics

N, G, STEPS, INTERVALS, SKETCH = 2, 3, 4, 5, 8
seeds = st.integers(0, 2**32 - 1)
anything = st.floats(allow_nan=True, allow_infinity=True)
ODD_LOSSES = (0.0, -3.0, np.nan, np.inf, -np.inf, 1e30, 1e-30)


def random_run(seed, odd=()):
    """Losses [intervals, steps, N], gradients and weights [intervals + 1, N, G, sketch], log scales; of two runs."""
    rng = np.random.default_rng(seed)
    trend = np.exp(-rng.uniform(0, 1) * np.arange(INTERVALS * STEPS)).reshape(INTERVALS, STEPS, 1)
    losses = trend + rng.uniform(0.01, 0.3) * rng.normal(size=(INTERVALS, STEPS, N))
    for value in odd:
        losses[tuple(rng.integers(s) for s in losses.shape)] = value
    shape = (INTERVALS + 1, N, G, SKETCH)
    return losses, rng.normal(size=shape), rng.normal(size=shape).cumsum(axis=0), rng.normal(size=(INTERVALS, N, G))


def observations(losses, gradients, weights, log_scales, total=100.0):
    """Every observation of the run, [intervals, N, G, features]."""
    signals, seen = Signals.start(np.array([total, np.nan]), G), []
    last, nothing = np.full(N, np.nan), np.full((N, G, SKETCH), np.nan)
    displacements = np.concatenate([nothing[None], np.diff(weights, axis=0)])
    for i in range(INTERVALS):
        g, g_last = gradients[i + 1], gradients[i] if i else nothing
        d, d_last = displacements[i + 1], displacements[i]
        pairs = ((g, g), (g_last, g_last), (g, g_last), (g, d), (d, d), (d_last, d_last), (d, d_last))
        products = Products(*(np.sum(a * b, -1) for a, b in (*pairs, (weights[i + 1], weights[i + 1]))))
        mean, noise = loss_statistics(losses[i], last)
        last = losses[i, -1]
        signals.advance(Interval(STEPS, mean, noise, products), log_scales[i])
        seen.append(observe(signals))
    return np.stack(seen)


def assert_same(first, second):
    """Equal but for rounding, which a shift of the losses adds to and logarithms keep small."""
    for i, name in enumerate(FEATURE_NAMES):
        np.testing.assert_allclose(first[..., i], second[..., i], atol=1e-4, err_msg=name)


def assert_in_bounds(seen):
    low, high = (
        np.array([getattr(f, side) for f in map(FEATURES.__getitem__, FEATURE_NAMES)], np.float32)
        for side in ("low", "high")
    )
    assert seen.dtype == np.float32
    assert np.isfinite(seen).all()
    assert ((low <= seen) & (seen <= high)).all()


@given(seeds, st.lists(st.sampled_from(ODD_LOSSES), max_size=4))
@example(0, [np.nan] * 60)  # every loss may be lost
def test_every_feature_is_finite_and_in_bounds_for_all_losses(seed, odd):
    assert_in_bounds(observations(*random_run(seed, odd)))


@given(st.data())
def test_every_feature_is_finite_and_in_bounds_for_whatever_is_measured(data):
    signals = Signals.start(data.draw(arrays(float, N, elements=st.sampled_from([np.nan, 1.0, 7.0, 1e6]))), G)
    assert_in_bounds(observe(signals))
    for _ in range(3):
        loss, noise = (data.draw(arrays(float, N, elements=anything)) for _ in range(2))
        products = Products(*(data.draw(arrays(float, (N, G), elements=anything)) for _ in fields(Products)))
        log_scale = data.draw(arrays(float, (N, G), elements=st.floats(-6, 6)))
        signals.advance(Interval(5, loss, noise, products), log_scale)
        assert_in_bounds(observe(signals))


@given(seeds, st.sampled_from([1e-3, 1e3]), st.lists(st.sampled_from([0.0, -3.0, np.nan, np.inf]), max_size=3))
def test_no_feature_moves_when_the_loss_changes_its_unit(seed, unit, odd):
    losses, *rest = random_run(seed, odd)
    assert_same(observations(losses, *rest), observations(losses * unit, *rest))


@given(seeds, st.sampled_from([-100.0, -1.0, 5.0]), st.lists(st.sampled_from([0.0, -3.0, np.nan, np.inf]), max_size=3))
def test_no_feature_moves_when_a_constant_is_added_to_the_loss(seed, constant, odd):
    losses, *rest = random_run(seed, odd)
    assert_same(observations(losses, *rest), observations(losses + constant, *rest))


@given(seeds, arrays(float, (1, 1, G, 1), elements=st.sampled_from([1e-4, 1.0, 1e4])))
def test_no_feature_moves_when_a_gradient_changes_its_unit(seed, units):
    losses, gradients, *rest = random_run(seed)
    assert_same(observations(losses, gradients, *rest), observations(losses, gradients * units, *rest))


@given(seeds, arrays(float, (1, 1, G, 1), elements=st.sampled_from([1e-3, 1.0, 1e3])))
def test_no_feature_moves_when_the_weights_change_their_unit(seed, units):
    losses, gradients, weights, scales = random_run(seed)
    assert_same(
        observations(losses, gradients, weights, scales), observations(losses, gradients, weights * units, scales)
    )


@pytest.mark.parametrize("constant", [0.0, -2.0, 3.0])
def test_a_loss_that_never_moves_is_observed(constant):
    losses, *rest = random_run(0)
    assert_in_bounds(observations(np.full_like(losses, constant), *rest))


def test_one_lost_run_leaves_the_others_as_they_were():
    losses, *rest = random_run(0)
    lost = losses.copy()
    lost[2:, :, 1] = np.nan
    np.testing.assert_array_equal(observations(losses, *rest)[:, 0], observations(lost, *rest)[:, 0])


def test_the_flat_view_holds_every_groups_view():
    seen = observations(*random_run(0))[-1]
    flat = flatten(seen)
    low, high = bounds(G)
    assert flat.shape == (N, *low.shape) and ((low <= flat) & (flat <= high)).all()
    np.testing.assert_array_equal(unflatten(flat), seen)


def test_every_feature_says_why_and_has_room_to_move():
    for name, feature in FEATURES.items():
        assert feature.name == name and feature.why and feature.low < feature.high
