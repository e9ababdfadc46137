"""The guard in a controlled optimizer: on by default, and what it does to a training that goes wrong."""

import numpy as np
import pytest
import torch
from torch import nn, optim

import optenv
from optenv.control.controller import Neutral
from optenv.control.knobs import KNOBS
from optenv.wrapper.best_weights import BestWeights


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": 100, "steps_per_action": 3} | settings)


def rates_of(base):
    seen = []
    base.register_step_pre_hook(lambda o, args, kwargs: seen.append([group["lr"] for group in o.param_groups]))
    return seen


def bowl(optimizer_of, steps, **settings):
    """Train w on |w|^2 / 2, on which SGD diverges at rates above 2; return the weight and the losses."""
    weight = nn.Parameter(torch.ones(4))
    optimizer, losses = optimizer_of([weight]), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = 0.5 * weight.square().sum()
        loss.backward()
        losses.append(loss.item())
        optimizer.step(**({"loss": loss} if isinstance(optimizer, optenv.ControlledOptimizer) else {}))
    return weight.detach(), losses


def test_the_guard_is_on_by_default_and_the_controller_is_the_users(problem, fixed):
    controller = fixed(1.0, knobs=("scale",))
    base = optim.SGD(problem.groups, lr=1e-3)
    steering = controlled(base, controller, max_authority=3.0)
    rates = rates_of(base)
    problem.train(steering, 4)
    assert steering.controller is controller
    np.testing.assert_allclose(rates, 3e-3)


def test_without_a_guard_a_controller_does_as_it_likes(problem, fixed):
    base = optim.SGD(problem.groups, lr=1e-5)
    rates = rates_of(base)
    action = fixed(1.0, control="relative", knobs=("scale",))
    problem.train(controlled(base, action, guard=False, steps_per_action=1), 5)
    np.testing.assert_allclose(rates[-1], 1e-5 * np.exp(5))


def test_a_loss_that_is_not_finite_is_answered_by_steps_of_the_base_optimizer(problem, fixed):
    base = optim.SGD(problem.groups, lr=0.01)
    rates = rates_of(base)
    steering = controlled(base, fixed(0.4, knobs=("scale", "clip", "dampen")))
    for step in range(18):
        steering.zero_grad()
        problem.loss(step).backward()
        steering.step(loss=float("nan") if step == 4 else 1.0)
    scaled = [rate[0] != 0.01 for rate in rates]
    # From the next decision on, for two more; then trust comes back little by little.
    assert scaled == [True] * 6 + [False] * 9 + [True] * 3 and rates[-1][0] < rates[0][0]


def test_control_that_makes_a_convergent_run_diverge_is_stopped(fixed):
    def settings(guard):
        return lambda groups: controlled(
            optim.SGD(groups, lr=0.5), fixed(1.0, knobs=("scale",)), total_steps=300, guard=guard
        )

    alone, _ = bowl(settings(False), 300)
    guarded, losses = bowl(settings(True), 300)
    assert not alone.isfinite().all()
    assert guarded.isfinite().all() and np.isfinite(losses).all()


def test_rollback_goes_back_to_where_the_loss_was_near_its_best(fixed):
    def settings(rollback):
        # Good at first, then ruinous.
        action = fixed(lambda decision: float(decision > 5), knobs=("scale",))
        return lambda groups: controlled(optim.SGD(groups, lr=0.5, momentum=0.5), action, rollback=rollback)

    _, alone = bowl(settings(False), 33)
    _, back = bowl(settings(True), 33)
    assert max(alone[15:]) == max(back[15:]) > 10 * back[14]
    assert back[-1] < 0.1 * alone[-1]


def test_a_snapshot_brings_back_parameters_and_state_and_leaves_hyperparameters(problem):
    base = optim.AdamW(problem.groups, lr=0.01)
    problem.train(base, 2)
    snapshot, weights = BestWeights(base), problem.weights()
    assert not snapshot.restore() and torch.equal(problem.weights(), weights)
    snapshot.keep()
    state = {p: {k: v.clone() for k, v in own.items()} for p, own in base.state.items()}
    problem.train(base, 3)
    base.param_groups[0]["lr"] = 0.5
    for _ in range(2):
        problem.train(base, 1)
        assert snapshot.restore() and torch.equal(problem.weights(), weights)
        assert all(torch.equal(base.state[p][k], v) for p, own in state.items() for k, v in own.items())
    assert base.param_groups[0]["lr"] == 0.5


def test_a_snapshot_of_before_the_first_step_forgets_the_state(problem):
    base = optim.AdamW(problem.groups, lr=0.01)
    snapshot, weights = BestWeights(base), problem.weights()
    snapshot.keep()
    problem.train(base, 2)
    assert snapshot.restore() and not base.state and torch.equal(problem.weights(), weights)


def test_a_decision_reads_nothing_of_its_own_step(make_problem, fixed):
    values = []
    for gradient in (1.0, 1e6):
        problem = make_problem()
        seen = []
        controller = fixed(0.0)
        controller.act = lambda observation, seen=seen: seen.append(observation) or np.zeros((1, 2, len(KNOBS)))
        steering = controlled(optim.SGD(problem.groups, lr=1e-3), controller)
        problem.train(steering, 6)
        problem.loss(0).backward()
        for p in problem.model.parameters():
            p.grad.mul_(gradient)
        steering.step(loss=gradient)
        values.append(seen)
    assert len(values[0]) == 3
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("settings", [{"max_authority": 2.0}, {"rollback": True}])
def test_what_only_a_guard_can_do_is_one_clear_error_without_it(problem, settings):
    with pytest.raises(ValueError, match="guard: expected True where max_authority or rollback is asked for"):
        controlled(optim.SGD(problem.groups, lr=0.1), Neutral(), guard=False, **settings)


def test_a_checkpoint_with_a_guard_is_not_read_without_one(make_problem):
    one, two = make_problem(), make_problem()
    steering = controlled(optim.SGD(one.groups, lr=0.1), Neutral())
    one.train(steering, 4)
    with pytest.raises(ValueError, match="expected the state of a controller with guard False; received True"):
        controlled(optim.SGD(two.groups, lr=0.1), Neutral(), guard=False).load_state_dict(steering.state_dict())
