"""A schedule composes with a controller that sets its own first scale, wherever the schedule starts."""

import numpy as np
import pytest
import torch
from torch import optim
from torch.optim import lr_scheduler

import agents
import optenv

STEPS = 40
# From an optimizer and its base rate.
SCHEDULES = {
    "linear": lambda o, r: lr_scheduler.LinearLR(o, 1e-3, total_iters=10),
    "lambda from 0": lambda o, r: lr_scheduler.LambdaLR(o, lambda t: min(t / 10, 1.0)),
    "one cycle": lambda o, r: lr_scheduler.OneCycleLR(o, max_lr=r, total_steps=STEPS + 5),
    "cyclic": lambda o, r: lr_scheduler.CyclicLR(o, base_lr=1e-3 * r, max_lr=r, step_size_up=5, cycle_momentum=False),
    "cyclic momentum": lambda o, r: lr_scheduler.CyclicLR(o, base_lr=1e-3 * r, max_lr=r, step_size_up=5),
    "restarts": lambda o, r: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=7),
    "sequence": lambda o, r: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 1e-6, total_iters=5), lr_scheduler.ExponentialLR(o, 0.95)], [5]
    ),
    "by hand": lambda o, r: ByHand(o, r, lambda t: 1e-6 + t / STEPS),
    "by hand from 0": lambda o, r: ByHand(o, r, lambda t: max(t - 3, 0) / STEPS),
}


class ByHand:
    """Write the rate of every step into the groups, as training loops do."""

    def __init__(self, optimizer, rate, share):
        self.optimizer, self.rate, self.share, self.count = optimizer, rate, share, -1
        self.step()

    def step(self):
        self.count += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * self.share(self.count)


def run(problem, controller, schedule, rate, *, when="outermost"):
    """Train under a schedule; return weights, the scheduled rates over the base rate, and the effective rates."""
    base = optim.AdamW(problem.groups, lr=rate)
    seen, given = [], []
    base.register_step_pre_hook(lambda o, args, kwargs: seen.append(float(o.param_groups[0]["lr"])))
    scheduler = SCHEDULES[schedule](base, rate) if when == "before wrapping" else None
    optimizer = optenv.ControlledOptimizer(base, controller, total_steps=STEPS, steps_per_action=3)
    if when == "after steps":
        problem.train(optimizer, 4)
    if scheduler is None:
        scheduler = SCHEDULES[schedule](base if when == "of the base" else optimizer, rate)
    for _ in range(STEPS - len(seen)):
        given.append(float(optimizer.param_groups[0]["lr"]) / rate)
        problem.train(optimizer, 1)
        scheduler.step()
    return problem.weights(), np.array(given), np.array(seen[-len(given) :])


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step", "ignore:.*epoch parameter:UserWarning")
@pytest.mark.parametrize("when", ["outermost", "of the base", "before wrapping", "after steps"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_effective_rate_is_the_schedule_times_the_control(make_problem, fixed, name, when):
    if name.startswith("by hand") and when == "before wrapping":
        pytest.skip("a rate set by hand before wrapping is the base rate")
    own = {"knobs": ("scale",), "control": "relative", "first_update": 0.01}
    steady = run(make_problem(), fixed(0.0, **own), "linear", 0.1)[2][-1]  # the warm-up is over
    _, scheduled, effective = run(make_problem(), fixed(0.0, **own), name, 1e-3, when=when)
    np.testing.assert_allclose(effective, steady * scheduled, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*epoch parameter:UserWarning")
@pytest.mark.parametrize("name", SCHEDULES)
def test_under_a_schedule_the_base_rate_makes_no_difference(make_problem, name):
    ends = [run(make_problem(), agents.load("ppo"), name, rate)[0] for rate in (1e-6, 1e-3, 1.0)]
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0])


def test_a_first_rate_of_zero_at_construction_waits_for_the_first_that_is_not(make_problem, fixed):
    def train(rate, pause):
        problem = make_problem()
        controller = fixed(0.0, knobs=("scale",), control="relative", first_update=0.01)
        optimizer = optenv.ControlledOptimizer(optim.SGD(problem.groups, lr=0.0), controller, total_steps=STEPS)
        problem.train(optimizer, pause)
        for group in optimizer.param_groups:
            group["lr"] = rate
        problem.train(optimizer, STEPS - pause)
        return problem.weights()

    torch.testing.assert_close(train(1e-5, 3), train(10.0, 3))
    assert (train(1.0, 3) - make_problem().weights()).abs().max() > 1e-3


def test_a_rate_that_is_a_tensor_is_scheduled_alike(make_problem, fixed):
    def train(rate):
        problem = make_problem()
        controller = fixed(0.0, knobs=("scale",), control="relative", first_update=0.01)
        base = optim.AdamW(problem.groups, lr=rate, foreach=False)
        optimizer = optenv.ControlledOptimizer(base, controller, total_steps=STEPS)
        problem.train(optimizer, STEPS, lr_scheduler.LambdaLR(optimizer, lambda t: min(t / 10, 1.0)))
        return problem.weights()

    torch.testing.assert_close(train(torch.tensor(1e-5)), train(1e-3), rtol=1e-4, atol=1e-5)


def test_groups_with_rates_of_their_own_keep_their_proportion(make_problem, fixed):
    def rates(schedule):
        first, second = (problem := make_problem()).groups
        base = optim.AdamW([{**first, "lr": 1e-4}, {**second, "lr": 1e-6}])
        optimizer = optenv.ControlledOptimizer(
            base, fixed(0.0, knobs=("scale",), control="relative", first_update=0.01), total_steps=STEPS
        )
        seen = []
        base.register_step_pre_hook(lambda o, args, kwargs: seen.append([group["lr"] for group in o.param_groups]))
        problem.train(optimizer, STEPS, schedule(optimizer))
        return np.array(seen)

    warm = rates(lambda o: lr_scheduler.CyclicLR(o, [1e-7, 1e-9], [1e-4, 1e-6], step_size_up=5))
    np.testing.assert_allclose(warm[:, 0], 100 * warm[:, 1], rtol=1e-9)
    np.testing.assert_allclose(warm[5], rates(lambda o: None)[5], rtol=1e-9)
