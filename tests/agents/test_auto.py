"""auto: the peak by the norm of the first updates, and a schedule."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import agents
import optenv
from agents.rules.auto import FALL, FALL_POWER, PEAK, START, AutoController
from optenv import tasks
from optenv.benchmark.run import run_controller
from optenv.control.controller import Interface
from optenv.inner.architecture_batches import ArchitectureBatches
from optenv.inner.rollout import rollout
from optenv.inner.trainer import make_trainer

TOTAL = 200


def steered(total=TOTAL, optimizer="adamw", rate=1e-3, reveal_budget=True, task="synthetic_regression:0", **options):
    runs = ArchitectureBatches([make_trainer(tasks.get(task), optimizer, **options)])
    steps = rollout(runs, AutoController(), np.arange(2), np.full(2, rate), total, reveal_budget=reveal_budget)
    rates = np.array([rate * step.values["scale"][0, 0] for step in steps])
    return rates, runs


@pytest.mark.parametrize("rate", [1e-6, 1e-3, 1.0])
def test_at_the_peak_adams_rate_is_one_over_the_root_of_the_number_of_parameters_whatever_the_base_rate(rate):
    rates, runs = steered(rate=rate)
    size = runs.states[0][1].params.shape[1]
    assert rates.max() == pytest.approx(PEAK / size**0.5, rel=0.01)


def test_the_rate_begins_below_its_peak_holds_and_ends_near_zero():
    rates, _ = steered()
    share = rates / rates.max()
    assert START < share[0] < 0.5
    np.testing.assert_allclose(share[5:35], 1.0, rtol=1e-5)
    assert (np.diff(share[41:]) < 0.0).all() and share[-1] < 0.03


def test_without_a_budget_the_rate_falls_from_a_low_one_with_a_power_of_the_time_for_ever():
    rates, _ = steered(reveal_budget=False, total=800)
    assert rates.argmax() in range(3) and (np.diff(rates[3:]) < 0.0).all()
    assert rates[-1] == pytest.approx(rates[24] * ((1 + 192 / FALL) / (1 + 792 / FALL)) ** FALL_POWER, rel=1e-3)


def test_a_row_that_no_gradient_touches_yet_does_not_raise_the_peak_of_the_others():
    def init(generator):
        return {"table.weight": 0.1 * torch.randn(1000, 4, generator=generator)}

    def loss(params, batch):
        return F.embedding(batch[0], params["table.weight"]).sum(-1).sub(batch[1]).square().mean()

    x = torch.randint(1000, (600,), generator=torch.Generator().manual_seed(0))
    task = optenv.tasks.from_functions(name="rows", init=init, loss=loss, train=(x, x / 500.0), valid=(x, x / 500.0))
    runs = ArchitectureBatches([make_trainer(task)])
    steps = rollout(runs, AutoController(), np.arange(1), np.ones(1), 100)
    assert max(step.values["scale"].max() for step in steps) == pytest.approx(PEAK / 4000**0.5, rel=0.01)


@pytest.mark.parametrize(("optimizer", "options", "norm"), [("sgd", {"momentum": 0.9}, 0.45), ("lion", {}, 0.17)])
def test_optimizers_whose_steps_are_of_another_kind_get_smaller_updates(optimizer, options, norm):
    trainer = make_trainer(tasks.get("synthetic_regression:0"), optimizer, **options)
    state = trainer.start(np.arange(1, dtype=np.uint64))
    (rates, _), unit = steered(optimizer=optimizer, **options), trainer.first_update(state, np.ones(1), norm=True)
    assert rates.max() == pytest.approx(PEAK / unit[0, 0], rel=0.01)
    if optimizer == "lion":
        assert unit[0, 0] == pytest.approx(state.params.shape[1] ** 0.5 / norm, rel=0.01)


@pytest.mark.parametrize("rate", [1e-6, 1e-3, 1.0])
def test_the_base_rate_does_not_matter_over_six_decades(rate):
    trainer = make_trainer(tasks.get("quadratic:0"))
    loss = [run_controller(trainer, AutoController(), np.arange(2), np.full(2, r), 100).loss for r in (1e-2, rate)]
    np.testing.assert_allclose(loss[1], loss[0], rtol=0.05)


def test_an_interface_takes_one_anchor_and_relative_control():
    with pytest.raises(ValueError, match="expected None where first_update is given"):
        Interface(control="relative", first_update=0.01, first_update_norm=1.0)
    with pytest.raises(ValueError, match="expected relative control"):
        Interface(first_update_norm=1.0)
    with pytest.raises(ValueError, match="first_update_norm: expected a positive number"):
        Interface(control="relative", first_update_norm=-1.0)


def test_auto_is_listed_and_in_the_benchmark_by_default():
    from agents.benchmark import controllers

    assert "auto" in agents.names()
    assert "auto" in [method.name for method in controllers()]
