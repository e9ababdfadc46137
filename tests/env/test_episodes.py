"""Episodes: how they begin, end, and follow one another."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from optenv.control.features import FEATURE_NAMES, num_run_features
from optenv.env import OptControlEnv
from optenv.env.episodes import DIVERGENCE_PENALTY
from optenv.rewards import Reward
from optenv.tasks import from_functions


def neutral(env):
    return np.zeros(env.action_space.shape, np.float32)


def test_the_budget_terminates_and_never_truncates(make_envs, play):
    env = make_envs(2, num_inner_steps=20, steps_per_action=5)
    env.reset(seed=0)
    steps = play(env, 8)
    assert [terminated.tolist() for _, _, terminated, _, _ in steps] == ([[False] * 2] * 3 + [[True] * 2]) * 2
    assert not any(truncated.any() for _, _, _, truncated, _ in steps)
    assert steps[3][4]["final_info"]["inner_steps"].tolist() == [20, 20]


@pytest.mark.parametrize(("budget", "decisions"), [(20, 4), (21, 5), (1, 1), (5, 1)])
def test_a_budget_is_rounded_up_to_whole_control_steps(make_envs, budget, decisions):
    env = make_envs(1, num_inner_steps=budget, steps_per_action=5)
    env.reset(seed=0)
    ends = [bool(env.step(neutral(env))[2][0]) for _ in range(decisions)]
    assert ends == [False] * (decisions - 1) + [True]


def test_rates_and_budgets_are_drawn_log_uniformly_from_their_ranges(make_envs):
    env = make_envs(400, lr=(1e-5, 1e-1), num_inner_steps=(10, 1000), steps_per_action=5)
    _, infos = env.reset(seed=0)
    rates, budgets = np.log10(infos["lr"]), np.log10(env._episodes.total)
    assert -5 <= rates.min() < -4.9 and -1.1 < rates.max() <= -1 and abs(rates.mean() + 3) < 0.2
    assert 1 <= budgets.min() < 1.1 and 2.9 < budgets.max() <= 3 and abs(budgets.mean() - 2) < 0.1
    assert (env._episodes.total % 5 == 0).all()


def test_same_step_resets_hand_over_how_the_episode_ended(make_envs, play):
    settings = {"num_inner_steps": (5, 40), "lr": (1e-3, 1e-1)}
    env, other = make_envs(6, **settings), make_envs(6, autoreset_mode=AutoresetMode.DISABLED, **settings)
    np.testing.assert_array_equal(env.reset(seed=2)[0], other.reset(seed=2)[0])
    for (observation, reward, terminated, _, infos), step in zip(play(env, 6), play_disabled(other, play), strict=True):
        final, expected_reward, expected_end, final_infos, next_observation, next_infos = step
        np.testing.assert_array_equal(terminated, expected_end)
        np.testing.assert_array_equal(reward, expected_reward)
        np.testing.assert_array_equal(observation, next_observation)
        np.testing.assert_array_equal(infos["loss"], next_infos["loss"])
        if terminated.any():
            np.testing.assert_array_equal(infos["_final_obs"], terminated)
            np.testing.assert_array_equal(infos["final_obs"][terminated], final[terminated])
            np.testing.assert_array_equal(infos["final_info"]["loss"][terminated], final_infos["loss"][terminated])
        else:
            assert "final_obs" not in infos and "final_info" not in infos


def play_disabled(env, play):
    """Do by hand what SAME_STEP does: reset the rows that ended, right after they ended."""
    rng = np.random.default_rng(0)
    for action in rng.uniform(-1, 1, (6, *env.action_space.shape)).astype(np.float32):
        observation, reward, terminated, _, infos = env.step(action)
        following = env.reset(options={"reset_mask": terminated}) if terminated.any() else (observation, infos)
        yield observation, reward, terminated, infos, *following


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_episodes_follow_one_another_as_in_gymnasiums_own_vector_environment(tiny_family, mode, limit):
    """Rows end at different times, by their budget or the time limit; ended rows' actions are ignored."""
    settings = {"task": tiny_family, "num_inner_steps": (5, 40), "lr": (1e-3, 1e-1), "max_episode_steps": limit}
    native = gymnasium.make_vec("OptControl-v0", num_envs=6, autoreset_mode=mode, **settings)
    by_gymnasium = gymnasium.make_vec(
        "OptControl-v0", num_envs=6, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **settings
    )
    envs, rng, ended, ends = (native, by_gymnasium), np.random.default_rng(0), np.zeros(6, bool), 0
    for env in envs:
        env.reset(seed=2)
    for _ in range(12):
        action = rng.uniform(-1, 1, native.action_space.shape).astype(np.float32)
        action[ended & (mode is AutoresetMode.NEXT_STEP)] = np.nan
        steps = [env.step(action) for env in envs]
        for one, other in zip(*(step[:4] for step in steps), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)  # a stacked product rounds differently
        for name in ("loss", "lr", "inner_steps", "diverged"):
            np.testing.assert_allclose(*(step[4][name] for step in steps), rtol=1e-4)
        ended = steps[0][2] | steps[0][3]
        ends += ended.sum()
        if mode is AutoresetMode.DISABLED and ended.any():
            for env in envs:
                env.reset(options={"reset_mask": ended.copy()})
    assert ends > 6


