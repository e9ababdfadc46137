"""An optimizer is controlled once, and a controller controls one optimizer at a time."""

import copy
import os
import zipfile

import pytest
import torch
from torch import optim

import agents
import optenv
from optenv.control.controller import Neutral

SHIPPED = ("ppo", "recurrent_ppo", "garo", "opt2vec", "optbrain", "adaptive")


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": 60, "steps_per_action": 3} | settings)


class Outer(optim.SGD):
    """An optimizer around another, as Lookahead is."""

    def __init__(self, inner):
        super().__init__(inner.param_groups, lr=0.1)
        self.optimizer = inner


@pytest.mark.parametrize("again", [lambda o: o, Outer, lambda o: Outer(Outer(o))])
@pytest.mark.parametrize(
    "wrap", [lambda base: controlled(base, agents.load("ppo")), agents.OptBrain, agents.AdaptiveOptimizer]
)
def test_what_is_controlled_already_is_refused(problem, wrap, again):
    for first in (controlled(optim.SGD(problem.groups, lr=0.1), Neutral()), agents.OptBrain(optim.SGD(problem.groups))):
        with pytest.raises(
            TypeError, match="base: expected an optimizer that is not controlled yet; received .* over SGD"
        ):
            wrap(again(first))


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("guard", [True, False])
def test_two_optimizers_that_are_given_one_controller_run_as_with_one_each(make_problem, name, guard):
    ends = []
    for shared in (True, False):
        torch.manual_seed(0)
        one = agents.load(name)
        problems = [make_problem(), make_problem(seed=1)]
        both = [
            controlled(optim.SGD(p.groups, lr=0.01), one if shared else agents.load(name), guard=guard)
            for p in problems
        ]
        assert both[0].controller is one or not shared
        for _ in range(20):
            for problem, optimizer in zip(problems, both, strict=True):
                problem.train(optimizer, 1)
        ends.append(torch.cat([problem.weights() for problem in problems]))
    assert torch.equal(*ends)


def test_a_controller_that_nobody_uses_any_more_is_handed_over_itself(problem, fixed):
    controller = fixed(0.0)
    for _ in range(3):
        optimizer = controlled(optim.SGD(problem.groups, lr=0.1), controller)
        assert optimizer.controller is controller
        problem.train(optimizer, 4)
        del optimizer


def test_a_learner_goes_from_run_to_run_and_is_refused_in_the_middle_of_one(problem):
    learner = agents.load("optbrain")
    first = controlled(optim.SGD(problem.groups, lr=0.1), learner, learn=True, total_steps=6)
    problem.train(first, 3)
    with pytest.raises(ValueError, match="controller: expected a learner of its own, or one whose last run has ended"):
        controlled(optim.SGD(problem.groups, lr=0.1), learner, learn=True)
    problem.train(first, 3)
    assert controlled(optim.SGD(problem.groups, lr=0.1), learner, learn=True).controller is learner


def test_a_copy_of_an_optimizer_has_a_controller_of_its_own(problem, fixed):
    optimizer = controlled(optim.SGD(problem.groups, lr=0.1), fixed(0.0))
    assert copy.deepcopy(optimizer).controller is not optimizer.controller


@pytest.mark.parametrize("name", ["model.zip", "best"])
def test_a_saved_model_is_one_error_that_points_to_the_controller_file(tmp_path, name):
    with zipfile.ZipFile(tmp_path / name, "w") as file:
        file.writestr("data", "{}")
        file.writestr("policy.pth", b"")
    with pytest.raises(ValueError, match="saved model.*Load the controller.safetensors that its training wrote"):
        agents.load(tmp_path / name)
    agents.load("ppo").save(tmp_path / "controller.safetensors")
    with pytest.raises(ValueError, match=rf"Load {tmp_path}/controller.safetensors"):
        agents.load(tmp_path / name)
    for folder in (tmp_path, str(tmp_path)):
        assert type(agents.load(folder)) is type(agents.load("ppo"))


def test_a_pipe_is_one_error_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "controller")
    with pytest.raises(FileNotFoundError, match="expected a controller file"):
        agents.load(tmp_path / "controller")
