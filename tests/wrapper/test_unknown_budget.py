"""Without `total_steps`: what controllers that need a budget do, and what they say."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

import agents
import optenv
from optenv.control.guard import Guard
from optenv.control.unknown_budget import FALL, RISE, peak

TRAINED = ("ppo", "recurrent_ppo", "garo", "opt2vec")
OTHERS = ("optbrain", "adaptive")


def readme_example(wrap, lr, steps=500):
    """Train the model of the README's example, and return its loss on all of its data."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 1))
    for p in model.parameters():
        nn.init.uniform_(p, -0.15, 0.15, generator=generator)
    x = torch.randn(512, 20, generator=generator)
    y = x[:, :1].sin() + 0.1 * torch.randn(512, 1, generator=generator)
    optimizer = wrap(optim.AdamW(optenv.layer_groups(model), lr=lr))
    for _ in range(steps):
        batch = torch.randint(512, (32,), generator=generator)
        loss = F.mse_loss(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step(**({"loss": loss} if isinstance(optimizer, optenv.ControlledOptimizer) else {}))
        optimizer.zero_grad()
    return F.mse_loss(model(x), y).item()


@pytest.mark.filterwarnings("ignore:.*needs a budget to decide well:UserWarning")
@pytest.mark.parametrize("name", [*TRAINED, *OTHERS])
def test_without_a_budget_the_readme_example_is_no_worse_than_its_base_optimizer(name):
    plain = readme_example(lambda base: base, 1e-3)
    assert readme_example(lambda base: optenv.ControlledOptimizer(base, agents.load(name)), 1e-3) < 1.1 * plain


@pytest.mark.filterwarnings("ignore:.*needs a budget to decide well:UserWarning")
@pytest.mark.parametrize("every", [1, 10, 25])
@pytest.mark.parametrize("name", TRAINED)
def test_without_a_budget_the_first_scale_follows_a_schedule(make_problem, name, every):
    problem, controller = make_problem(), agents.load(name)
    optimizer = optenv.ControlledOptimizer(optim.SGD(problem.groups, 1e-3), controller, steps_per_action=every)
    problem.train(optimizer, 201)
    steps, scales = (np.array([record[key] for record in optimizer.history]) for key in ("step", "scale"))
    highest = peak(controller.interface)
    expected = scales[0, 0] * highest ** np.minimum(steps / RISE, 1.0) / (1.0 + steps / FALL)
    late = steps >= 150  # a scale moves at most by a factor of e in a decision
    np.testing.assert_allclose(scales[late, 0], expected[late], rtol=1e-4)


@pytest.mark.parametrize("name", [*TRAINED, *OTHERS])
def test_who_needs_a_budget_says_so_once(problem, name):
    optimizer = optenv.ControlledOptimizer(optim.SGD(problem.groups, lr=1e-3), agents.load(name))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        problem.train(optimizer, 25)
    assert len(caught) == (name in TRAINED)
    assert all("Pass total_steps=" in str(w.message) and Path(w.filename).name == "conftest.py" for w in caught)


def test_a_budget_that_a_checkpoint_brings_is_a_budget(make_problem):
    problem = make_problem()
    first = optenv.ControlledOptimizer(optim.SGD(problem.groups, lr=1e-3), agents.load("ppo"), total_steps=40)
    problem.train(first, 5)
    second = optenv.ControlledOptimizer(optim.SGD(problem.groups, lr=1e-3), agents.load("ppo"))
    second.load_state_dict(first.state_dict())
    problem.train(second, 5)
    assert second.total_steps == 40


@pytest.mark.parametrize("name", TRAINED)
def test_a_known_budget_leaves_the_decisions_to_the_controller(name):
    controller = agents.load(name)
    guard = Guard(controller)
    known = np.random.default_rng(0).uniform(0.1, 0.3, (2, 3, len(guard.interface.features)))
    guard.reset(2, 3)
    actions = guard.act(known)
    controller.reset(2, 3)
    own = [guard.interface.features.index(feature) for feature in controller.interface.features]
    np.testing.assert_array_equal(actions, controller.act(known[..., own]))
