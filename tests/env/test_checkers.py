"""The environment is what Gymnasium and stable-baselines3 take for one; warnings are errors here."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers import RecordVideo
from gymnasium.wrappers.vector import RecordVideo as RecordVideos

from optenv.env import OptControlEnv, OptControlVectorEnv
from optenv.env.trainers import TRAINERS

ID = "OptControl-v0"
SMALL = {"task": "synthetic_classification:1", "num_inner_steps": 10, "steps_per_action": 5}


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("control", ["absolute", "relative"])
def test_gymnasiums_checker_passes_without_a_warning(trainer, control):
    check_env(gymnasium.make(ID, trainer=trainer, control=control, **SMALL).unwrapped)


def test_gymnasiums_checker_passes_in_every_render_mode():
    env = gymnasium.make(ID, render_mode="ansi", **SMALL).unwrapped
    assert set(env.metadata["render_modes"]) == {"rgb_array", "ansi"}
    check_env(env)


def test_stable_baselines3s_checker_passes_without_a_warning():
    from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines3

    check_for_stable_baselines3(gymnasium.make(ID, **SMALL))


def test_make_needs_no_import_and_has_the_settings_given():
    env = gymnasium.make(f"optenv:{ID}", lr=(1e-5, 1e-1), control="relative", **SMALL)
    assert isinstance(env.unwrapped, OptControlEnv)
    assert env.unwrapped.settings.lr == (1e-5, 1e-1)
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert observation in env.observation_space and isinstance(reward, float)
    assert (terminated, truncated, info["diverged"], info["inner_steps"]) == (False, False, False, 5.0)


def test_make_vec_is_natively_batched():
    envs = gymnasium.make_vec(ID, num_envs=3, **SMALL)
    assert isinstance(envs, OptControlVectorEnv) and isinstance(envs, VectorEnv)
    assert envs.observation_space == batch_space(envs.single_observation_space, 3)
    observations, infos = envs.reset(seed=0)
    assert observations in envs.observation_space
    observations, rewards, terminated, truncated, infos = envs.step(envs.action_space.sample())
    assert observations in envs.observation_space and observations.dtype == np.float32
    assert rewards.shape == terminated.shape == truncated.shape == infos["loss"].shape == (3,)
    assert terminated.dtype == truncated.dtype == bool


def test_gymnasiums_own_vectorization_takes_the_scalar_environment():
    envs = gymnasium.make_vec(ID, num_envs=2, vectorization_mode="sync", **SMALL)
    native = gymnasium.make_vec(ID, num_envs=2, **SMALL)
    np.testing.assert_array_equal(envs.reset(seed=3)[0], native.reset(seed=3)[0])
    envs.close()


@pytest.mark.parametrize("how", [None, "vector_entry_point", "sync"])
def test_make_vec_takes_gymnasiums_own_keywords_however_it_vectorizes(how):
    keywords = {"max_episode_steps": 1, "disable_env_checker": True, "render_mode": "ansi"}
    envs = gymnasium.make_vec(ID, num_envs=np.int64(2), vectorization_mode=how, **keywords, **SMALL)
    envs.reset(seed=0)
    _, _, terminated, truncated, _ = envs.step(np.zeros(envs.action_space.shape))
    assert truncated.all() and not terminated.any() and len(envs.render()) == 2
    envs.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking beside torch's threads
def test_gymnasiums_processes_take_the_scalar_environment():
    keywords = {"num_envs": 2, "max_episode_steps": 1, "vectorization_mode": "async"}
    envs = gymnasium.make_vec(ID, **keywords, vector_kwargs={"context": "spawn"}, **SMALL)
    envs.reset(seed=0)
    assert envs.step(np.zeros(envs.action_space.shape, np.float32))[3].all()
    envs.close()


@pytest.mark.parametrize("limit", [None, -1])
def test_without_a_limit_nothing_is_truncated(limit):
    envs = gymnasium.make_vec(ID, num_envs=2, max_episode_steps=limit, autoreset_mode="Disabled", **SMALL)
    envs.reset(seed=0)
    ends = [envs.step(np.zeros(envs.action_space.shape))[2:4] for _ in range(2)]
    assert not np.any([truncated for _, truncated in ends]) and ends[1][0].all()


@pytest.mark.parametrize("mode", [*AutoresetMode, *(mode.value for mode in AutoresetMode)])
def test_the_autoreset_mode_is_declared_as_gymnasium_reads_it(mode):
    envs = gymnasium.make_vec(ID, num_envs=2, autoreset_mode=mode, **SMALL)
    assert envs.metadata["autoreset_mode"] is AutoresetMode(mode)


@pytest.fixture
def moviepy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # moviepy's own, at import
        return pytest.importorskip("moviepy")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_an_episode_becomes_a_video(moviepy, tmp_path):
    env = RecordVideo(
        gymnasium.make(ID, render_mode="rgb_array", **SMALL), str(tmp_path / "videos"), lambda episode: True
    )
    env.reset(seed=0)
    while not env.step(env.action_space.sample())[2]:
        pass
    env.close()
    assert [path.stat().st_size > 1000 for path in (tmp_path / "videos").glob("*.mp4")] == [True]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_runs_side_by_side_become_a_video(moviepy, tmp_path):
    settings = SMALL | {"autoreset_mode": AutoresetMode.DISABLED}
    envs = gymnasium.make_vec(ID, num_envs=2, render_mode="rgb_array", **settings)
    envs = RecordVideos(envs, str(tmp_path / "videos"), video_length=2, step_trigger=lambda step: step == 0)
    envs.reset(seed=0)
    for _ in range(2):
        envs.step(envs.action_space.sample())
    envs.close()
    assert [path.stat().st_size > 1000 for path in (tmp_path / "videos").glob("*.mp4")] == [True]
