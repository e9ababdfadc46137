"""Races: optimizers as published, options that apply, numbers that depend on nothing but the settings."""

import time

import numpy as np
import pytest
import torch

from agents.playground.fields import controller_names
from agents.playground.function_settings import FUNCTION
from agents.playground.measures import inside, race_rows, standings
from agents.playground.optimizers import OPTIMIZERS, build
from agents.playground.race import Entrant, Race, race, random_start
from agents.playground.run_settings import SweepSettings, TrainingSettings
from agents.playground.steering import steer
from agents.playground.validation import InvalidSetting
from optenv.tasks.functions import TestFunction

pytest.importorskip("pytorch_optimizer")
HIMMELBLAU, ROSENBROCK = FUNCTION["himmelblau"], FUNCTION["rosenbrock"]
TWELVE = "gd sgd rmsprop adagrad adam amsgrad adamw sophia lion lars adan mars".split()
OPTIONS = [(row.name, option.name) for row in OPTIMIZERS.values() for option in row.options]


def run(*methods, function=HIMMELBLAU, start=(-1.0, -4.0), iterations=40, **more):
    return race(function, methods, start, iterations, **more)


def test_the_twelve_optimizers_that_people_ask_for_are_there():
    assert set(TWELVE) <= set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_comes_from_torch_or_pytorch_optimizer(name):
    made = build(OPTIMIZERS[name], [torch.nn.Parameter(torch.zeros(1, 2))], {})
    modules = {base.__module__.split(".")[0] for base in type(made).__mro__}
    assert isinstance(made, torch.optim.Optimizer)
    assert type(made).__module__.startswith("torch.optim") or "pytorch_optimizer" in modules


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_comes_closer_to_a_minimum(name):
    result = run(Entrant(name), iterations=100)
    assert result.losses[0, -1] < 0.5 * result.losses[0, 0]


@pytest.mark.parametrize("name", [name for name, row in OPTIMIZERS.items() if not row.second_order])
def test_a_race_is_the_plain_torch_loop(name):
    point = torch.nn.Parameter(torch.tensor([[-1.0, -4.0]], dtype=torch.float64))
    optimizer = build(OPTIMIZERS[name], [point], {})
    for _ in range(20):
        optimizer.zero_grad()
        HIMMELBLAU.evaluate(point).sum().backward()
        optimizer.step()
    # Scalar and vector registers round transcendental functions differently; here there are none.
    np.testing.assert_allclose(run(Entrant(name), iterations=20).points[0, -1], point.detach()[0], rtol=1e-12)


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_applies(name, option):
    row = next(o for o in OPTIMIZERS[name].options if o.name == option)
    base = dict(row.needs)
    numbers = (
        [v for v in (0.5 * float(row.high), 10.0 * float(row.default or 0.01), 0.6) if row.low <= v <= row.high]
        if not row.choices and not isinstance(row.default, bool)
        else []
    )
    others = [c for c in row.choices if c != row.default] or (
        [not row.default] if isinstance(row.default, bool) else []
    )
    candidates = others or [int(v) if isinstance(row.default, int) else v for v in numbers]
    methods = [Entrant(name, base), *(Entrant(name, {**base, option: v}) for v in candidates)]
    # Near a minimum and under noise, so that signs change and Sophia's steps are not all cut to one length.
    before, *after = run(*methods, start=(3.4, 2.2), noise=5.0).points
    assert any(not np.array_equal(before, other, equal_nan=True) for other in after)


@pytest.mark.parametrize("function", FUNCTION.values(), ids=FUNCTION)
def test_a_methods_numbers_do_not_depend_on_the_company_it_keeps(function):
    start = random_start(function, 1)
    methods = [
        Entrant(name, controller=c) for name in OPTIMIZERS for c in ("", *(["cosine"] if name == "adam" else []))
    ]
    methods += [Entrant("adam", {"lr": 0.01 * k}) for k in range(1, 6)]
    together = race(function, methods, start, 30, noise=0.1, seed=3)
    assert len(methods) > 16  # more than one vector register's worth
    for k in (0, 7, 9, len(methods) - 1):
        alone = race(function, [methods[k]], start, 30, noise=0.1, seed=3)
        np.testing.assert_array_equal(alone.points[0], together.points[k])


def test_the_same_settings_give_the_same_numbers_whatever_was_run_before_and_global_randomness_is_left_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    methods = [Entrant(name) for name in OPTIMIZERS] + [Entrant("adam", controller=c) for c in ("random", "ppo")]
    first = run(*methods, noise=1.0)
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)
    run(Entrant("sophia", {"lr": 1.0}), Entrant("adam"), function=ROSENBROCK, start=(1.0, 2.0), noise=3.0, seed=9)
    torch.manual_seed(6)
    np.testing.assert_array_equal(run(*methods, noise=1.0).points, first.points)


def test_every_method_meets_the_same_noise():
    result = run(Entrant("gd"), Entrant("gd"), Entrant("sgd", {"momentum": 0.0}), noise=2.0)
    assert (result.points == result.points[0]).all()
    assert not np.array_equal(run(Entrant("gd"), noise=2.0, seed=1).points[0], result.points[0])


@pytest.mark.parametrize("controller", controller_names())
def test_every_controller_steers_every_kind_of_optimizer(controller):
    names = ("sgd", "sophia", "lion", "mars")
    result = run(*(Entrant(name, controller=controller) for name in names), iterations=12)
    assert np.isfinite(result.points).all()


