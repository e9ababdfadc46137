"""Copies of a controlled optimizer are runs of their own, as with torch's optimizers, schedules attached or not."""

import copy
import pickle

import pytest
import torch
from torch.optim import lr_scheduler

from tests.wrapper.test_hooks import OPTIMIZERS

SCHEDULES = {
    "none": lambda optimizer: None,
    "of the wrapper": lambda optimizer: lr_scheduler.StepLR(optimizer, 3),
    "of the base": lambda optimizer: lr_scheduler.StepLR(optimizer.base, 3),
}


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


def train(problem, optimizer, first, last, schedule):
    for number in range(first, last):
        optimizer.zero_grad()
        loss = problem.loss(number)
        loss.backward()
        optimizer.step(loss=loss)
        if schedule is not None:
            schedule.step()


# Torch's schedulers say so of a copied optimizer of torch's own, too: they mark the original's step.
@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step:UserWarning")
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("attach", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("how", [copy.deepcopy, pickled])
@pytest.mark.parametrize("at", [0, 7])
def test_a_copy_goes_on_bit_for_bit_and_the_original_stays(make_problem, make, attach, how, at):
    one, two = make_problem(), make_problem()
    optimizer = make(one.groups)
    schedule = attach(optimizer)
    train(one, optimizer, 0, at, schedule)
    weights = one.weights()
    two.model, other, other_schedule = how((one.model, optimizer, schedule))
    train(two, other, at, 14, other_schedule)
    assert torch.equal(one.weights(), weights)
    train(one, optimizer, at, 14, schedule)
    assert torch.equal(one.weights(), two.weights())


def test_a_copy_of_the_optimizer_alone_does_not_move_the_original(problem):
    optimizer = OPTIMIZERS["optbrain"](problem.groups)
    lr_scheduler.StepLR(optimizer, 3)
    train(problem, optimizer, 0, 3, None)
    weights, other = problem.weights(), copy.deepcopy(optimizer)
    for p in (p for group in other.param_groups for p in group["params"]):
        p.grad = torch.ones_like(p)
    other.step(loss=1.0)
    assert torch.equal(problem.weights(), weights)
