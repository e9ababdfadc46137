"""Rewards: what holds for every row of the registry, and what each sums to over an episode."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from optenv.env import OptControlVectorEnv
from optenv.env.episodes import Episodes
from optenv.env.episodes import earned as pay_step
from optenv.rewards import REWARDS, Reward, get_reward, shaped

STEPS = 8
every_reward = pytest.mark.parametrize("reward", REWARDS.values(), ids=REWARDS)
every_bound = pytest.mark.parametrize("bound", [0.0, -np.inf])
positive = arrays(float, (STEPS + 1, 1), elements=st.floats(1e-3, 1e3))
anything = arrays(float, (STEPS + 1, 1), elements=st.floats(width=32) | st.sampled_from([np.nan, np.inf, 0.0, -1.0]))


def play(reward, losses, twins, bound=0.0):
    """What every control step of an episode earns and whether the run was lost in it; a lost run ends."""
    one = np.ones(1)
    episodes = Episodes(*(one.copy() for _ in range(4)), np.zeros(1), *(one * np.nan for _ in range(4)))
    episodes.total = np.array([float(STEPS)])
    begins = np.where(np.isfinite(twins[0]), twins[0], losses[0])  # with the same weights as the run
    episodes.measure_first(np.array([0]), losses[0], begins)
    earned, lost = [], []
    for loss, twin in zip(losses[1:], twins[1:], strict=True):
        trace = episodes.advance(1, loss, twin, bound)
        lost.append(episodes.diverged(loss, bound)[0])
        earned.append(pay_step(reward, trace, np.array([lost[-1]]))[0])
        if lost[-1]:
            break
    return np.array(earned), np.array(lost)


@every_reward
@every_bound
@settings(max_examples=25)
@given(anything, anything)
def test_whatever_the_losses_what_is_paid_is_finite(reward, bound, losses, twins):
    earned, lost = play(reward, losses, twins, bound)
    assert np.isfinite(earned).all()
    assert (earned[lost] == -3.0).all()


@every_reward
@settings(max_examples=25)
@given(arrays(float, (STEPS + 1, 1), elements=st.floats(0.0, 1e6)), anything)
def test_no_step_is_paid_without_bound_while_the_loss_keeps_its_own(reward, losses, twins):
    earned, _ = play(reward, losses, twins)
    most = np.log(1e6 * 1e3 / 1e-30)  # from the largest loss at which a run goes on to the least that counts
    assert (np.abs(earned) <= max(2 * most, 1e3)).all()


@every_reward
@every_bound
@settings(max_examples=25)
@given(positive, positive, st.sampled_from([1e-3, 1e3]))
def test_no_reward_moves_when_the_loss_changes_its_unit(reward, bound, losses, twins, unit):
    earned, _ = play(reward, losses, twins, bound)
    np.testing.assert_allclose(play(reward, losses * unit, twins * unit, bound)[0], earned, rtol=1e-9, atol=1e-9)


falls = arrays(float, (STEPS + 1, 1), elements=st.floats(1e-2, 1.0))  # never a thousandfold of the start


@every_reward
@settings(max_examples=25)
@given(falls)
def test_a_lower_loss_at_the_end_never_earns_less(reward, losses):
    better = losses.copy()
    better[-1] /= 2
    twins = np.ones_like(losses)
    assert play(reward, better, twins)[0].sum() >= play(reward, losses, twins)[0].sum() - 1e-9


@given(falls, falls)
def test_rewards_of_an_episode_sum_to_what_they_claim(losses, twins):
    total = {name: play(reward, losses, twins)[0].sum() for name, reward in REWARDS.items()}
    first, last, best = np.log(losses[0, 0]), np.log(losses[-1, 0]), np.log(losses.min())
    claims = {
        "log_loss_decrease": first - last,
        "tempered_decrease": np.sign(first - last) * np.log1p(abs(first - last)),
        "loss_decrease": (losses[0, 0] - losses[-1, 0]) / losses[0, 0],
        "best_improvement": first - best,
        "final_loss": first - last,
        "area_under_curve": np.mean(first - np.log(losses[1:])),
        "twin_advantage": first - last - np.log(twins[0, 0] / twins[-1, 0]),
    }
    for name, value in claims.items():
        assert total[name] == pytest.approx(value, abs=1e-9), name


@given(positive)
def test_a_run_like_its_twin_has_no_advantage(losses):
    earned, lost = play(REWARDS["twin_advantage"], losses, losses)
    assert (earned[~lost] == 0).all()


def test_a_lost_twin_is_an_advantage_and_a_bounded_one():
    losses = np.full((STEPS + 1, 1), 1.0)
    twins = np.array([1.0, 1e5, 1e20, np.inf, np.nan, np.nan, np.nan, np.nan, np.nan])[:, None]
    earned, lost = play(REWARDS["twin_advantage"], losses, twins)
    assert not lost.any() and earned.sum() == pytest.approx(np.log(1e3))


@pytest.mark.parametrize("first", [-2.0, -1e-3, 0.0, 1.0])
def test_losses_of_any_sign_are_paid_for_where_no_bound_is_known(first):
    losses = first - np.arange(STEPS + 1.0)[:, None]
    for name, reward in REWARDS.items():
        earned, lost = play(reward, losses, np.full_like(losses, first), bound=-np.inf)
        assert not lost.any() and earned.sum() > 0, name


@every_reward
@settings(max_examples=25)
@given(falls, st.integers(0, 2**32 - 1))
def test_shaping_changes_the_return_by_the_first_potential_only(reward, losses, seed):
    levels = dict(zip(losses[:, 0].tolist(), np.random.default_rng(seed).normal(size=STEPS + 1), strict=True))

    def potential(trace):
        return tuple(np.array([levels[float(loss[0])]]) for loss in (trace.previous, trace.current))

    twins = np.ones_like(losses)
    plain, changed = play(reward, losses, twins)[0], play(shaped(reward, potential), losses, twins)[0]
    assert changed.sum() == pytest.approx(plain.sum() - levels[losses[0, 0]], abs=1e-9)
    assert shaped(reward.name, potential).needs_twin == reward.needs_twin


def test_an_unknown_reward_is_one_clear_error_and_an_own_one_is_taken():
    with pytest.raises(ValueError, match="unknown reward 'final_los'; expected one of .*Did you mean 'final_loss'"):
        get_reward("final_los")
    own = Reward("own", "mine", lambda trace: trace.current)
    assert get_reward(own) is own


@every_reward
def test_every_reward_says_why(reward):
    assert REWARDS[reward.name] is reward and reward.why and reward.function.__doc__


@pytest.mark.parametrize(
    ("function", "received"),
    [
        (lambda trace: trace.current[:1], r"shape \(1,\)"),
        (lambda trace: 1.0, r"shape \(\)"),
        (lambda trace: np.full(2, np.nan), r"\[nan, nan\]"),
    ],
    ids=["of one run", "one number", "NaN"],
)
def test_a_reward_of_the_wrong_shape_or_nan_is_refused_by_its_name(function, received):
    env = OptControlVectorEnv(2, task="quadratic:0", reward=Reward("mine", "wrong", function))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=f"reward 'mine': expected 2 finite numbers, one a run; received {received}"):
        env.step(np.zeros(env.action_space.shape))
