"""Numbers that are not finite, mixed precision and low precision."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import optim

import optenv

BASES = {
    "sgd": lambda groups: optim.SGD(groups, lr=0.05, momentum=0.9),
    "adamw": lambda groups: optim.AdamW(groups, lr=0.01),
    "adamw fused": lambda groups: optim.AdamW(groups, lr=0.01, fused=True),
}
every_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES)
not_finite = pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": 60, "steps_per_action": 3} | settings)


def signals_of(steering):
    steering._run.settle()
    signals = steering._run.state.loop.signals
    return {field.name: getattr(signals, field.name) for field in fields(signals) if "validation" not in field.name}


def step_with_losses(steering, problem, losses):
    for loss in losses:
        steering.zero_grad()
        problem.loss(0).backward()
        steering.step(loss=loss)


@not_finite
def test_a_loss_that_is_not_finite_is_left_out_of_the_statistics(problem, fixed, value):
    steering = controlled(optim.SGD(problem.groups, lr=0.01), fixed(0.0))
    step_with_losses(steering, problem, [3.0, value, 1.0])
    assert signals_of(steering)["loss"] == 2.0 and signals_of(steering)["noise"] == 2.0
    step_with_losses(steering, problem, [torch.tensor(value), torch.tensor(0.5), torch.tensor(value)])
    assert signals_of(steering)["loss"] == signals_of(steering)["best_loss"] == 0.5
    assert signals_of(steering)["step"] == 6.0


@not_finite
def test_an_interval_without_a_finite_loss_leaves_the_statistics_as_they_were(problem, fixed, value):
    steering = controlled(optim.SGD(problem.groups, lr=0.01), fixed(0.0))
    step_with_losses(steering, problem, [value] * 3)
    assert np.isfinite(steering._run.state.loop.observe()).all()
    step_with_losses(steering, problem, [3.0, 2.0, 1.0])
    before = signals_of(steering)
    step_with_losses(steering, problem, [value] * 3)
    for name in ("loss", "first_loss", "best_loss", "noise"):
        assert signals_of(steering)[name] == before[name]
    step_with_losses(steering, problem, [1.0] * 3)
    assert all(np.isfinite(signal).all() for signal in signals_of(steering).values())


@not_finite
@pytest.mark.parametrize("at", [0, 4, 5])  # in the first step, within an interval, at its end
def test_a_gradient_that_is_not_finite_never_stays_in_memory(problem, fixed, value, at):
    controller = fixed(-0.1)
    base = optim.SGD(problem.groups, lr=0.01)
    steering = controlled(base, controller, guard=False)
    for step in range(15):
        steering.zero_grad()
        loss = problem.loss(step)
        loss.backward()
        if step == at:
            for p in problem.model.parameters():
                p.grad.fill_(value)
            before = [p.detach().clone() for p in problem.model.parameters()]
        steering.step(loss=loss)
        if step == at:  # what a guard or a snapshot would do
            with torch.no_grad():
                for p, old in zip(problem.model.parameters(), before, strict=True):
                    p.copy_(old)
    assert np.isfinite(controller.observations).all()
    assert steering._run.state.steps._clip_reference.isfinite().all()
    assert all(np.isfinite(signal).all() for signal in signals_of(steering).values())
    assert all(t.isfinite().all() for t in steering._run.state.steps._memory.tensors())


@not_finite
@every_base
def test_without_a_guard_neutral_control_leaves_even_a_broken_step_as_it_is(make_problem, fixed, base, value):
    ends = []
    for steered in (False, True):
        problem = make_problem()
        optimizer = base(problem.groups)
        problem.model[0].bias.register_hook(lambda grad: torch.full_like(grad, value))
        problem.train(controlled(optimizer, fixed(0.0), guard=False) if steered else optimizer, 4)
        ends.append(problem.weights())
    assert torch.equal(ends[0].nan_to_num(0.5, 1.0, -1.0), ends[1].nan_to_num(0.5, 1.0, -1.0))


without_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
every_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=without_cuda)])


def on(device, problem):
    problem.model.to(device)
    problem.x, problem.y = problem.x.to(device), problem.y.to(device)
    return problem


def train_scaled(problem, optimizer, steps, overflow=()):
    device = problem.x.device.type
    scaler = torch.amp.GradScaler(device, init_scale=2.0**10, growth_interval=4)
    for step in range(steps):
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16):
            loss = problem.loss(step)
        scaler.scale(loss).backward()
        if step in overflow:
            problem.model[0].weight.grad[0, 0] = torch.inf
        scaler.step(optimizer, **({"loss": loss} if isinstance(optimizer, optenv.ControlledOptimizer) else {}))
        scaler.update()
    return scaler


@every_device
@every_base
def test_a_grad_scaler_steps_a_neutral_run_as_it_does_the_base_optimizer(make_problem, fixed, base, device):
    plain, steered = on(device, make_problem()), on(device, make_problem())
    one = train_scaled(plain, base(plain.groups), 12, overflow=(0, 5))
    two = train_scaled(steered, controlled(base(steered.groups), fixed(0.0)), 12, overflow=(0, 5))
    # A fused base unscales within its kernel, and rounds there.
    torch.testing.assert_close(plain.weights(), steered.weights())
    assert one.state_dict() == two.state_dict()


@every_device
@every_base
def test_gradients_are_seen_unscaled_and_a_skipped_step_as_skipped(make_problem, fixed, base, device):
    scaled, plain = on(device, make_problem()), on(device, make_problem())
    controllers = [fixed(-0.3), fixed(-0.3)]
    one, two = (controlled(base(p.groups), c) for p, c in zip((scaled, plain), controllers, strict=True))
    train_scaled(scaled, one, 10, overflow=(3,))
    for step in range(10):
        if step == 3:
            continue
        two.zero_grad()
        with torch.autocast(device, torch.bfloat16):
            loss = plain.loss(step)
        loss.backward()
        two.step(loss=loss)
    assert "step 9 of 60" in repr(one)
    np.testing.assert_allclose(controllers[0].observations, controllers[1].observations, atol=1e-5)
    torch.testing.assert_close(scaled.weights(), plain.weights())


def test_gradients_unscaled_by_hand_for_clipping_are_not_unscaled_twice(make_problem, fixed):
    ends = []
    for by_hand in (False, True):
        problem = make_problem()
        steering = controlled(optim.SGD(problem.groups, lr=0.05), fixed(-0.3))
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        for step in range(6):
            steering.zero_grad()
            loss = problem.loss(step)
            scaler.scale(loss).backward()
            if by_hand:
                scaler.unscale_(steering)
            scaler.step(steering, loss=loss)
            scaler.update()
        ends.append(problem.weights())
    assert torch.equal(*ends)


@every_base
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_parameters_of_any_precision_are_steered_and_neutral_is_exact(make_problem, fixed, base, dtype):
    ends = []
    for action in (None, 0.0, -0.3):
        problem = make_problem()
        problem.model.to(dtype)
        problem.x, problem.y = problem.x.to(dtype), problem.y.to(dtype)
        optimizer, controller = base(problem.groups), fixed(action)
        problem.train(optimizer if action is None else controlled(optimizer, controller, guard=False), 10)
        assert action is None or np.isfinite(controller.observations).all()
        assert all(p.dtype == dtype for p in problem.model.parameters())
        ends.append(problem.weights().nan_to_num(0.5))  # AdamW's epsilon is 0 in float16
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[1], ends[2])
