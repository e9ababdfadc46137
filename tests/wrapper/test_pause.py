"""The kill switch: from a pause on the base optimizer, bit for bit; after it, control again."""

import copy

import pytest
import torch
from torch import optim

import optenv
from optenv.control.features import FEATURE_NAMES

BASES = {
    "sgd": lambda groups: optim.SGD(groups, lr=0.05, momentum=0.9),
    "adamw fused": lambda groups: optim.AdamW(groups, lr=0.01, fused=True),
}


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": 60, "steps_per_action": 4} | settings)


def go_on(problem, optimizer, first, last, **settings):
    for step in range(first, last):
        optimizer.zero_grad()
        problem.loss(step).backward()
        optimizer.step(**settings)


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
@pytest.mark.parametrize("at", [0, 3, 8])
def test_from_a_pause_on_every_step_is_that_of_the_base_optimizer(make_problem, fixed, base, at):
    steered, plain = make_problem(), make_problem()
    steering = controlled(base(steered.groups), fixed(-0.6))
    steered.train(steering, at)
    steering.pause()
    twin = base(plain.groups)
    plain.model.load_state_dict(steered.model.state_dict())
    twin.load_state_dict(copy.deepcopy(steering.base.state_dict()))
    go_on(steered, steering, at, 20)
    go_on(plain, twin, at, 20)
    assert steering.paused and torch.equal(steered.weights(), plain.weights())


def test_neutral_starts_paused(make_problem, fixed):
    steered, plain = make_problem(), make_problem()
    steering = controlled(optim.SGD(steered.groups, lr=0.05), fixed(-0.6), neutral=True)
    go_on(steered, steering, 0, 10)
    go_on(plain, optim.SGD(plain.groups, lr=0.05), 0, 10)
    assert torch.equal(steered.weights(), plain.weights())


def test_a_resumed_controller_decides_at_once_and_knows_the_progress(problem, fixed):
    controller = fixed(-0.2, control="relative", knobs=("scale",))
    steering = controlled(optim.SGD(problem.groups, lr=0.05), controller)
    problem.train(steering, 6)
    before = steering._run.state.values["scale"].copy()
    steering.pause()
    go_on(problem, steering, 6, 30)
    steering.resume()
    problem.train(steering, 5)
    assert len(controller.observations) == 4  # at steps 0, 4, 30 and 34
    progress, log_scale = (FEATURE_NAMES.index(name) for name in ("progress", "log_scale"))
    assert controller.observations[2][0, 0, progress] == pytest.approx(0.5)
    assert controller.observations[3][0, 0, progress] == pytest.approx(34 / 60)
    assert (steering._run.state.values["scale"] < before).all() and controller.observations[3][0, 0, log_scale] < 0


def test_a_run_that_starts_paused_begins_when_it_resumes(problem, fixed):
    controller = fixed(0.0, control="relative", first_update=0.01)
    steering = controlled(optim.SGD(problem.groups, lr=1e-6), controller, neutral=True)
    go_on(problem, steering, 0, 30)
    before = problem.weights()
    steering.resume()
    problem.train(steering, 1)
    assert controller.observations[0][0, 0, 0] == pytest.approx(0.5)
    moved = (problem.weights() - before).square().mean().sqrt()
    assert moved / before.abs().mean() == pytest.approx(0.01, rel=0.05)


def test_a_pause_without_a_step_changes_nothing(make_problem, fixed):
    one, two = make_problem(), make_problem()
    steering, interrupted = (controlled(optim.SGD(p.groups, lr=0.05), fixed(-0.3)) for p in (one, two))
    one.train(steering, 12)
    for step in range(12):
        interrupted.pause()
        interrupted.resume()
        interrupted.zero_grad()
        loss = two.loss(step)
        loss.backward()
        interrupted.step(loss=loss)
    assert torch.equal(one.weights(), two.weights())


def test_a_pause_is_part_of_a_checkpoint(make_problem, fixed):
    one, two = make_problem(), make_problem()
    steering, resumed = (controlled(optim.SGD(p.groups, lr=0.05), fixed(-0.3)) for p in (one, two))
    one.train(steering, 6)
    steering.pause()
    go_on(one, steering, 6, 8)
    two.model.load_state_dict(one.model.state_dict())
    resumed.load_state_dict(steering.state_dict())
    assert resumed.paused
    for problem, optimizer in ((one, steering), (two, resumed)):
        go_on(problem, optimizer, 8, 10)
        optimizer.resume()
        problem.train(optimizer, 9)
    assert torch.equal(one.weights(), two.weights())


def test_a_kill_switch_is_not_undone_by_a_checkpoint(make_problem, fixed):
    one, two = make_problem(), make_problem()
    steering = controlled(optim.SGD(one.groups, lr=0.05), fixed(-0.3))
    one.train(steering, 6)
    resumed = controlled(optim.SGD(two.groups, lr=0.05), fixed(-0.3), neutral=True)
    resumed.load_state_dict(steering.state_dict())
    assert resumed.paused and not steering.paused


def test_while_paused_a_closure_runs_once_and_what_it_returns_is_returned(problem, fixed):
    steering = controlled(optim.SGD(problem.groups, lr=0.05), fixed(-0.3), neutral=True)
    calls = []
    assert steering.step(lambda: calls.append(1) or "anything") == "anything"
    assert calls == [1]
