"""Seeing environments as stable-baselines3 does: the flat view and the per-group view."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecVideoRecorder

from agents.gym_adapter import GymnasiumVecEnv
from agents.training.curriculum import Curriculum
from agents.training.group_env import GroupVecEnv
from agents.training.rollout_workers import ROWS, RolloutEnvironment
from optenv.env import OptControlVectorEnv

SETTINGS = {"task": "synthetic_classification:1", "num_inner_steps": 10, "steps_per_action": 2, "knobs": ("scale",)}
COMMON = {"knobs": ("scale",), "control": "relative", "first_update": 0.01, "reward": "tempered_decrease", "lr": 1e-3}


def curriculum(**changes):
    return Curriculum(tasks=("quadratic",), budgets=(40,), settings=COMMON | changes)


def test_the_flat_view_hands_over_the_last_observation_of_an_episode():
    env = GymnasiumVecEnv(OptControlVectorEnv(2, **SETTINGS))
    twin = OptControlVectorEnv(2, autoreset_mode=AutoresetMode.DISABLED, **SETTINGS)
    env.seed(3)
    np.testing.assert_array_equal(env.reset(), twin.reset(seed=3)[0])
    for _ in range(5):
        action = env.action_space.sample()[None].repeat(2, axis=0)
        observation, reward, ended, infos = env.step(action)
        expected, paid, *_ = twin.step(action)
        np.testing.assert_allclose(reward, paid, rtol=1e-6)
    assert ended.all()
    np.testing.assert_array_equal(infos[1]["terminal_observation"], expected[1])
    assert not infos[1]["TimeLimit.truncated"]
    assert observation[0, 0] == 0.0  # the next episode has begun


def test_the_flat_view_tells_every_row_its_loss_and_rate_at_every_step():
    env = GymnasiumVecEnv(OptControlVectorEnv(3, **SETTINGS | {"lr": (1e-4, 1e-2)}))
    env.seed(0)
    env.reset()
    rates = []
    for step in range(5):
        *_, infos = env.step(np.zeros(env.action_space.shape)[None].repeat(3, axis=0))
        assert [info["inner_steps"] for info in infos] == [2.0 * (step + 1)] * 3
        assert len({info["loss"] for info in infos}) == 3
        rates.append([info["lr"] for info in infos])
    assert rates == [rates[0]] * 5 and len(set(rates[0])) == 3


def test_the_flat_view_answers_once_for_every_row_that_is_asked():
    env = GymnasiumVecEnv(OptControlVectorEnv(3, **SETTINGS))
    env.reset()
    losses = env.env.validation_loss()
    assert env.env_method("validation_loss") == losses.tolist()
    assert env.env_method("validation_loss", indices=[2, 0]) == [losses[2], losses[0]]
    assert env.env_method("group_names", 1, indices=[0, 1]) == [env.env.group_names(1)] * 2
    assert env.get_attr("settings", indices=1) == [env.env.settings]


def test_the_flat_view_is_filmed(tmp_path):
    env = GymnasiumVecEnv(OptControlVectorEnv(2, render_mode="rgb_array", **SETTINGS))
    env.reset()
    one, other = env.get_images()
    assert one.shape == other.shape and one.ndim == 3 and one.dtype == np.uint8
    film = VecVideoRecorder(env, str(tmp_path), lambda step: step == 0, video_length=2)
    film.reset()
    for _ in range(3):
        film.step(np.zeros((2, *env.action_space.shape)))
    film.close()
    assert list(tmp_path.glob("*.mp4"))


def test_the_flat_view_without_a_render_mode_has_no_pictures():
    assert GymnasiumVecEnv(OptControlVectorEnv(2, **SETTINGS)).get_images() == [None, None]


def test_the_flat_view_trains():
    env = GymnasiumVecEnv(OptControlVectorEnv(4, **SETTINGS))
    PPO("MlpPolicy", env, n_steps=5, batch_size=10, device="cpu", seed=0).learn(40)


def test_the_flat_view_refuses_other_autoresets():
    env = OptControlVectorEnv(2, autoreset_mode=AutoresetMode.DISABLED, **SETTINGS)
    with pytest.raises(ValueError, match="expected SAME_STEP; received AutoresetMode.DISABLED"):
        GymnasiumVecEnv(env)


def test_a_state_draws_the_same_environments_again():
    env = GroupVecEnv(curriculum(), environments=3, seed=5)
    env.reset()
    first = env.reset()
    state = env.get_state()
    env.reset()
    env.set_state(state)
    np.testing.assert_array_equal(env.reset(), first)


def test_all_rows_end_together_and_new_tasks_are_drawn():
    env = GroupVecEnv(curriculum(), environments=2, seed=0)
    env.reset()
    for step in range(40):
        observation, reward, ended, infos = env.step(np.zeros((2 * ROWS, 1), np.float32))
        assert np.isfinite(observation).all() and np.isfinite(reward).all()
        assert step == 39 or not ended.all()
    assert ended.all() and all("terminal_observation" in info for info in infos)
    assert (observation[:, 0] == 0.0).all()


def test_idle_rows_see_and_earn_nothing():
    env = RolloutEnvironment(
        COMMON | {"task": "digits_autoencoder", "num_inner_steps": 2, "steps_per_action": 1}, seed=0
    )
    char = RolloutEnvironment(
        COMMON | {"task": "digits_conv", "num_inner_steps": 2, "steps_per_action": 1, "groups": "model"}, seed=0
    )
    for each in (env, char):
        observation, reward, _, _ = each.step(np.zeros((ROWS, 1), np.float32))
        used = each._used
        assert (observation[used:] == 0).all() and (reward[used:] == 0).all()


def test_peers_that_do_the_same_earn_nothing_above_each_other():
    env = RolloutEnvironment(
        COMMON | {"task": "synthetic_classification:1", "num_inner_steps": 4, "steps_per_action": 1}, seed=0
    )
    _, reward, _, _ = env.step(np.zeros((ROWS, 1), np.float32))
    np.testing.assert_allclose(reward, 0.0, atol=1e-6)
    action = np.zeros((ROWS, 1), np.float32)
    action[0] = 1.0
    _, reward, _, _ = env.step(action)
    assert abs(reward[0]) > 1e-6 and abs(reward[-1]) < 1e-6


def test_a_worker_that_fails_raises_here():
    env = GroupVecEnv(
        Curriculum(tasks=("quadratic",), budgets=(40,), settings=COMMON | {"reward": "nothing"}),
        environments=1,
        workers=1,
    )
    with pytest.raises(ValueError, match="unknown reward 'nothing'"):
        env.reset()
    env.close()
