"""The statistics of a benchmark, against values worked out by hand or by another formula."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from optenv.benchmark import statistics
from optenv.benchmark.losses import EPSILON, diverged, log_loss

LOG2 = np.log(2.0)


def generator():
    return np.random.default_rng(0)


def test_the_geometric_mean_weighs_halves_and_doubles_the_same():
    logs = np.array([[[LOG2, -LOG2]], [[LOG2, LOG2]]])  # two tasks, one rate, two seeds
    assert statistics.geometric_mean(logs) == pytest.approx(2**0.5)
    assert statistics.by_task(logs) == pytest.approx([1.0, 2.0])
    assert statistics.worst_task(logs) == pytest.approx(2.0)


def test_the_interquartile_mean_forgets_the_outer_quarters():
    runs = np.array([-100.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 100.0]).reshape(2, 2, 2)
    assert statistics.interquartile_mean(runs) == pytest.approx(np.exp(np.mean([0.2, 0.3, 0.4, 0.5])))


def test_the_spread_is_of_base_rates_on_the_same_task():
    logs = np.zeros((2, 3, 4))
    logs[0, 1] = LOG2  # one rate of the first task is twice as bad
    logs[1] = 5.0  # a task that is bad at all rates alike
    assert statistics.spread(logs) == pytest.approx([2.0, 1.0])


def test_the_interval_holds_the_value_and_shrinks_with_more_seeds():
    widths = []
    for seeds in (5, 80):
        logs = 0.3 * generator().standard_normal((6, 3, seeds))
        found = statistics.interval(logs, statistics.geometric_mean, generator())
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
    assert widths[1] < 0.5 * widths[0]  # a quarter, by the square root


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draws, hits = np.random.default_rng(1), 0
    for _ in range(200):
        logs = 0.2 + 0.5 * draws.standard_normal((4, 1, 20))
        found = statistics.interval(logs, statistics.geometric_mean, draws, resamples=300)
        hits += found.low <= np.exp(0.2) <= found.high
    assert 0.88 <= hits / 200 <= 0.99  # 0.95 within the noise of 200 trials and of a percentile interval


def test_resampling_keeps_the_runs_of_a_seed_together_and_every_task_in_its_place():
    # Seeds differ wildly, base rates of one seed not at all: independent rates would narrow the interval.
    seeds = generator().standard_normal((1, 1, 6))
    one, many = (np.repeat(seeds, rates, axis=1) for rates in (1, 10))
    first, second = (statistics.interval(x, statistics.geometric_mean, generator()) for x in (one, many))
    assert (first.low, first.high) == pytest.approx((second.low, second.high))
    apart = np.array([0.0, 3.0])[:, None, None] + np.zeros((2, 1, 5))
    found = statistics.interval(apart, statistics.geometric_mean, generator())
    assert (found.low, found.high) == pytest.approx((found.value, found.value))


def test_the_profile_is_the_share_of_runs_at_most_a_threshold():
    logs = np.log([[[0.5, 1.0, 2.0, 4.0]]])
    assert statistics.performance_profile(logs, np.array([0.4, 0.5, 1.0, 3.0, 8.0])).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert statistics.profile_area(np.full((1, 1, 1), -5.0)) == 1.0 and statistics.profile_area(logs + 9) == 0.0


def test_the_probability_of_improvement_is_paired_by_seed_and_halves_ties():
    better = np.array([[[0.0, 1.0]]])
    worse = np.array([[[0.5, 1.5]]])  # above on its own seed, though not on every other
    assert statistics.probability_of_improvement(better, worse) == 1.0
    assert statistics.probability_of_improvement(worse, better) == 0.0
    assert statistics.probability_of_improvement(better, better) == 0.5


def test_over_base_rates_it_is_the_mann_whitney_statistic():
    first, second = generator().standard_normal((2, 1, 9, 1))
    expected = 1.0 - mannwhitneyu(first[0, :, 0], second[0, :, 0]).statistic / 81
    assert statistics.probability_of_improvement(first, second) == pytest.approx(expected)


def test_steps_to_a_target_is_the_first_time_at_or_below_it():
    valid = np.array([[[3.0, 3.0]], [[1.0, 3.0]], [[2.0, 3.0]]])  # [V, R, S]
    found = statistics.steps_to_target(np.array([10, 20, 40]), valid, np.array([1.5, 1.5]))
    assert found.tolist() == [[0.5, np.inf]]


def test_a_loss_of_exactly_zero_counts_as_the_rounding_of_the_first_loss():
    assert log_loss(0.0, 2.0) == pytest.approx(np.log(2.0 * EPSILON))
    assert log_loss(1e-12, 2.0) == log_loss(0.0, 2.0) < log_loss(1e-6, 2.0)
    assert log_loss(-1e-9, 2.0) == log_loss(0.0, 2.0)  # rounding may carry a loss below its bound


def test_losses_are_measured_above_their_bound_and_without_one_in_units_of_the_first():
    assert log_loss(3.0, 10.0, 2.0) == pytest.approx(0.0)
    assert log_loss(-6.0, -3.0, -np.inf) - log_loss(-3.0, -3.0, -np.inf) == pytest.approx(-1.0)


@pytest.mark.parametrize("bound", [0.0, -np.inf])
@pytest.mark.parametrize("loss", [np.inf, np.nan, 1e6])
def test_a_lost_run_counts_as_a_thousand_times_its_first_loss_or_its_like(loss, bound):
    assert bool(diverged(loss, 1.0, bound)) and not bool(diverged(900.0, 1.0, bound))
    assert log_loss(loss, 1.0, bound) == pytest.approx(np.log(1000.0))
