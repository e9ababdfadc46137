"""Whatever is registered makes a working environment; every row is found by itself."""

from itertools import combinations, product

import numpy as np
import pytest

from optenv import tasks
from optenv.control.knobs import CONTROLS, KNOBS
from optenv.env import OptControlVectorEnv
from optenv.inner.layout import GROUPINGS
from optenv.inner.optimizers import OPTIMIZERS
from optenv.rewards import REWARDS

IN_TORCH = [name for name, rule in OPTIMIZERS.items() if rule.torch_name]


def check_a_few_steps(env, steps=3, moves=np.all):
    """Random actions give finite observations in the declared space, finite rewards, and losses that move (`moves`)."""
    observation, infos = env.reset(seed=0)
    first, rng = infos["loss"], np.random.default_rng(0)
    assert np.isfinite(first).all()
    for _ in range(steps):
        assert observation in env.observation_space
        actions = rng.uniform(-0.5, 0.5, env.action_space.shape).astype(np.float32)
        observation, reward, terminated, truncated, infos = env.step(actions)
        assert np.isfinite(reward).all() and not terminated.any() and not truncated.any()
        assert not infos["diverged"].any()
    assert moves(infos["loss"] != first)
    assert np.isfinite(env.validation_loss()).all()


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_makes_a_working_environment(name):
    moves = np.any if name == "function_easom" else np.all  # a start on its plain sees no slope in single precision
    check_a_few_steps(OptControlVectorEnv(2, task=name, lr=1e-3, num_inner_steps=20, steps_per_action=2), moves=moves)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_makes_a_working_environment(make_envs, movable_knobs, optimizer):
    check_a_few_steps(make_envs(optimizer=optimizer, lr=1e-3, knobs=movable_knobs(optimizer), control="relative"))


def alike(results):
    """Pairs of names whose results are the same."""
    return [(a, b) for a, b in combinations(results, 2) if np.allclose(results[a], results[b], rtol=1e-6, atol=0.0)]


def test_no_two_optimizers_train_alike(make_envs, play, parameters):
    ends = {}
    for optimizer in OPTIMIZERS:
        env = make_envs(optimizer=optimizer, lr=1e-2)
        env.reset(seed=0)
        play(env, 3, actions=np.full((3, *env.action_space.shape), 0.0, np.float32))
        ends[optimizer] = parameters(env)
    assert alike(ends) == []


@pytest.mark.parametrize("optimizer", IN_TORCH)
def test_every_optimizer_of_the_torch_trainer_makes_a_working_environment(make_envs, movable_knobs, optimizer):
    settings = {"optimizer": optimizer, "lr": 1e-3, "knobs": movable_knobs(optimizer), "control": "relative"}
    check_a_few_steps(make_envs(trainer="torch", **settings))


@pytest.mark.parametrize(("knob", "control"), list(product(KNOBS, CONTROLS)))
def test_every_knob_makes_a_working_environment_and_does_something(make_envs, play, parameters, knob, control):
    options = {"optimizer_options": {"weight_decay": 0.1}, "knobs": (knob,), "control": control}
    check_a_few_steps(make_envs(**options))
    ends = []
    for action in (-1.0, 0.0, 1.0):
        env = make_envs(**options)
        env.reset(seed=0)
        play(env, 2, actions=np.full((2, *env.action_space.shape), action, np.float32))
        ends.append(parameters(env))
    one_sided = knob in ("clip", "dampen", "second_moment")  # these are neutral already on one side of 0
    assert sum(bool((end != ends[1]).any()) for end in (ends[0], ends[2])) >= (1 if one_sided else 2)


@pytest.mark.parametrize("reward", REWARDS)
def test_every_reward_makes_a_working_environment(make_envs, reward):
    check_a_few_steps(make_envs(reward=reward))


def test_no_two_rewards_pay_alike(make_envs):
    paid = {}
    for reward in REWARDS:
        env = make_envs(reward=reward, lr=1e-2)
        env.reset(seed=0)
        actions = np.random.default_rng(0).uniform(-0.5, 0.5, (10, *env.action_space.shape)).astype(np.float32)
        steps = [env.step(action)[1:3] for action in actions]
        paid[reward] = [np.sum(reward) for reward, _ in steps]
    assert alike(paid) == []


@pytest.mark.parametrize("groups", GROUPINGS)
@pytest.mark.parametrize("trainer", ["batched", "torch"])
def test_every_grouping_makes_a_working_environment(make_envs, groups, trainer):
    env = make_envs(groups=groups, trainer=trainer)
    check_a_few_steps(env)
    assert env.group_names() == {"layer": ("layer0", "layer1"), "model": ("model",)}[groups]
