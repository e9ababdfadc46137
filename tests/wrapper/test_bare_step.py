"""The step of a base optimizer without what torch puts around it: the same, and not where somebody looks."""

import pytest
import torch
import torch.optim.optimizer as torch_optimizer
from torch import optim
from torch.optim.lr_scheduler import ConstantLR
from torch.profiler import ProfilerActivity, profile

import optenv
from optenv.control.controller import Neutral
from optenv.wrapper.bare_step import step_of

BASES = {
    "fused": lambda groups: optim.AdamW(groups, lr=0.01, fused=True),
    "foreach": lambda groups: optim.Adam(groups, lr=0.01, foreach=True),
    "sgd": lambda groups: optim.SGD(groups, lr=0.01, momentum=0.9),
}
every = pytest.mark.parametrize("make", BASES.values(), ids=BASES)


@every
def test_it_is_the_same_step_bit_for_bit(make_problem, make):
    ends = []
    for bare in (False, True):
        problem = make_problem()
        base = make(problem.groups)
        for number in range(5):
            base.zero_grad()
            problem.loss(number).backward()
            (step_of(base) if bare else base.step)()
        ends.append(problem.weights())
    assert torch.equal(*ends)


@every
def test_torchs_own_step_is_passed_by_where_nobody_looks(problem, make):
    base = make(problem.groups)
    step = step_of(base)
    assert step.__self__ is base and step.__func__ is type(base).step.__wrapped__


@every
def test_it_is_torchs_own_step_where_a_profiler_runs_or_a_hook_is_registered(problem, make):
    base = make(problem.groups)
    with profile(activities=[ProfilerActivity.CPU]):
        assert step_of(base) == base.step
    register = (
        base.register_step_pre_hook,
        base.register_step_post_hook,
        torch_optimizer.register_optimizer_step_pre_hook,
        torch_optimizer.register_optimizer_step_post_hook,
    )
    for add in register:
        handle = add(lambda *args: None)
        assert step_of(base) == base.step
        handle.remove()
        assert step_of(base) != base.step


def test_a_step_put_in_its_place_is_taken(problem, monkeypatch):
    base, calls = optim.SGD(problem.groups, lr=0.01), []
    ConstantLR(base)
    assert step_of(base) == base.step
    base = optim.SGD(problem.groups, lr=0.01)
    own = optim.SGD.step
    monkeypatch.setattr(optim.SGD, "step", lambda self: calls.append(self) or own(self))
    steering = optenv.ControlledOptimizer(base, Neutral(), total_steps=10)
    problem.train(steering, 2)
    assert calls == [base, base]
