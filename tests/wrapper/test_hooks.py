"""Hooks: each fires as it would with torch's own optimizers."""

import pytest
import torch
from torch import nn, optim
from torch.optim import optimizer as torch_optimizer
from torch.profiler import ProfilerActivity, profile

import agents
import optenv
from agents.policies.garo.optimizer import GlobalAdaptiveSGD
from agents.policies.opt2vec.optimizer import LightweightOpt2VecOptimizer
from agents.policies.optbrain.drop_in import OptBrain
from agents.rules.adaptive.optimizer import AdaptiveOptimizer

OPTIMIZERS = {
    "ppo": lambda groups: optenv.ControlledOptimizer(optim.AdamW(groups), agents.load("ppo"), total_steps=20),
    "optbrain": lambda groups: OptBrain(optim.SGD(groups, lr=0.1)),
    "adaptive": lambda groups: AdaptiveOptimizer(optim.SGD(groups, lr=0.1)),
    "garo": lambda groups: GlobalAdaptiveSGD(groups, total_steps=20),
    "opt2vec": lambda groups: LightweightOpt2VecOptimizer(groups, pretrained="opt2vec", total_steps=20),
}
every = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def train(problem, optimizer, steps):
    for number in range(steps):
        optimizer.zero_grad()
        loss = problem.loss(number)
        loss.backward()
        optimizer.step(loss=loss)


@every
def test_hooks_of_all_optimizers_fire_once_a_step_where_the_base_steps(problem, make):
    steering, seen = make(problem.groups), []
    handles = [
        torch_optimizer.register_optimizer_step_pre_hook(lambda o, args, kwargs: seen.append(("pre", o))),
        torch_optimizer.register_optimizer_step_post_hook(lambda o, args, kwargs: seen.append(("post", o))),
    ]
    try:
        train(problem, steering, 3)
    finally:
        for handle in handles:
            handle.remove()
    assert seen == 3 * [("pre", steering.base), ("post", steering.base)]


@every
def test_step_hooks_fire_once_a_step_with_the_arguments_of_the_call(problem, make):
    steering, seen = make(problem.groups), []
    steering.register_step_pre_hook(lambda o, args, kwargs: seen.append(("pre", o, args, list(kwargs))))
    steering.register_step_post_hook(lambda o, args, kwargs: seen.append(("post", o, args, list(kwargs))))
    steering.base.register_step_pre_hook(lambda o, args, kwargs: seen.append(("base", o)))
    train(problem, steering, 2)
    before, inner, after = seen[:3]
    assert len(seen) == 6 and inner == ("base", steering.base)
    assert [before[:2], after[:2]] == [("pre", steering), ("post", steering)]
    assert before[2][0] is steering and (before[2][1:], before[3]) in (((), ["loss"]), ((None,), ["loss"]))


@every
def test_state_hooks_fire_around_saving_and_loading(problem, make):
    steering, seen = make(problem.groups), []
    train(problem, steering, 1)
    steering.register_state_dict_pre_hook(lambda o: seen.append("before saving"))
    steering.register_state_dict_post_hook(lambda o, state: state | {"more": 1})
    steering.register_load_state_dict_pre_hook(lambda o, state: seen.append(state.pop("more")))
    steering.register_load_state_dict_post_hook(lambda o: seen.append("after loading"))
    steering.load_state_dict(steering.state_dict())
    assert seen == ["before saving", 1, "after loading"]


@every
def test_a_profile_shows_one_step_a_step(problem, make):
    steering = make(problem.groups)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        train(problem, steering, 2)
    names = {event.key: event.count for event in profiled.key_averages() if "Optimizer.step" in event.key}
    assert names == {f"Optimizer.step#{type(steering.base).__name__}.step": 2}


class Writing(optim.SGD):
    """Writes to a tensor in its groups."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            group.setdefault("count", torch.zeros(1))

    def step(self, closure=None):
        for group in self.param_groups:
            group["count"] += 1
        return super().step(closure)


def test_measuring_the_first_scale_leaves_tensors_in_groups_alone(problem):
    base = Writing(problem.groups)
    train(problem, optenv.ControlledOptimizer(base, agents.load("ppo"), total_steps=20), 1)
    assert base.param_groups[0]["count"] == 1
    assert isinstance(base.param_groups[0]["params"][0], nn.Parameter)