def test_a_neutral_controller_changes_nothing():
    for name in ("adam", "sophia", "lars"):
        alone, steered = run(Entrant(name), Entrant(name, controller="neutral")).points
        np.testing.assert_array_equal(alone, steered)


def test_a_penalty_acts_and_the_loss_shown_is_the_functions_own():
    plain, l1, l2 = run(Entrant("gd"), Entrant("gd", l1=50.0), Entrant("gd", l2=10.0), iterations=200).points[:, -1]
    assert np.linalg.norm(l2) < np.linalg.norm(plain) and np.abs(l1).sum() < np.abs(plain).sum()
    result = run(Entrant("gd", l2=10.0))
    points = torch.from_numpy(result.points[0])
    np.testing.assert_allclose(result.losses[0], HIMMELBLAU.evaluate(points), rtol=1e-12)


def test_a_diverged_run_is_shown_as_diverged_and_disturbs_no_one():
    result = run(Entrant("gd", {"lr": 1.0}), Entrant("adam"), function=ROSENBROCK, start=(-1.5, 2.0))
    lost, kept = standings(result, 1e-3)
    assert lost.diverged_at is not None and lost.diverged_at < 10 and np.isnan(lost.final_loss) and not lost.winner
    assert (
        np.isnan(result.losses[0, lost.diverged_at :]).all() and np.isfinite(result.points[0, : lost.diverged_at]).all()
    )
    assert kept.diverged_at is None and kept.winner
    alone = run(Entrant("adam"), function=ROSENBROCK, start=(-1.5, 2.0))
    np.testing.assert_array_equal(alone.points[0], result.points[1])
    assert {row["method"] for row in race_rows(result)} == {"GD", "Adam"}


def test_without_a_finite_end_nobody_wins():
    rows = standings(run(Entrant("gd", {"lr": 1e3})), 1e-3)
    assert not any(row.winner for row in rows)


def test_table_holds_exits_distances_and_arrivals():
    square = TestFunction("square", lambda p: (p**2).sum(-1), (-1, 1, -1, 1), ((0, 0),), "", "", "")
    points = np.array([[[0.9, 0], [1.5, 0], [0.5, 0]], [[0.9, 0], [0.01, 0], [0.03, 0]], [[0.9, 0], [2, 0], [3, 0]]])
    losses = (points**2).sum(-1)
    made = Race(square, tuple(Entrant("gd") for _ in range(3)), points, losses, losses, np.full(3, -1))
    back, winner, gone = standings(made, 1e-3)
    assert (back.left_at, back.returned, back.steps_to_tolerance) == (1, True, None)
    assert (winner.left_at, winner.steps_to_tolerance, winner.winner) == (None, 1, True)
    assert winner.distance == pytest.approx(0.03)
    assert (gone.left_at, gone.returned, gone.winner) == (1, False, False)
    assert inside(np.array([[1.0, -1.0], [1.01, 0.0]]), square.bounds).tolist() == [True, False]


def test_an_optimizer_that_refuses_its_options_says_so():
    with pytest.raises(ValueError, match="Nesterov"):
        run(Entrant("sgd", {"momentum": 0.0, "nesterov": True}))
    with pytest.raises(InvalidSetting, match="lr: expected a number from 1e-08"):
        run(Entrant("adam", {"lr": -1.0}))
    with pytest.raises(ValueError, match="unknown option of Adam 'mometum'"):
        run(Entrant("adam", {"mometum": 0.9}))


def test_twelve_optimizers_and_500_iterations_take_at_most_two_seconds():
    methods = [Entrant(name) for name in TWELVE]
    race(ROSENBROCK, methods, (-1.5, 2.0), 5)  # loads what is loaded once
    best = np.inf
    for _ in range(2):
        start = time.process_time()
        race(ROSENBROCK, methods, (-1.5, 2.0), 500)
        best = min(best, time.process_time() - start)
    assert best < 2.0


def test_training_runs_are_paired_and_are_those_of_the_benchmark():
    from agents.registry import load
    from optenv import tasks
    from optenv.benchmark.run import run_controller
    from optenv.inner.trainer import make_trainer

    settings = TrainingSettings(task="wine", steps=40, lr=1e-2)
    seeds, rates = np.array([0], np.uint64), np.array([1e-2])
    firsts = set()
    for name in ("neutral", "cosine"):
        events = list(steer(settings, name, seeds, rates))
        outcome = run_controller(make_trainer(tasks.get("wine")), load(name), seeds, rates, 40)
        assert events[-1].step == 40 and events[-1].loss[0] == outcome.loss[0]
        firsts.add(float(events[0].loss[0]))
    assert len(firsts) == 1


def test_a_sweeps_runs_are_those_of_single_trainings():
    sweep = SweepSettings(task="wine", steps=20, low=1e-3, high=1e-2, count=2, num_seeds=1)
    *_, batch = steer(sweep, "cosine", np.zeros(2, np.uint64), np.array(sweep.rates()), watched=False)
    for n, rate in enumerate(sweep.rates()):
        *_, alone = steer(sweep, "cosine", np.zeros(1, np.uint64), np.array([rate]))
        # Batched matrix products sum in another order.
        assert alone.loss[0] == pytest.approx(batch.loss[n], rel=1e-4)
