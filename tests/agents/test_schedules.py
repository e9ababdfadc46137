"""Schedules and baselines as controllers."""

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import agents
from agents.benchmark import controllers
from agents.rules.schedules import SCHEDULES, scale_action
from optenv import tasks
from optenv.benchmark.cells import plan
from optenv.benchmark.suites import Case, Suite
from optenv.control.features import FEATURE_NAMES
from optenv.control.knobs import KNOBS

TOTAL = 40


def views(num_runs=1, num_groups=2, **features):
    """Views of runs in which only the named features are not 0."""
    view = np.zeros((num_runs, num_groups, len(FEATURE_NAMES)), np.float32)
    for name, value in features.items():
        view[..., FEATURE_NAMES.index(name)] = value
    return view


def scales(controller, progress):
    """The scales of a run's control steps that begin at the given progress."""
    controller.reset(1, 2)
    actions = [controller.act(views(progress=p)) for p in progress]
    assert all((action[:, :1] == action).all() for action in actions)
    return KNOBS["scale"].absolute(np.array([action[0, 0, 0] for action in actions]))


def torch_schedule(make):
    """The factors of a scheduler of torch in the middle of `TOTAL` control steps of two inner steps."""
    weights = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weights], lr=1.0, momentum=0.9)
    scheduler, factors = make(optimizer), []
    for _ in range(2 * TOTAL):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(factors[1::2])


# Torch's one cycle peaks one step early and reaches its end on its last step.
ONE_CYCLE = {"max_lr": 1.0, "total_steps": 2 * TOTAL + 1, "pct_start": (0.6 * TOTAL + 1) / (2 * TOTAL + 1)}
OF_TORCH = {
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 2 * TOTAL),
    "linear": lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 2 * TOTAL),
    "one_cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, **ONE_CYCLE, div_factor=25),
}


@pytest.mark.parametrize("name", OF_TORCH)
def test_a_schedule_equals_that_of_torch_down_to_the_knobs_range(name):
    mine = scales(agents.make(name), np.arange(TOTAL) / TOTAL)
    # Views are float32; torch's one cycle ends at 4e-6.
    np.testing.assert_allclose(mine, np.maximum(torch_schedule(OF_TORCH[name]), 0.01), atol=1e-5)


def test_warmup_stable_decay_rises_stays_and_falls():
    found = scales(agents.make("warmup_stable_decay"), [0.0, 0.025, 0.1, 0.5, 0.7, 0.8875, 0.99])
    np.testing.assert_allclose(found, [0.25, 0.75, 1.0, 1.0, 1.0, 0.5, 0.01], rtol=1e-6)


def test_cosine_with_a_warmup_is_the_one_of_the_benchmark():
    from optenv.benchmark.run import warmup_cosine

    progress = np.arange(TOTAL) / TOTAL
    found = scales(agents.make("cosine", warmup=0.05), progress)
    # The benchmark's rise begins a thousandth of the budget earlier.
    np.testing.assert_allclose(found, np.maximum(warmup_cosine(progress + 0.5 / TOTAL), 0.01), atol=0.02)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_finite_where_the_budget_is_unknown_and_beyond_it(name):
    assert scales(agents.make(name), [-1.0]) == 1.0
    assert scales(agents.make(name), [1.0]) in (0.01, 1.0)


def test_a_constant_needs_no_budget():
    assert scales(agents.make("constant", factor=0.1), [-1.0]) == pytest.approx(0.1)


def test_a_schedule_with_impossible_options_is_refused():
    with pytest.raises(ValueError, match="'constant': expected options that give positive factors"):
        agents.make("constant", factor=-1.0)
    with pytest.raises(TypeError, match="warm_up"):
        agents.make("cosine", warm_up=0.1)


def test_scale_actions_are_the_inverse_of_the_knob():
    factors = np.geomspace(0.01, 10.0, 31)
    np.testing.assert_allclose(KNOBS["scale"].absolute(scale_action(factors)), factors)


def test_reduce_on_plateau_halves_after_its_patience_and_no_sooner():
    controller = agents.make("reduce_on_plateau", patience=2)
    controller.reset(2, 1)
    found = []
    for regret in (0.0, 0.1, 0.0, 0.1, 0.1, 0.1, 0.1):
        view = views(2, 1)
        view[0, :, FEATURE_NAMES.index("regret")] = regret
        found.append(KNOBS["scale"].absolute(controller.act(view))[:, 0, 0])
    np.testing.assert_allclose(np.array(found)[:, 0], [1, 1, 1, 1, 0.5, 0.5, 0.25])
    assert (np.array(found)[:, 1] == 1.0).all()


def test_random_draws_over_the_knobs_whole_range_by_group_and_step():
    controller = agents.make("random")
    controller.reset(3, 4)
    actions = np.stack([controller.act(views(3, 4)) for _ in range(100)])
    assert actions.min() < -0.95 and actions.max() > 0.95 and abs(actions.mean()) < 0.1
    assert (actions[:, :1] == actions).all() and np.unique(actions[:, 0]).size == 400


@pytest.mark.parametrize("options", [{"factor": 1.5}, {"patience": 0}])
def test_reduce_on_plateau_refuses_what_does_not_reduce(options):
    with pytest.raises(ValueError, match="reduce_on_plateau: expected a factor between 0 and 1"):
        agents.make("reduce_on_plateau", **options)


def test_the_best_static_multiplier_is_fitted_and_beats_neutral_from_a_low_rate():
    suite = Suite("one", (Case("quadratic:0", 60),), rates=(1e-3,), num_seeds=2)
    neutral, best = (cell.run() for cell in plan(suite, controllers(["neutral", "best_static"]))[::-1])
    assert best["seeds"] == [0, 1] and (np.array(best["loss"]) < np.array(neutral["loss"])).all()


def test_fitting_leaves_the_controller_as_it_was():
    from optenv.inner.trainer import make_trainer

    untouched = agents.make("best_static")
    fitted = untouched.fit(make_trainer(tasks.get("quadratic:0")), 1e-3, 40)
    assert untouched.factor == 1.0 and fitted.factor > 1.0
