"""auto: the peak by the norm of the first updates, a schedule, and a return where the progress is lost."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import agents
import optenv
from agents.rules.auto import COOLER, FALL, FALL_POWER, FEATURES, LONG, LOWER, PEAK, START, AutoController
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


def views(regret, noise=0.5, scale=0.0, decisions=100, length=5, validation=None):
    """What a run of one group shows whose regrets are given, one a decision from the second on."""
    seen = np.zeros((len(regret) + 1, 1, 1, len(FEATURES)), np.float32)
    columns = {name: seen[..., i] for i, name in enumerate(FEATURES)}
    for name in ("regret", "gap", "age"):
        columns[f"validation_{name}"][1:, 0, 0] = -1.0 if validation is None else validation[name]
        columns[f"validation_{name}"][0] = -1.0 if validation is None else 0.0
    columns["progress"][:, 0, 0] = np.arange(len(seen)) / decisions
    columns["horizon"][:] = np.log10(decisions * length) / 5.0
    columns["noise"][1:], columns["log_scale"][1:] = noise, scale
    columns["regret"][1:, 0, 0] = regret
    return seen


def played(controller, seen):
    """Whether weights were kept, and gone back to, at each decision."""
    controller.reset(1, 1)
    kept, back = [], []
    for view in seen:
        controller.act(view)
        for marks, asked in ((kept, controller.keep_weights), (back, controller.restore_weights)):
            marks.append(asked is not None and bool(asked[0]))
    return kept, back


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
    assert rates[-1] == pytest.approx(rates[24] * ((1 + 24.5 / FALL) / (1 + 99.5 / FALL)) ** FALL_POWER, rel=1e-3)


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


def test_a_loss_that_gives_its_progress_up_for_two_decisions_returns_to_the_best_weights_at_a_lower_peak():
    controller = AutoController()
    kept, back = played(controller, views([0.0, 0.0, 0.0, 2.0, 2.0, 0.5], scale=0.3))
    assert kept == [False, True, True, True, False, False, False]
    assert back == [False] * 5 + [True, False]
    assert controller.state_dict()["log_peak"][0] == pytest.approx(
        min(0.3 * np.log(10.0) + np.log(LOWER), -np.log(2 * START))
    )


OVERFITTING = {"regret": [0.0] + [1.0] * (LONG + 1), "gap": [0.0] + [0.5] * (LONG + 1), "age": 0.0}
STILL = [0.0] * (LONG + 2)


def test_a_run_whose_validation_loss_says_that_it_overfits_returns_and_goes_on_at_a_lower_rate():
    controller = AutoController()
    kept, back = played(controller, views(STILL, scale=0.3, validation=OVERFITTING))
    assert kept == [True, True] + [False] * (LONG + 1)
    assert back == [False] * (LONG + 1) + [True, False]
    assert controller.state_dict()["best_log_scale"][0] == pytest.approx(0.3 * np.log(10.0) + np.log(COOLER))
    assert controller.state_dict()["log_peak"][0] == pytest.approx(0.3 * np.log(10.0) + np.log(COOLER))


def test_between_two_looks_nothing_is_kept():
    looks = {"regret": 0.0, "gap": 0.1, "age": [0.0, 0.1, 0.2, 0.0, 0.1]}
    assert played(AutoController(), views([0.0] * 5, validation=looks))[0] == [True, True, False, False, True, False]


@pytest.mark.parametrize(
    "change",
    [{"gap": 0.0}, {"regret": 0.05}, {"age": np.arange(len(STILL)) / 10}],
    ids=["the training loss rose as much", "a small part of the fall", "a single look"],
)
def test_what_does_not_tell_of_overfitting_is_no_reason_to_return(change):
    assert not any(played(AutoController(), views(STILL, validation=OVERFITTING | change))[1])


def test_a_run_that_overfits_ends_with_a_lower_validation_loss_where_it_may_see_it():
    trainer = make_trainer(tasks.get("small_classification:14"))
    blind, seeing = (
        list(rollout(runs, AutoController(), np.arange(4), np.full(4, 1e-3), 320, reveal_validation=shown))
        and runs.evaluate(np.arange(4), "valid")
        for shown in (False, True)
        for runs in [ArchitectureBatches([trainer])]
    )
    assert (seeing < 0.7 * blind).all()


@pytest.mark.parametrize(
    ("regret", "noise"),
    [([0.0, 0.0, 2.0, 0.1, 2.0, 0.1], 0.5), ([0.0, 0.0, 0.4, 0.4, 0.4], 0.5), ([0.0, 0.0, 1.0, 1.0, 1.0], 1.0)],
    ids=["a single high decision", "a part of the progress", "within the noise"],
)
def test_what_may_be_chance_is_no_reason_to_return(regret, noise):
    assert not any(played(AutoController(), views(regret, noise))[1])


def test_a_loss_that_is_not_finite_returns_at_once():
    controller = AutoController()
    controller.reset(1, 1)
    for view in views([0.0, 0.0]):
        controller.act(view)
    controller.alarm(np.array([True]))
    controller.act(views([0.0, 0.0, 0.0])[3])
    assert controller.restore_weights is not None and controller.restore_weights[0]


def test_once_the_rate_decays_nothing_is_kept_any_more():
    controller = AutoController()
    kept, back = played(controller, views([0.0] * 72 + [3.0, 3.0, 3.0]))
    assert sum(kept) in (39, 40) and not any(back)
    assert controller.keep_weights is None and controller.restore_weights is None


def deployed(returns):
    """Losses of a run whose weights are thrown off in the midst of a control step."""
    torch.manual_seed(0)
    model, x, controller, losses = torch.nn.Linear(5, 1), torch.randn(256, 5), AutoController(), []
    optimizer = optenv.ControlledOptimizer(torch.optim.Adam(model.parameters(), lr=1e-4), controller, total_steps=200)
    for step in range(200):
        if step == 41:
            with torch.no_grad():
                model.weight.add_(100.0)
        controller._held &= returns
        loss = F.mse_loss(model(x), x.sum(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(loss=loss)
        losses.append(loss.item())
    return losses, controller


def test_deployed_a_run_that_is_thrown_off_goes_back_and_ends_far_below_one_that_does_not():
    (losses, controller), (others, others_controller) = deployed(True), deployed(False)
    assert controller.state_dict()["log_peak"][0] < others_controller.state_dict()["log_peak"][0]
    assert losses[:41] == others[:41] and losses[50] < 1.0 < 1e3 < others[50]
    assert losses[-1] < 1e-3 * others[-1]


def test_a_resumed_run_does_not_return_to_weights_that_no_checkpoint_holds():
    controller, resumed = AutoController(), AutoController()
    played(controller, views([0.0, 0.0, 0.0]))
    resumed.reset(1, 1)
    resumed.load_state_dict(controller.state_dict())
    for view in views([0.0, 0.0, 0.0, 3.0, 3.0, 3.0])[4:]:
        resumed.act(view)
        assert not resumed.restore_weights.any()


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
