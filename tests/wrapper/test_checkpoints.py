"""Checkpoints of a controlled optimizer: what is in them, and that a run resumed from one is the same run."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import optim

import agents
import optenv
from agents.policies.recurrent.controller import LstmController
from optenv.control.controller import Controller, Interface, Neutral
from optenv.control.features import FEATURE_NAMES
from optenv.control.knobs import KNOBS
from optenv.control.policy_file import PolicyFile

WIDTH = 5
BASES = {
    "sgd": lambda groups: optim.SGD(groups, lr=0.05, momentum=0.9),
    "adamw fused": lambda groups: optim.AdamW(groups, lr=0.01, fused=True),
    "adamw tensor lr": lambda groups: optim.AdamW(groups, lr=torch.tensor(0.01)),
    "rmsprop": lambda groups: optim.RMSprop(groups, lr=0.01, momentum=0.9, centered=True),
}


class Drifting(Controller):
    """Acts on what it observes, a counter of its own and random numbers of its own."""

    optional_knobs = tuple(KNOBS)

    def __init__(self, control="relative", first_update=None):
        self.interface = Interface(knobs=tuple(KNOBS), control=control, first_update=first_update)

    def reset(self, num_runs, num_groups):
        self._count, self._rng = 0, np.random.default_rng(3)

    def act(self, observation):
        self._count += 1
        shape = (*observation.shape[:2], len(self.interface.knobs))
        mean = observation.mean(-1, keepdims=True) * np.cos(self._count)
        return np.clip(0.3 * mean + self._rng.uniform(-0.3, 0.3, shape), -1, 1)

    def state_dict(self):
        return {"count": self._count, "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state):
        self._count, self._rng.bit_generator.state = state["count"], state["rng"]


def recurrent():
    rng = np.random.default_rng(0)
    features, knobs = len(FEATURE_NAMES), 3
    shapes = {
        "lstm_input": (4 * WIDTH, features),
        "lstm_hidden": (4 * WIDTH, WIDTH),
        "lstm_input_bias": (4 * WIDTH,),
        "lstm_hidden_bias": (4 * WIDTH,),
        "weight0": (knobs, WIDTH),
        "bias0": (knobs,),
    }
    tensors = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    tensors |= {"mean": np.zeros(features), "std": np.ones(features)}
    settings = {"hidden": "tanh", "output": "tanh"}
    return LstmController(PolicyFile("lstm", Interface(control="relative"), tensors, settings))


CONTROLLERS = {
    "relative": Drifting,
    "absolute": lambda: Drifting("absolute"),
    "from a first update": lambda: Drifting(first_update=0.01),
    "recurrent": recurrent,
}


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": 60, "steps_per_action": 4} | settings)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def train(problem, optimizer, first, last):
    for step in range(first, last):
        optimizer.zero_grad()
        loss = problem.loss(step)
        loss.backward()
        optimizer.step(loss=loss)


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a.nan_to_num(7.7), b.nan_to_num(7.7))
    return a == b


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
@pytest.mark.parametrize("make", CONTROLLERS.values(), ids=CONTROLLERS)
@pytest.mark.parametrize("at", [0, 8, 11])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(make_problem, base, make, at):
    whole, resumed = make_problem(), make_problem()
    one = controlled(base(whole.groups), make())
    train(whole, one, 0, at)
    weights, state = through_a_file([whole.model.state_dict(), one.state_dict()])
    train(whole, one, at, 25)
    two = controlled(base(resumed.groups), make(), total_steps=None, steps_per_action=1)
    two.load_state_dict(state)
    resumed.model.load_state_dict(weights)
    train(resumed, two, at, 25)
    assert torch.equal(whole.weights(), resumed.weights())
    assert same(one.state_dict(), two.state_dict())


@pytest.mark.parametrize("budgets", [(20, 80), (None, 80), (80, 20)])
def test_a_resumed_run_has_the_budget_that_is_asked_for(make_problem, budgets):
    one, two = make_problem(), make_problem()
    first = controlled(optim.SGD(one.groups, lr=0.05), Drifting(), total_steps=budgets[0])
    train(one, first, 0, 10)
    state = through_a_file(first.state_dict())
    resumed = controlled(optim.SGD(two.groups, lr=0.05), Drifting(), total_steps=budgets[1])
    resumed.load_state_dict(state)
    assert (resumed.total_steps, resumed.step_count) == (budgets[1], 10)
    train(two, resumed, 10, 17)
    assert resumed.state_dict()["control"]["run"]["loop"]["signals"]["total"].tolist() == [budgets[1]]
    again = controlled(optim.SGD(make_problem().groups, lr=0.05), Drifting(), total_steps=None)
    again.load_state_dict(resumed.state_dict())
    assert again.total_steps == budgets[1]


def test_a_run_can_be_taken_back_to_its_own_checkpoint(problem):
    steering = controlled(optim.SGD(problem.groups, lr=0.05, momentum=0.9), Drifting())
    train(problem, steering, 0, 6)
    weights, state = copy.deepcopy([problem.model.state_dict(), steering.state_dict()])
    train(problem, steering, 6, 15)
    first = problem.weights()
    problem.model.load_state_dict(weights)
    steering.load_state_dict(state)
    train(problem, steering, 6, 15)
    assert torch.equal(problem.weights(), first)


def test_a_checkpoint_does_not_change_with_the_run_that_goes_on(problem):
    steering = controlled(optim.SGD(problem.groups, lr=0.05), Drifting())
    train(problem, steering, 0, 6)
    state = steering.state_dict()["control"]
    before = copy.deepcopy(state)
    train(problem, steering, 6, 15)
    assert same(state, before)


def test_live_groups_and_state_are_those_of_the_base_after_loading(problem):
    steering = controlled(optim.SGD(problem.groups, lr=0.05, momentum=0.9), Drifting())
    train(problem, steering, 0, 3)
    steering.load_state_dict(steering.state_dict())
    assert steering.param_groups is steering.base.param_groups
    assert steering.state is steering.base.state and steering.state
    assert steering.defaults is steering.base.defaults


def test_the_state_of_a_base_optimizer_alone_is_accepted_and_control_begins_anew(make_problem):
    plain, problem = make_problem(), make_problem()
    base = optim.SGD(plain.groups, lr=0.03, momentum=0.9)
    plain.train(base, 5)
    steering = controlled(optim.SGD(problem.groups, lr=0.5, momentum=0.9), Neutral())
    train(problem, steering, 0, 7)
    problem.model.load_state_dict(plain.model.state_dict())
    steering.load_state_dict(through_a_file(base.state_dict()))
    assert "step 0 of 60" in repr(steering) and steering.param_groups[0]["lr"] == 0.03
    for step in range(5, 12):
        base.zero_grad()
        plain.loss(step).backward()
        base.step()
    train(problem, steering, 5, 12)
    assert torch.equal(plain.weights(), problem.weights())


def test_a_base_optimizer_reads_the_state_of_a_controlled_one(make_problem):
    problem, other = make_problem(), make_problem()
    steering = controlled(optim.AdamW(problem.groups, lr=0.01), Drifting())
    train(problem, steering, 0, 5)
    base = optim.AdamW(other.groups, lr=0.5)
    base.load_state_dict(steering.state_dict())
    assert base.param_groups[0]["lr"] == 0.01


def test_the_state_of_another_controller_is_one_clear_error_and_nothing_changes(make_problem):
    problem, other = make_problem(), make_problem()
    steering = controlled(optim.SGD(problem.groups, lr=0.05), Drifting())
    train(problem, steering, 0, 5)
    fresh = controlled(optim.SGD(other.groups, lr=0.5), Neutral())
    with pytest.raises(ValueError, match="load_state_dict: expected the state of a controller with kind Neutral; rec"):
        fresh.load_state_dict(steering.state_dict())
    assert fresh.param_groups[0]["lr"] == 0.5
    fresh = controlled(optim.SGD(other.groups, lr=0.5), Drifting("absolute"))
    with pytest.raises(ValueError, match="expected the state of a controller with interface .*'absolute'"):
        fresh.load_state_dict(steering.state_dict())


def test_the_state_of_other_groups_is_one_clear_error_and_nothing_changes(make_problem):
    problem, other = make_problem(), make_problem()
    steering = controlled(optim.SGD(problem.groups, lr=0.05), Drifting())
    train(problem, steering, 0, 5)
    fresh = controlled(optim.SGD(other.model.parameters(), lr=0.5), Drifting())
    with pytest.raises(ValueError, match="load_state_dict: expected the state of 1 parameter groups; received 2"):
        fresh.load_state_dict(steering.state_dict())
    wider = torch.nn.Sequential(torch.nn.Linear(9, 9), torch.nn.Linear(9, 9))
    fresh = controlled(optim.SGD(optenv.layer_groups(wider), lr=0.5), Drifting())
    with pytest.raises(ValueError, match=r"state: expected sketches of shape \(2, 90\); received \(2, 30\)"):
        fresh.load_state_dict(steering.state_dict())
    assert fresh.param_groups[0]["lr"] == 0.5


def pickled(pair):
    return pickle.loads(pickle.dumps(pair))


@pytest.mark.parametrize(("copied", "make"), [(copy.deepcopy, recurrent), (pickled, Neutral)])
def test_a_copy_is_a_run_of_its_own(make_problem, copied, make):
    problem, twin = make_problem(), make_problem()
    steering = controlled(optim.AdamW(problem.groups, lr=0.01), make())
    train(problem, steering, 0, 6)
    twin.model, steering_too = copied((problem.model, steering))
    train(problem, steering, 6, 15)
    train(twin, steering_too, 6, 15)
    assert torch.equal(problem.weights(), twin.weights())
    assert steering_too.base is not steering.base


def test_the_memory_of_a_network_of_another_width_is_one_clear_error():
    controller = recurrent()
    state = {"hidden": np.zeros((1, 2, WIDTH + 1)), "cell": np.zeros((1, 2, WIDTH + 1))}
    with pytest.raises(ValueError, match=rf"state: expected hidden and cell of shape \[N, G, {WIDTH}\]; received"):
        controller.load_state_dict(state)


def test_a_checkpoint_from_before_the_first_step_knows_the_rates_of_the_time_of_wrapping(make_problem):
    one, two = make_problem(), make_problem()
    first, resumed = (
        optenv.ControlledOptimizer(optim.Adam(groups, lr=0.02), agents.load("ppo"), total_steps=40)
        for groups in (one.groups[:1], two.groups)
    )
    first.param_groups[0]["lr"] = 0.01  # by hand: half of what it was at wrapping
    first.add_param_group({"params": one.groups[1]["params"], "lr": 1e-4})
    resumed.load_state_dict(first.state_dict())
    for problem, optimizer in ((one, first), (two, resumed)):
        problem.train(optimizer, 5)
    assert torch.equal(one.weights(), two.weights())
