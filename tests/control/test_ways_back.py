"""A guarded run returns to its best weights where its progress is lost, or it overfits, and goes on at a lower rate."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import agents
import optenv
from optenv import tasks
from optenv.control import unknown_budget
from optenv.control.controller import Controller, Interface
from optenv.control.guard import Guard
from optenv.control.ways_back import COOLER, FEATURES_NEEDED, HALF, LONG, LOWER, WaysBack
from optenv.inner.architecture_batches import ArchitectureBatches
from optenv.inner.rollout import rollout
from optenv.inner.trainer import make_trainer


def looks(regret, noise=0.5, decisions=100, length=5, validation=None):
    """What is seen of a run whose regrets are given, one a decision from the second on."""
    seen = {name: np.zeros((len(regret) + 1, 1)) for name in FEATURES_NEEDED}
    for name in ("regret", "gap", "age"):
        seen[f"validation_{name}"][1:, 0] = -1.0 if validation is None else validation[name]
        seen[f"validation_{name}"][0] = -1.0 if validation is None else 0.0
    seen["progress"][:, 0] = np.arange(len(regret) + 1) / decisions
    seen["age"][:, 0] = np.log10(1.0 + length * np.arange(len(regret) + 1)) / 5.0
    seen["noise"][1:] = noise
    seen["regret"][1:, 0] = regret
    return [{name: values[i] for name, values in seen.items()} for i in range(len(regret) + 1)]


def watched(seen, scale=0.0, infinite=-1):
    """Whether weights were kept, and gone back to, at each decision."""
    back = WaysBack(1)
    kept, returned = [], []
    for i, look in enumerate(seen):
        back.watch(look, np.full(1, scale if i else 0.0), np.array([i == infinite]))
        for marks, asked in ((kept, back.keep), (returned, back.restore)):
            marks.append(asked is not None and bool(asked[0]))
    return kept, returned, back


def test_a_loss_that_gives_its_progress_up_for_two_decisions_returns_to_the_best_weights_at_a_lower_peak():
    kept, returned, back = watched(looks([0.0, 0.0, 0.0, 2.0, 2.0, 0.5]), scale=0.7)
    assert kept == [False, True, True, True, False, False, False]
    assert returned == [False] * 5 + [True, False]
    assert back.shift[0] == pytest.approx(min(np.log(LOWER), np.log(HALF)))


OVERFITTING = {"regret": [0.0] + [1.0] * (LONG + 1), "gap": [0.0] + [0.5] * (LONG + 1), "age": 0.0}
STILL = [0.0] * (LONG + 2)


def test_a_run_whose_validation_loss_says_that_it_overfits_returns_and_goes_on_at_a_lower_rate():
    kept, returned, back = watched(looks(STILL, validation=OVERFITTING), scale=0.7)
    assert kept == [True, True] + [False] * (LONG + 1)
    assert returned == [False] * (LONG + 1) + [True, False]
    assert back.shift[0] == pytest.approx(np.log(COOLER))
    assert back.runs["best_log_scale"][0] == pytest.approx(0.7 + np.log(COOLER))


@pytest.mark.parametrize(("decisions", "steps"), [(100, 5), (75, 4), (40, 3), (10, 3)])
def test_how_long_counts_in_hundredths_of_the_budget_and_at_least_three_control_steps(decisions, steps):
    _, returned, _ = watched(looks(STILL, decisions=decisions, validation=OVERFITTING))
    assert returned.index(True) == 1 + steps


def test_between_two_looks_nothing_is_kept():
    seen = {"regret": 0.0, "gap": 0.1, "age": [0.0, 0.1, 0.2, 0.0, 0.1]}
    assert watched(looks([0.0] * 5, validation=seen))[0] == [True, True, False, False, True, False]


@pytest.mark.parametrize(
    "change",
    [{"gap": 0.0}, {"regret": 0.05}, {"age": np.arange(len(STILL)) / 10}],
    ids=["the training loss rose as much", "a small part of the fall", "a single look"],
)
def test_what_does_not_tell_of_overfitting_is_no_reason_to_return(change):
    assert not any(watched(looks(STILL, validation=OVERFITTING | change))[1])


@pytest.mark.parametrize(
    ("regret", "noise"),
    [([0.0, 0.0, 2.0, 0.1, 2.0, 0.1], 0.5), ([0.0, 0.0, 0.4, 0.4, 0.4], 0.5), ([0.0, 0.0, 1.0, 1.0, 1.0], 1.0)],
    ids=["a single high decision", "a part of the progress", "within the noise"],
)
def test_what_may_be_chance_is_no_reason_to_return(regret, noise):
    assert not any(watched(looks(regret, noise))[1])


def test_a_loss_that_is_not_finite_returns_at_once():
    assert watched(looks([0.0, 0.0, 0.0]), infinite=3)[1] == [False, False, False, True]


def test_once_the_rate_decays_nothing_is_kept_any_more():
    kept, returned, back = watched(looks([0.0] * 72 + [3.0, 3.0, 3.0]))
    assert sum(kept) in (39, 40) and not any(returned)
    assert back.keep is None and back.restore is None


class Level(Controller):
    """Wants one log scale, and says what it was shown."""

    interface = Interface(features=("log_scale",), knobs=("scale",), control="relative", first_update_norm=0.1)
    returns = True

    def reset(self, num_runs, num_groups):
        self.shown = []

    def act(self, observation):
        self.shown.append(float(observation[0, 0, 0]) * np.log(10.0))
        return np.clip(1.0 - observation * np.log(10.0), -1.0, 1.0)


def test_a_guarded_controller_is_shown_the_scales_that_it_decided_while_they_are_lowered():
    task, controller = tasks.get("small_classification:14"), Level()
    runs = ArchitectureBatches([make_trainer(task)])
    guarded = Guard(controller)
    steps = list(rollout(runs, guarded, np.arange(1), np.ones(1), 320))
    shift, seen = guarded.ways_back.shift[0], steps[-1].observation[0, :, guarded.interface.features.index("log_scale")]
    assert shift <= np.log(COOLER)
    assert controller.shown[-1] == pytest.approx(float(seen[0]) * np.log(10.0) - shift, abs=1e-5)
    assert steps[-1].values["scale"].max() < COOLER * steps[1].values["scale"].min()


def test_a_run_that_overfits_ends_with_a_lower_validation_loss_where_it_may_see_it():
    trainer = make_trainer(tasks.get("small_classification:14"))
    blind, seeing = (
        list(rollout(runs, agents.load("auto"), np.arange(4), np.full(4, 1e-3), 320, reveal_validation=shown))
        and runs.evaluate(np.arange(4), "valid")
        for shown in (False, True)
        for runs in [ArchitectureBatches([trainer])]
    )
    assert (seeing < 0.7 * blind).all()


def deployed(returns):
    """Losses of a run whose weights are thrown off in the midst of a control step."""
    torch.manual_seed(0)
    model, x, controller, losses = torch.nn.Linear(5, 1), torch.randn(256, 5), agents.load("auto"), []
    controller.returns = returns
    optimizer = optenv.ControlledOptimizer(torch.optim.Adam(model.parameters(), lr=1e-4), controller, total_steps=200)
    for step in range(200):
        if step == 41:
            with torch.no_grad():
                model.weight.add_(100.0)
        loss = F.mse_loss(model(x), x.sum(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(loss=loss)
        losses.append(loss.item())
    return losses


def test_deployed_a_run_that_is_thrown_off_goes_back_and_ends_far_below_one_that_does_not():
    losses, others = deployed(True), deployed(False)
    assert losses[:41] == others[:41] and losses[50] < 1.0 < 1e3 < others[50]
    assert losses[-1] < 1e-3 * others[-1]


def test_a_resumed_run_does_not_return_to_weights_that_no_checkpoint_holds():
    _, _, back = watched(looks([0.0, 0.0, 0.0]))
    resumed = WaysBack(1)
    resumed.load_state_dict(back.state_dict())
    for look in looks([0.0, 0.0, 0.0, 3.0, 3.0, 3.0])[4:]:
        resumed.watch(look, np.zeros(1), np.zeros(1, bool))
        assert resumed.restore is not None and not resumed.restore.any()


class Dependent(Level):
    """Decides nothing where the budget is unknown."""

    needs_budget = True


def test_a_run_without_a_budget_goes_on_at_a_lower_rate_too():
    guarded = Guard(Dependent())
    runs = ArchitectureBatches([make_trainer(tasks.get("small_classification:14"))])
    steps = list(rollout(runs, guarded, np.arange(1), np.ones(1), 320, reveal_budget=False))
    features, shift = guarded.interface.features, guarded.ways_back.shift[0]
    plain = unknown_budget.log_scale(guarded.interface, steps[-1].observation[0, :, features.index("age")])
    assert shift <= np.log(COOLER)
    assert steps[-1].positions[0, 0, 0] < plain[0] + np.log(COOLER) / 2