def test_a_next_step_reset_begins_a_new_picture_and_pays_nothing_whatever_the_reward(make_envs, play):
    own = Reward("own", "pays 1", lambda trace: np.ones(2))
    env = make_envs(2, autoreset_mode="NextStep", num_inner_steps=10, reward=own, render_mode="ansi")
    env.reset(seed=0)
    steps = play(env, 4)
    assert [step[1].tolist() for step in steps] == [[1, 1], [1, 1], [0, 0], [1, 1]]
    assert [record.steps for record in env._records] == [[0, 5]] * 2


@pytest.mark.parametrize("trainer", ["batched", "torch"])
def test_a_lost_run_is_replaced_in_the_next_step(make_envs, trainer):
    env = make_envs(2, optimizer="sgd", lr=1.0, num_inner_steps=1000, autoreset_mode="NextStep", trainer=trainer)
    env.reset(seed=0)
    action = np.tile(np.array([1.0, 1.0, 0.0], np.float32), (2, env.max_groups))
    lost = []
    for _ in range(20):
        observation, reward, terminated, _, infos = env.step(action)
        assert np.isfinite(reward).all() and observation in env.observation_space
        if lost and lost[-1].any():
            assert (reward[lost[-1]] == 0).all() and not infos["diverged"][lost[-1]].any()
            assert np.isfinite(infos["loss"][lost[-1]]).all() and (infos["inner_steps"][lost[-1]] == 0).all()
        lost.append(terminated)
    assert np.any(lost)


def test_a_masked_reset_leaves_the_other_rows_and_their_seeds_alone(make_envs, play):
    env, other = (make_envs(3, autoreset_mode="Disabled", num_inner_steps=30) for _ in range(2))
    env.reset(seed=0)
    other.reset(seed=0)
    play(env, 2)
    play(other, 2)
    fresh, infos = env.reset(seed=9, options={"reset_mask": np.array([False, True, False])})
    assert infos["inner_steps"].tolist() == [10, 0, 10]
    kept, changed = play(env, 3), play(other, 3)
    for one, two in zip(kept, changed, strict=True):
        np.testing.assert_array_equal(one[0][[0, 2]], two[0][[0, 2]])
    np.testing.assert_array_equal(fresh[1], make_envs(3, num_inner_steps=30).reset(seed=9)[0][1])
    np.testing.assert_array_equal(env.reset(options={"reset_mask": np.zeros(3, bool)})[0], kept[-1][0])


def test_a_lost_run_terminates_with_a_bounded_penalty(make_envs, play):
    env = make_envs(2, optimizer="sgd", lr=1.0, num_inner_steps=1000, autoreset_mode="Disabled")
    env.reset(seed=0)
    action = neutral(env)
    action[0] = np.tile([1.0, 1.0, 0.0], env.max_groups)
    action[1] = np.tile([-1.0, 0.0, 0.0], env.max_groups)
    for _ in range(10):
        observation, reward, terminated, truncated, infos = env.step(action)
        if terminated.any():
            break
    assert terminated.tolist() == infos["diverged"].tolist() == [True, False] and not truncated.any()
    assert reward[0] == -DIVERGENCE_PENALTY
    assert observation in env.observation_space
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"step: expected reset\(\) of the rows \[0\]"):
        env.step(action)


