"""What an episode depends on: its seed and its actions, and nothing else."""

import copy
import hashlib
import pickle
import random
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from optenv.control.knobs import CONTROLS
from optenv.env import OptControlEnv, OptControlVectorEnv
from optenv.inner.optimizers import OPTIMIZERS

every_mode = pytest.mark.parametrize("mode", AutoresetMode)


def same_bits(first, second):
    """Whether two lists of what `step` returned hold the same observations, rewards and ends."""
    pairs = zip(first, second, strict=True)
    return all(np.array_equal(a, b) for one, other in pairs for a, b in zip(one[:4], other[:4], strict=True))


def fingerprint():
    """A hash of an episode of the default task: a family, with data, budget and learning rate drawn."""
    env = OptControlVectorEnv(3, lr=(1e-4, 1e-2), num_inner_steps=(10, 30), control="relative", first_update=1e-2)
    observation, infos = env.reset(seed=11)
    seen = [observation, infos["loss"], infos["lr"]]
    rng = np.random.default_rng(0)
    for _ in range(4):
        seen += env.step(rng.uniform(-1, 1, env.action_space.shape).astype(np.float32))[:2]
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in seen)).hexdigest()


def test_reset_with_a_seed_gives_the_same_bits_again(make_envs, play, parameters):
    env = make_envs()
    first = env.reset(seed=7)[0], parameters(env), play(env, 4)
    again = env.reset(seed=7)[0], parameters(env), play(env, 4)
    other = env.reset(seed=8)[0], parameters(env), play(env, 4)
    assert np.array_equal(first[0], again[0]) and torch.equal(first[1], again[1]) and same_bits(first[2], again[2])
    assert not torch.equal(first[1], other[1])


def test_reset_with_a_seed_gives_the_same_bits_in_another_process():
    here = Path(__file__)
    code = f"import sys, torch; torch.set_num_threads(1); sys.path.insert(0, {str(here.parent)!r});"
    code += f"import {here.stem}; print({here.stem}.fingerprint())"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=here.parents[2], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == fingerprint()


def test_resets_without_a_seed_go_on_from_the_last_one(make_envs, parameters):
    env, other = make_envs(), make_envs()
    env.reset(seed=1)
    other.reset(seed=1)
    first = parameters(env)
    env.reset()
    other.reset()
    assert torch.equal(parameters(env), parameters(other)) and not torch.equal(parameters(env), first)


