"""Steps without a loss, and gradients that are not finite."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn, optim

import agents
import optenv
from optenv.control.controller import Neutral

SHIPPED = ("ppo", "recurrent_ppo", "garo", "opt2vec", "optbrain", "adaptive")
not_finite = pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": 60, "steps_per_action": 3} | settings)


def step_without_a_loss(problem, optimizer, how, step):
    """Skip a batch as trainers do: a closure that returns None, with or without gradients, or no loss at all."""
    optimizer.zero_grad()
    if how != "closure without gradients":
        problem.loss(step).backward()
    optimizer.step(*([lambda: None] if how.startswith("closure") else []))


SKIPPED = ("closure", "closure without gradients", "no loss")


@pytest.mark.parametrize("how", SKIPPED)
@pytest.mark.parametrize("name", SHIPPED)
def test_a_skipped_batch_is_no_error_under_any_controller(problem, name, how):
    optimizer = controlled(optim.AdamW(problem.groups, lr=1e-3), agents.load(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(30):
            if step % 4 == 1:
                step_without_a_loss(problem, optimizer, how, step)
            else:
                problem.train(optimizer, 1)
    assert optimizer.step_count == 30 and problem.weights().isfinite().all()


def test_a_step_without_a_loss_is_the_bases_under_the_rates_in_force(make_problem, fixed):
    ends = []
    for given in (True, False):
        problem = make_problem()
        optimizer = controlled(optim.AdamW(problem.groups, lr=0.01), fixed(0.4, knobs=("scale",)))
        for step in range(12):
            optimizer.zero_grad()
            loss = problem.loss(step)
            loss.backward()
            optimizer.step(**({"loss": loss} if given or step % 3 != 1 else {}))
        ends.append(problem.weights())
    assert torch.equal(*ends)


def test_of_a_step_without_a_loss_nothing_is_observed(problem):
    optimizer = controlled(optim.SGD(problem.groups, lr=0.01), Neutral())
    problem.loss(0).backward()
    for loss in (3.0, None, 1.0, None, None, None, 5.0, 5.0, 5.0, 5.0):
        optimizer.step(loss=loss)
    assert [decision["loss"] for decision in optimizer.history] == [None, 2.0, 2.0, 5.0]
    assert not optimizer._run.state.loop.lost.any()


def test_a_skipped_first_batch_does_not_set_the_first_scale(make_problem, fixed):
    ends = []
    for skips in (0, 2):
        problem = make_problem()
        optimizer = controlled(
            optim.SGD(problem.groups, lr=1e-5), fixed(0.3, control="relative", first_update_norm=0.35)
        )
        for _ in range(skips):
            optimizer.step(lambda: None)
        problem.train(optimizer, 1)
        ends.append(problem.weights())
    assert torch.equal(*ends)


@pytest.mark.parametrize("name", ["ppo", "optbrain", "adaptive"])
def test_a_run_that_is_told_no_loss_at_all_is_one_clear_error(problem, name):
    optimizer = controlled(optim.SGD(problem.groups, lr=0.1), agents.load(name))
    before = problem.weights()
    problem.loss(0).backward()
    with pytest.raises(ValueError, match="step: expected loss=..., or a closure that returns it; received neither"):
        optimizer.step()
    assert torch.equal(problem.weights(), before)


@pytest.mark.filterwarnings("ignore:total_steps:UserWarning")  # the published call names no budget
@pytest.mark.parametrize("options", [{}, {"layerwise": True}, {"total_steps": 200}, {"pretrained": None}])
def test_garo_runs_as_published_without_a_loss(problem, options):
    optimizer = agents.GlobalAdaptiveSGD(problem.groups, **options)
    first = problem.loss(0).item()
    for step in range(200):
        optimizer.zero_grad()
        problem.loss(step % 4).backward()
        optimizer.step()
    assert problem.weights().isfinite().all() and problem.loss(0).item() < first


def test_a_checkpoint_within_a_control_step_keeps_which_losses_are_unknown(make_problem):
    ends = []
    for interrupted in (False, True):
        problem = make_problem()
        optimizer = controlled(optim.SGD(problem.groups, lr=0.01), agents.load("ppo"))
        problem.loss(0).backward()
        for number, loss in enumerate((3.0, None, 1.0, 2.0, None, 1.0, 1.0)):
            if interrupted and number == 5:
                state, base = optimizer.state_dict(), optim.SGD(problem.groups, lr=0.01)
                optimizer = controlled(base, agents.load("ppo"))
                optimizer.load_state_dict(state)
            optimizer.step(loss=loss)
        ends.append(problem.weights())
    assert torch.equal(*ends)


def damaged_training(problem, optimizer, at, value, loss=None):
    """Train ten steps, with one number of a gradient not finite in those of `at`; return the weights around them."""
    moved = []
    for step in range(10):
        optimizer.zero_grad()
        error = problem.loss(step)
        error.backward()
        if step in at:
            problem.model[2].weight.grad[1, 3] = value
        before = problem.weights()
        optimizer.step(loss=error if loss is None or step not in at else loss)
        if step in at:
            moved.append(not torch.equal(problem.weights(), before))
    return moved


@not_finite
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.filterwarnings("ignore:a step was skipped")
def test_the_guard_skips_a_step_whose_gradient_is_not_finite(problem, name, value):
    optimizer = controlled(optim.AdamW(problem.groups, lr=1e-3), agents.load(name))
    assert damaged_training(problem, optimizer, (0, 4, 5), value) == [False] * 3
    assert problem.weights().isfinite().all()
    assert optimizer.history[-1]["skipped"] == 3 and optimizer.step_count == 10


@pytest.mark.filterwarnings("ignore:a step was skipped")
def test_a_skipped_step_leaves_state_and_gradients_as_they_were(problem, fixed):
    base = optim.AdamW(problem.groups, lr=1e-3)
    optimizer = controlled(base, fixed(0.4, knobs=("scale", "clip", "dampen")))
    problem.train(optimizer, 4)
    problem.loss(0).backward()
    problem.model[0].bias.grad[2] = np.nan
    kept = [(p.grad, p.grad.clone()) for p in problem.model.parameters()]
    state = [value.clone() for slots in base.state.values() for value in slots.values()]
    optimizer.step(loss=1.0)
    assert all(map(torch.equal, state, (value for slots in base.state.values() for value in slots.values())))
    for p, (own, value) in zip(problem.model.parameters(), kept, strict=True):
        assert p.grad is own and torch.equal(own.nan_to_num(7.0), value.nan_to_num(7.0))


def test_a_skipped_step_is_said_once_where_the_user_steps(problem):
    optimizer = controlled(optim.SGD(problem.groups, lr=0.1), Neutral())
    with pytest.warns(UserWarning, match="a step was skipped: a gradient is not finite") as caught:
        damaged_training(problem, optimizer, (1, 2, 7), np.nan)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.filterwarnings("ignore:a step was skipped")
def test_the_first_scale_waits_for_a_finite_gradient(make_problem, fixed):
    ends = []
    for bad in (0, 3):
        problem = make_problem()
        optimizer = controlled(
            optim.SGD(problem.groups, lr=1e-5), fixed(0.3, control="relative", first_update_norm=0.35)
        )
        for _ in range(bad):
            problem.loss(0).backward()
            problem.model[0].weight.grad.fill_(np.inf)
            optimizer.step(loss=1.0)
            optimizer.zero_grad()
        problem.train(optimizer, 1)
        ends.append(problem.weights())
    assert torch.equal(*ends)


def test_without_a_guard_or_while_paused_the_base_steps_as_it_always_would(make_problem):
    for settings in ({"guard": False}, {"neutral": True}):
        problem = make_problem()
        optimizer = controlled(optim.SGD(problem.groups, lr=0.1), Neutral(), **settings)
        assert damaged_training(problem, optimizer, (4,), np.nan) == [True]
        assert not problem.weights().isfinite().all()


@pytest.mark.parametrize("kind", ["float64", "float16", "bfloat16", "complex64", "sparse", "a graph", "none"])
@pytest.mark.filterwarnings("ignore:a step was skipped")
def test_gradients_of_every_kind_are_looked_at(kind):
    dtype = getattr(torch, kind) if kind[-1].isdigit() else torch.float32
    p, other = (nn.Parameter(torch.ones(3, 2, dtype=dtype)) for _ in range(2))
    optimizer = controlled(optim.SGD([p, other], lr=0.1), Neutral())
    for value in (1.0, np.nan, 1.0, np.inf):
        gradient = torch.full_like(p, value).detach()
        if kind == "sparse":
            gradient = gradient.to_sparse()
        if kind == "a graph":
            gradient = gradient * torch.ones(1, requires_grad=True)
        p.grad, other.grad = gradient, None if kind == "none" else torch.zeros_like(other)
        before = p.detach().clone()
        optimizer.step(loss=1.0)
        assert torch.equal(p, before) == (not np.isfinite(value))


without_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@without_cuda
@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"capturable": True}])
@pytest.mark.filterwarnings("ignore:a step was skipped")
def test_on_an_accelerator_nothing_waits_to_find_out(problem, fixed, options):
    problem.model.cuda()
    problem.x, problem.y = problem.x.cuda(), problem.y.cuda()
    optimizer = controlled(optim.AdamW(problem.groups, lr=0.01, **options), fixed(0.2, knobs=("scale",)))
    problem.train(optimizer, 4)
    torch.cuda.set_sync_debug_mode("error")
    try:
        problem.loss(0).backward()
        problem.model[0].weight.grad.mul_(torch.inf)
        before = problem.weights()
        optimizer.step(loss=1.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert problem.weights().isfinite().all()
    assert not options.get("fused") or torch.equal(before, problem.weights())
    problem.train(optimizer, 6)
    assert optimizer.history[-1]["skipped"] == 1 and problem.weights().isfinite().all()