def test_a_lost_run_is_replaced_by_a_sound_one(make_envs):
    env = make_envs(2, optimizer="sgd", lr=1.0, num_inner_steps=1000)
    env.reset(seed=0)
    action = np.tile(np.array([1.0, 1.0, 0.0], np.float32), (2, env.max_groups))
    for _ in range(20):
        observation, reward, terminated, _, infos = env.step(action)
        assert np.isfinite(infos["loss"]).all() and np.isfinite(reward).all() and observation in env.observation_space


def test_losses_below_zero_do_not_count_as_lost(make_envs):
    settings = {"init": lambda generator: {"p.w": torch.zeros(2)}, "loss": lambda p, batch: p["p.w"].sum() - 5}
    task = from_functions(name="likelihood", train=(), valid=(), lower_bound=-np.inf, **settings)
    env = make_envs(2, task=task, optimizer="sgd")
    env.reset(seed=0)
    for _ in range(3):
        _, reward, _, _, infos = env.step(neutral(env))
        assert not infos["diverged"].any() and (reward > 0).all()


@pytest.mark.parametrize("trainer", ["batched", "torch"])
@pytest.mark.parametrize("method", ["step", "validation_loss", "group_names", "group_observation", "render"])
def test_what_needs_a_run_says_so_before_the_first_reset_and_after_close(make_envs, method, trainer):
    env = make_envs(2, trainer=trainer, render_mode="ansi")
    arguments = [neutral(env)] if method == "step" else []
    with pytest.raises(gymnasium.error.ResetNeeded, match=rf"{method}: expected reset\(\) to be called first"):
        getattr(env, method)(*arguments)
    env.reset(seed=0)
    getattr(env, method)(*arguments)
    env.close()
    for closed, given in ((method, arguments), ("reset", [])):
        with pytest.raises(gymnasium.error.ClosedEnvironmentError, match=f"{closed}: expected an open environment"):
            getattr(env, closed)(*given)


def test_a_closed_scalar_environment_says_so(tiny_task):
    env = OptControlEnv(task=tiny_task)
    env.reset(seed=0)
    env.close()
    with pytest.raises(gymnasium.error.ClosedEnvironmentError, match="step: expected an open environment"):
        env.step(neutral(env))


@pytest.mark.parametrize("trainer", ["batched", "torch"])
def test_the_number_of_groups_is_known_before_the_first_reset_unless_it_is_drawn(make_envs, tiny_family, trainer):
    assert make_envs(2, trainer=trainer).num_groups().tolist() == [2, 2]
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"num_groups: expected reset\(\) to be called first"):
        make_envs(2, trainer=trainer, task=tiny_family).num_groups()


@pytest.mark.parametrize("row", [2, -1, "0", None])
def test_a_row_that_is_none_is_one_clear_error(make_envs, row):
    env = make_envs(2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=f"row: expected one of 0 to 1; received {row!r}"):
        env.group_names(row)


def test_a_masked_reset_cannot_be_the_first(make_envs):
    env = make_envs(2)
    with pytest.raises(gymnasium.error.ResetNeeded, match="expected the first reset to be of all environments"):
        env.reset(options={"reset_mask": np.array([True, False])})


def test_members_that_differ_in_groups_train_side_by_side_padded_with_zeros(make_envs, tiny_family, play):
    env = make_envs(24, task=tiny_family, num_inner_steps=15, control="relative")
    env.reset(seed=0)
    observation = play(env, 5)[-1][0]
    groups, run = env.num_groups(), num_run_features()
    assert env.max_groups == 4 and set(groups.tolist()) == {1, 2, 3, 4}
    own = observation[:, run:].reshape(24, 4, len(FEATURE_NAMES) - run)
    for row, count in enumerate(groups):
        assert len(env.group_names(row)) == count
        assert np.abs(own[row, :count]).sum(axis=1).all() and not own[row, count:].any()


def test_rows_of_a_family_do_not_see_each_other(make_envs, tiny_family):
    """A row of a mixed batch is the same run as in a batch of its own."""
    env = make_envs(4, task=tiny_family)
    env.reset(seed=0)
    alone = [make_envs(1, task=tiny_family) for _ in range(4)]
    for row, single in enumerate(alone):
        single.reset(seed=row)
    for _ in range(3):
        observations = env.step(neutral(env))[0]
        for row, single in enumerate(alone):
            np.testing.assert_allclose(single.step(neutral(single))[0][0], observations[row], atol=1e-5)
