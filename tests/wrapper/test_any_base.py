"""Being an optimizer over any base: what it offers is found, what it is made of is left alone."""

import numpy as np
import pytest
import torch
from torch import optim

import optenv

schedulefree = pytest.importorskip("schedulefree")


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": 60, "steps_per_action": 3} | settings)


class Special(optim.SGD):
    """An optimizer with methods and attributes of its own."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)
        self.temperature, self.called = 1.0, []

    def cool(self, by):
        self.temperature -= by
        return self.temperature

    def first_step(self):
        self.step()

    def step_parameter(self, p):
        p.data.zero_()


def test_methods_and_attributes_of_the_base_are_found_and_assigned_there(problem, fixed):
    base = Special(problem.groups)
    optimizer = controlled(base, fixed(0.0))
    assert optimizer.cool(0.25) == 0.75 == optimizer.temperature == base.temperature
    optimizer.temperature = 2.0
    assert base.temperature == 2.0
    optimizer.note = "own"
    assert not hasattr(base, "note") and optimizer.note == "own"


def test_no_method_of_the_base_steps_past_the_control(problem, fixed):
    optimizer = controlled(Special(problem.groups), fixed(0.0))
    for name in ("first_step", "step_parameter"):
        assert hasattr(optimizer.base, name) and not hasattr(optimizer, name)


def test_what_nobody_has_is_an_attribute_error_that_names_the_optimizer(problem, fixed):
    optimizer = controlled(optim.SGD(problem.groups, lr=0.1), fixed(0.0))
    assert not hasattr(optimizer, "train") and not hasattr(optimizer, "eval")
    with pytest.raises(AttributeError, match="'ControlledOptimizer' object has no attribute 'anneal'"):
        optimizer.anneal()


def test_a_grad_scaler_does_not_find_what_a_fused_base_offers_it(problem, fixed):
    optimizer = controlled(optim.AdamW(problem.groups, fused=True), fixed(0.0))
    optimizer.base.grad_scale = optimizer.base.found_inf = torch.ones(())
    for name in ("_step_supports_amp_scaling", "grad_scale", "found_inf"):
        assert hasattr(optimizer.base, name) and not hasattr(optimizer, name)


def test_a_schedule_free_base_trains_and_evaluates_as_alone(make_problem, fixed):
    ends = []
    for make in (lambda base: base, lambda base: controlled(base, fixed(0.0))):
        problem = make_problem()
        optimizer = make(schedulefree.AdamWScheduleFree(problem.groups, lr=0.01))
        optimizer.train()
        problem.train(optimizer, 10)
        optimizer.eval()
        ends.append(problem.weights())
    assert torch.equal(*ends)


@pytest.mark.parametrize("name", ["param_groups", "state", "defaults"])
def test_what_is_assigned_to_the_optimizer_is_the_bases(problem, fixed, name):
    base = optim.SGD(problem.groups, lr=0.1, momentum=0.9)
    optimizer = controlled(base, fixed(0.0))
    problem.train(optimizer, 2)
    value = {"param_groups": base.param_groups[:1], "state": {}, "defaults": {"lr": 1.0}}[name]
    setattr(optimizer, name, value)
    assert getattr(base, name) is value and getattr(optimizer, name) is value


def test_assigned_groups_are_those_that_are_trained(problem, fixed):
    optimizer = controlled(optim.SGD(problem.groups, lr=0.1), fixed(0.0))
    optimizer.param_groups = optimizer.param_groups[1:]
    first, last = (layer.weight.detach().clone() for layer in (problem.model[0], problem.model[2]))
    problem.train(optimizer, 3)
    assert torch.equal(problem.model[0].weight, first) and not torch.equal(problem.model[2].weight, last)


class Loose(optim.Optimizer):
    """Descends along the gradient at a rate of 0.01, whatever its hyperparameters are; they have to stay."""

    def __init__(self, params, **hyperparameters):
        super().__init__(params, hyperparameters)
        self._own = hyperparameters

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            assert all(group[name] is value for name, value in self._own.items() if name != "lr")
            for p in group["params"]:
                p.sub_(0.01 * p.grad)


NOT_MOVED = {
    "none": {"lr": 0.1, "weight_decay": None, "momentum": None, "betas": None},
    "betas with none": {"lr": 0.1, "betas": (None, None)},
    "three betas": {"lr": 0.1, "betas": (0.9, 0.92, 0.99)},
    "names": {"lr": 0.1, "momentum": "auto", "weight_decay": {"all": 0.1}},
    "momentum that was never begun": {"lr": 0.1, "momentum": 0.0},
    "truth values": {"lr": 0.1, "momentum": True, "weight_decay": False},
    "tensors of many": {"lr": 0.1, "momentum": torch.ones(3)},
}


@pytest.mark.parametrize("hyperparameters", NOT_MOVED.values(), ids=NOT_MOVED)
def test_hyperparameters_that_are_no_numbers_are_left_alone(problem, fixed, hyperparameters):
    before = problem.weights()
    problem.train(controlled(Loose(problem.groups, **hyperparameters), fixed(0.5)), 7)
    assert problem.weights().isfinite().all() and not torch.equal(problem.weights(), before)


@pytest.mark.parametrize("rate", [None, (None, 1e-3), "auto"])
def test_a_rate_that_is_no_number_is_refused_at_construction(problem, fixed, rate):
    action = fixed(0.5)
    action.optional_knobs = ()
    with pytest.raises(
        ValueError, match="knob 'scale': expected a base optimizer with lr; received Loose with momentum"
    ):
        controlled(Loose(problem.groups, lr=rate, momentum=0.9, weight_decay=0.1, alpha=0.9), action)


def test_a_rate_that_is_missing_in_one_group_is_left_alone_there(problem, fixed):
    base = optim.Adafactor(problem.groups, lr=0.01)
    base.param_groups[0]["lr"] = None
    optimizer = controlled(base, fixed(0.5, knobs=("scale",)))
    for decisions in (1, 2):
        optimizer.zero_grad()
        problem.loss(0).backward()
        problem.model[0].weight.grad = problem.model[0].bias.grad = None  # torch's own step needs a number
        for _ in range(3):
            optimizer.step(loss=1.0)
        assert len(optimizer.history) == decisions and optimizer.history[-1]["rate"][0] is None
    assert base.param_groups[0]["lr"] is None


@pytest.mark.parametrize("number", [np.float32, np.float64, torch.tensor])
def test_numbers_of_other_libraries_are_moved_as_pythons_are(make_problem, fixed, number):
    ends = []
    for convert in (float, number):
        problem = make_problem()
        base = optim.SGD(problem.groups, lr=0.05, momentum=0.5, weight_decay=0.25)
        for group in base.param_groups:
            group.update({name: convert(group[name]) for name in ("lr", "momentum", "weight_decay")})
        problem.train(controlled(base, fixed(0.4)), 9)
        ends.append(problem.weights())
    torch.testing.assert_close(*ends)
