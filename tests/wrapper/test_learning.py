"""Controllers that learn from rewards: both hosts pay them where they are asked to, alike."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

import agents
import optenv
from optenv.benchmark.run import run_controller
from optenv.control.controller import Controller, Interface, Neutral
from optenv.control.features import FEATURES
from optenv.inner.randomness import minibatch_indices
from optenv.inner.trainer import make_trainer
from optenv.tasks import Data, Task


class Pupil(Controller):
    """Acts by a fixed rule and remembers the order in which it was asked and told, and what it was told."""

    learns = True

    def __init__(self, decisions=40):
        self.interface = Interface(knobs=("scale",), decisions=decisions)

    def reset(self, num_runs, num_groups):
        self.calls, self.rewards, self.ends = [], [], []

    def regroup(self, sources):
        self.calls.append("regroup")

    def act(self, observation):
        self.calls.append("act")
        return np.full((*observation.shape[:2], 1), 0.1 * (len(self.calls) % 3))

    def learn(self, reward, ended):
        self.calls.append("learn")
        self.rewards.append(float(reward[0]))
        self.ends.append(bool(ended[0]))


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(
        base, controller, **{"total_steps": 12, "steps_per_action": 3, "learn": True} | settings
    )


def test_what_came_of_an_action_is_told_before_the_next_and_the_end_once(problem):
    pupil = Pupil()
    problem.train(controlled(optim.SGD(problem.groups, lr=0.01), pupil), 12)
    assert pupil.calls == ["act", "learn"] * 4 and pupil.ends == [False] * 3 + [True]
    assert np.isnan(pupil.rewards[0]) and np.isfinite(pupil.rewards[1:]).all()


@pytest.mark.parametrize("guard", [True, False])
def test_the_last_control_step_counts_though_it_is_shorter_and_what_follows_is_no_second_end(problem, guard):
    pupil = Pupil()
    steering = controlled(optim.SGD(problem.groups, lr=0.01), pupil, total_steps=11, guard=guard)
    problem.train(steering, 11)
    assert pupil.ends == [False] * 3 + [True]
    with pytest.warns(UserWarning, match="goes on beyond"):
        problem.train(steering, 7)
    assert pupil.ends == [False] * 3 + [True] + [False] * 2


def test_without_a_budget_nothing_ends(problem):
    pupil = Pupil()
    problem.train(controlled(optim.SGD(problem.groups, lr=0.01), pupil, total_steps=None), 13)
    assert pupil.ends == [False] * 4


def test_a_controller_is_told_nothing_unless_that_is_asked_for(problem):
    pupil = Pupil()
    problem.train(controlled(optim.SGD(problem.groups, lr=0.01), pupil, learn=False), 12)
    assert pupil.calls == ["act"] * 4


def test_to_ask_it_of_a_controller_that_does_not_learn_is_one_clear_error(problem):
    message = "learn: expected a controller that learns; received Neutral"
    with pytest.raises(ValueError, match=message):
        controlled(optim.SGD(problem.groups, lr=0.01), Neutral())
    with pytest.raises(ValueError, match=message):
        run_controller(make_trainer(Line(), "sgd"), Neutral(), np.zeros(1), np.ones(1), 5, learn=True)


def test_a_loss_that_is_not_finite_pays_the_least(problem):
    pupil = Pupil()
    steering = controlled(optim.SGD(problem.groups, lr=0.01), pupil)
    for step in range(12):
        steering.zero_grad()
        problem.loss(step).backward()
        steering.step(loss=float("nan") if step == 7 else 2.0 - 0.1 * step)
    assert pupil.rewards[2] == FEATURES["improvement"].low < min(pupil.rewards[1], pupil.rewards[3])


def test_an_action_is_paid_before_the_groups_change(problem):
    pupil = Pupil()
    steering = controlled(optim.SGD(problem.groups, lr=0.01), pupil)
    problem.train(steering, 3)
    steering.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    problem.train(steering, 1)
    assert pupil.calls == ["act", "learn", "regroup", "act"]


class Line(Task):
    name, batch_size = "line", 8

    def init(self, generator):
        return {"weight": 0.5 * torch.randn((1, 4), generator=generator), "bias": torch.zeros(1)}

    def draw(self, generator):
        x = torch.randn(60, 4, generator=generator)
        data = x, x @ torch.ones(4, 1) + 0.3 * torch.randn(60, 1, generator=generator)
        return Data(tuple(d[:40] for d in data), tuple(d[40:] for d in data))

    def loss(self, params, batch):
        return F.mse_loss(F.linear(batch[0], params["weight"], params["bias"]), batch[1])


def test_both_hosts_pay_alike():
    inside, outside, seed, total = Pupil(decisions=7), Pupil(), np.array([5], np.uint64), 20
    trainer = make_trainer(Line(), "sgd", "model")
    run_controller(trainer, inside, seed, np.array([0.02]), total, learn=True)
    state, model = trainer.start(seed), nn.Linear(4, 1)
    nn.utils.vector_to_parameters(state.params[0].clone(), model.parameters())
    steering = controlled(optim.SGD(model.parameters(), lr=0.02), outside, total_steps=total)
    for step in range(total):
        rows = minibatch_indices(seed, np.array([step]), 1, Line.batch_size, 40)[0, 0]
        loss = F.mse_loss(model(state.train[0][0][rows]), state.train[1][0][rows])
        steering.zero_grad()
        loss.backward()
        steering.step(loss=loss)
    assert inside.calls == outside.calls and inside.ends == outside.ends == [False] * 6 + [True]
    np.testing.assert_allclose(inside.rewards, outside.rewards, atol=1e-4)


def test_a_brain_learns_from_reward_in_a_controlled_optimizer_and_a_resumed_one_is_bit_identical(make_problem):
    one, two = make_problem(), make_problem()
    settings = {"total_steps": 60, "steps_per_action": 2}
    whole = controlled(optim.Adam(one.groups, lr=0.01), agents.make("optbrain"), **settings)
    one.train(whole, 24)
    assert whole.controller.brain._rewards > 8 and whole.controller.brain.prior.any()
    resumed = controlled(optim.Adam(two.groups, lr=0.01), agents.make("optbrain"), **settings)
    two.model.load_state_dict(one.model.state_dict())
    resumed.load_state_dict(deepcopy(whole.state_dict()))
    one.train(whole, 13)
    two.train(resumed, 13)
    assert torch.equal(one.weights(), two.weights())