@pytest.mark.parametrize("trainer", ["batched", "torch"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
def test_a_copy_of_an_environment_goes_on_like_it_and_apart_from_it(make_envs, tiny_family, play, trainer, copied):
    settings = {"trainer": trainer, "task": tiny_family, "control": "relative", "first_update": 1e-2}
    for env in (
        make_envs(3, num_inner_steps=(10, 30), reward="twin_advantage", **settings),
        gymnasium.make("OptControl-v0", render_mode="ansi", max_episode_steps=20, num_inner_steps=100, **settings),
    ):
        env.reset(seed=3)
        play(env, 2)
        other, third = copied(env), copied(env)
        steps = play(env, 5, seed=1)
        assert same_bits(play(other, 5, seed=1), steps) and same_bits(play(third, 5, seed=1), steps)
        assert np.array_equal(env.reset()[0], other.reset()[0]) and same_bits(play(env, 2), play(other, 2))


def test_global_random_states_are_neither_read_nor_changed():
    drawn = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
            drawn.append(fingerprint())
            assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert drawn[0] == drawn[1]


def test_row_i_of_one_seed_is_the_environment_seeded_with_seed_plus_i(make_envs, parameters):
    env, single = make_envs(3), make_envs(3)
    env.reset(seed=5)
    single.reset(seed=[5, 6, 7])
    assert torch.equal(parameters(env), parameters(single))


def test_the_scalar_environment_is_a_row_of_the_vector_environment(make_envs, tiny_task):
    env = make_envs(3, control="relative", first_update=1e-2)
    scalar = OptControlEnv(task=tiny_task, num_inner_steps=20, lr=1e-2, control="relative", first_update=1e-2)
    rng = np.random.default_rng(0)
    observations, infos = env.reset(seed=[5, 6, 7])
    observation, info = scalar.reset(seed=6)
    for _ in range(4):
        np.testing.assert_allclose(observation, observations[1], atol=1e-5)  # a stacked product rounds differently
        np.testing.assert_allclose(list(info.values()), [infos[name][1] for name in info], rtol=1e-6)
        actions = rng.uniform(-0.5, 0.5, env.action_space.shape).astype(np.float32)
        observations, rewards, terminated, _, infos = env.step(actions)
        observation, reward, ended, truncated, info = scalar.step(actions[1])
        np.testing.assert_allclose(reward, rewards[1], atol=1e-5)
        assert (ended, truncated) == (terminated[1], False)
        infos = infos.get("final_info", infos)
        observations = observations if not ended else observation[None].repeat(3, 0)


@pytest.mark.parametrize("control", CONTROLS)
def test_the_very_first_action_moves_the_weights(make_envs, parameters, control):
    moved = []
    for action in (-1.0, 1.0):
        env = make_envs(2, knobs=("scale",), control=control)
        env.reset(seed=0)
        before = parameters(env)
        env.step(np.full(env.action_space.shape, action, np.float32))
        moved.append((parameters(env) - before).norm(dim=1))
    assert (moved[0] > 0).all() and (moved[1] > 1.5 * moved[0]).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("control", CONTROLS)
def test_neutral_actions_leave_the_base_optimizer_as_it_is_bit_for_bit(
    make_envs, movable_knobs, parameters, optimizer, control
):
    options = {"optimizer": optimizer, "control": control, "optimizer_options": {"weight_decay": 0.1}}
    env = make_envs(3, knobs=movable_knobs(optimizer), reward="twin_advantage", **options)
    env.reset(seed=0)
    for _ in range(3):
        _, rewards, *_ = env.step(np.zeros(env.action_space.shape, np.float32))
        assert (rewards == 0).all()
    rows, twin = next(iter(env._twins.states.values()))
    assert torch.equal(parameters(env), twin.params[torch.from_numpy(np.argsort(rows))])


def test_one_groups_action_leaves_the_other_runs_alone(make_envs, play):
    env, other = make_envs(), make_envs()
    actions = np.zeros((3, *env.action_space.shape), np.float32)
    changed = actions.copy()
    changed[:, 1] = 0.7
    env.reset(seed=0)
    other.reset(seed=0)
    for one, two in zip(play(env, 3, actions=actions), play(other, 3, actions=changed), strict=True):
        assert np.array_equal(one[0][[0, 2]], two[0][[0, 2]]) and not np.array_equal(one[0][1], two[0][1])


@every_mode
@pytest.mark.parametrize("task", ["tiny_task", "tiny_family"])
def test_divergence_in_one_row_leaves_the_others_bit_for_bit(make_envs, request, mode, task):
    settings = {"task": request.getfixturevalue(task), "optimizer": "sgd", "lr": 0.03, "num_inner_steps": 40}
    envs = [make_envs(4, autoreset_mode=mode, control="relative", **settings) for _ in range(2)]
    calm = np.zeros(envs[0].action_space.shape, np.float32)
    wild = calm.copy()
    wild[1] = np.tile([1.0, 1.0, 0.0], envs[0].max_groups)
    others, lost = [0, 2, 3], 0
    for env in envs:
        env.reset(seed=3)
    for _ in range(8):
        first, second = (env.step(action) for env, action in zip(envs, (calm, wild), strict=True))
        for a, b in zip(first[:4], second[:4], strict=True):
            assert np.array_equal(a[others], b[others])
        lost += second[4].get("final_info", second[4])["diverged"][1]
        assert not first[4]["diverged"][others].any()
        for env, (_, _, terminated, *_) in zip(envs, (first, second), strict=True):
            if mode is AutoresetMode.DISABLED and terminated.any():
                env.reset(options={"reset_mask": terminated})
    assert lost > 0
