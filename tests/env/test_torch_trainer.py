"""The torch trainer is the reference of the batched trainer, and takes optimizers that have no batched form."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from optenv.control.knobs import CONTROLS
from optenv.env import OptControlEnv
from optenv.inner.optimizers import OPTIMIZERS
from optenv.tasks import from_module

IN_TORCH = [name for name, rule in OPTIMIZERS.items() if rule.torch_name]
OPTIONS = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.9, "weight_decay": 0.01}),
    ("sgd", {"momentum": 0.8, "nesterov": 1.0}),
    *((name, {}) for name in IN_TORCH if name != "sgd"),
    *((name, {"weight_decay": 0.1}) for name in IN_TORCH if name != "sgd"),
]


def torch_parameters(env):
    return torch.stack(
        [torch.cat([p.detach().reshape(-1) for p in env._runs._rows[row].params.values()]) for row in (0, 1)]
    )


@pytest.mark.parametrize(("optimizer", "options"), OPTIONS)
@pytest.mark.parametrize("control", CONTROLS)
def test_batched_and_torch_trainer_agree_step_by_step(
    make_envs, movable_knobs, parameters, optimizer, options, control
):
    knobs = movable_knobs(optimizer)
    settings = {"optimizer": optimizer, "optimizer_options": options, "knobs": knobs, "control": control}
    settings |= {"num_inner_steps": 100, "steps_per_action": 1, "lr": 1e-2}
    batched, reference = make_envs(2, **settings), make_envs(2, trainer="torch", **settings)
    seen = [env.reset(seed=1)[0] for env in (batched, reference)]
    rng = np.random.default_rng(0)
    for _ in range(40):
        np.testing.assert_allclose(seen[0], seen[1], atol=1e-4)
        # Below: an update that rounding swallows has no direction to agree on.
        actions = rng.uniform(-0.4, 0.4, batched.action_space.shape)
        (first, *_, infos), (second, *_, expected) = (env.step(actions) for env in (batched, reference))
        seen = [first, second]
        # The same sums in another order, forty times over.
        torch.testing.assert_close(parameters(batched), torch_parameters(reference), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(infos["loss"], expected["loss"], rtol=1e-4)


def test_families_and_the_first_update_agree_too(make_envs, tiny_family):
    settings = {"task": tiny_family, "control": "relative", "first_update": 1e-2, "reward": "twin_advantage"}
    batched, reference = make_envs(6, **settings), make_envs(6, trainer="torch", **settings)
    rng = np.random.default_rng(0)
    seen = [env.reset(seed=1)[0] for env in (batched, reference)]
    for _ in range(9):
        np.testing.assert_allclose(seen[0], seen[1], atol=5e-4)
        actions = rng.uniform(-0.5, 0.5, batched.action_space.shape)
        (first, reward, ended, *_), (second, expected, expected_end, *_) = (
            e.step(actions) for e in (batched, reference)
        )
        np.testing.assert_allclose(reward, expected, atol=5e-4)
        np.testing.assert_array_equal(ended, expected_end)
        seen = [first, second]
    np.testing.assert_array_equal(batched.num_groups(), reference.num_groups())
    assert batched.group_names(3) == reference.group_names(3)
    np.testing.assert_allclose(batched.validation_loss(), reference.validation_loss(), rtol=1e-4)


class SignSgd(torch.optim.Optimizer):
    """An optimizer that no library ships."""

    def __init__(self, params, lr=1.0):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad.sign())


@pytest.fixture
def module_task():
    x = torch.linspace(-2, 2, 80)[:, None]
    return from_module(
        name="sine",
        build=lambda: nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)),
        loss=F.mse_loss,
        train=(x[::2], x[::2].sin()),
        valid=(x[1::2], x[1::2].sin()),
    )


@pytest.mark.parametrize(
    "make", [SignSgd, torch.optim.NAdam, torch.optim.Adadelta, lambda g: torch.optim.Rprop(g, 0.1)]
)
def test_a_module_of_ones_own_trains_under_any_optimizer(module_task, make):
    env = OptControlEnv(task=module_task, trainer="torch", optimizer=make, lr=1e-2, num_inner_steps=60)
    observation, info = env.reset(seed=0)
    first = info["loss"]
    assert env.vector.group_names() == ("0", "2")
    terminated = False
    while not terminated:
        observation, reward, terminated, _, info = env.step(np.zeros(env.action_space.shape, np.float32))
        assert observation in env.observation_space and np.isfinite(reward)
    assert info["loss"] < first


def test_the_episodes_learning_rate_is_that_of_every_group(module_task):
    made = []

    def make(groups):
        made.append(torch.optim.SGD(groups, lr=123.0))
        return made[-1]

    env = OptControlEnv(task=module_task, trainer="torch", optimizer=make, lr=(1e-4, 1e-2))
    _, info = env.reset(seed=0)
    env.step(np.ones(env.action_space.shape, np.float32))
    assert [group["lr"] for group in made[-1].param_groups] == [info["lr"]] * 2
    assert [group["name"] for group in made[-1].param_groups] == ["0", "2"]


def test_an_optimizer_that_regroups_its_parameters_is_one_clear_error(module_task):
    def make(groups):
        return torch.optim.SGD([p for group in groups for p in group["params"]], lr=1.0)

    with pytest.raises(ValueError, match="optimizer: expected it to keep the 2 groups it is given; received 1"):
        OptControlEnv(task=module_task, trainer="torch", optimizer=make).reset(seed=0)
