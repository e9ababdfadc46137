"""Checkpoints of a run whose groups or parameters have just changed, or that has not been steered yet."""

import pytest
import torch
from torch import nn, optim

import agents
import optenv


def controlled(models, **settings):
    base = optim.SGD([{"params": list(model.parameters())} for model in models], lr=0.02)
    return optenv.ControlledOptimizer(base, agents.load("ppo"), **{"steps_per_action": 3, "total_steps": 60} | settings)


def linear(value=1.0):
    model = nn.Linear(3, 2)
    for p in model.parameters():
        nn.init.constant_(p, value)
    return model


def step(models, optimizer, number):
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    loss = sum(model(x) for model in models).square().mean()
    loss.backward()
    optimizer.step(loss=loss)


def replaced(models, optimizer):
    models[0].weight = nn.Parameter(5 * torch.ones(2, 3))
    optimizer.param_groups[0]["params"][0] = models[0].weight


def added(models, optimizer):
    models.append(linear(0.3))
    optimizer.add_param_group({"params": list(models[-1].parameters())})


def removed(models, optimizer):
    del models[0], optimizer.param_groups[0]


def reordered(models, optimizer):
    models.reverse()
    optimizer.param_groups.reverse()


@pytest.mark.parametrize("change", [replaced, added, removed, reordered])
@pytest.mark.parametrize("at", [1, 3])
def test_a_checkpoint_right_after_a_change_of_what_is_trained_is_the_same_run(change, at):
    models = [linear(1.0), linear(-0.5)]
    one = controlled(models)
    for number in range(at):
        step(models, one, number)
    change(models, one)
    others = [linear() for _ in models]
    two = controlled(others)
    for model, other in zip(models, others, strict=True):
        other.load_state_dict(model.state_dict())
    two.load_state_dict(one.state_dict())
    for number in range(at, 14):
        step(models, one, number)
        step(others, two, number)
    for model, other in zip(models, others, strict=True):
        assert torch.equal(model.weight, other.weight)


def test_what_was_learned_is_saved_when_the_run_begins_anew():
    models = [linear(1.0)]
    base = optim.SGD(models[0].parameters(), lr=0.02)
    one = optenv.ControlledOptimizer(base, agents.load("optbrain"), total_steps=40, steps_per_action=1, learn=True)
    for number in range(20):
        step(models, one, number)
    one.load_state_dict(base.state_dict())
    others = [linear(1.0)]
    others[0].load_state_dict(models[0].state_dict())
    two = optenv.ControlledOptimizer(
        optim.SGD(others[0].parameters(), lr=0.02),
        agents.load("optbrain"),
        total_steps=40,
        steps_per_action=1,
        learn=True,
    )
    two.load_state_dict(one.state_dict())
    for number in range(20):
        step(models, one, number)
        step(others, two, number)
    assert torch.equal(models[0].weight, others[0].weight)
    assert one.history[-1]["scale"] == two.history[-1]["scale"]
