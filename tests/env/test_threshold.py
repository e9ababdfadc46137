"""The return at which the default environment counts as solved."""

import gymnasium
import numpy as np

import optenv  # noqa: F401 - registers OptControl-v0
from agents.rules.schedules import scale_action
from optenv.benchmark.run import warmup_cosine

DECISIONS = 40


def returns(scales, num_envs=64):
    """Returns of episodes of the default environment whose knob `scale` follows `scales` in all groups."""
    env = gymnasium.make_vec("OptControl-v0", num_envs=num_envs, autoreset_mode="Disabled")
    env.reset(seed=0)
    actions, total = np.zeros((*env.action_space.shape[:1], env.unwrapped.max_groups, 3), np.float32), 0.0
    for scale in scales:
        actions[..., 0] = scale_action(scale)
        _, reward, terminated, *_ = env.step(actions.reshape(num_envs, -1))
        total = total + reward
    assert terminated.all()
    return total


def test_the_threshold_is_what_the_best_plain_schedule_nearly_earns_and_doing_nothing_does_not():
    threshold = gymnasium.spec("OptControl-v0").reward_threshold
    neutral = returns(np.ones(DECISIONS))
    schedule = returns(10 * warmup_cosine((np.arange(DECISIONS) + 0.5) / DECISIONS))
    gain = schedule - neutral  # the same weights and minibatches
    assert gain.mean() > gain.std() / np.sqrt(len(gain))
    assert neutral.mean() < threshold
    # The mean of 64 episodes is known to a tenth of a nat: single ones differ by almost one.
    assert abs(schedule.mean() - threshold) < 2 * schedule.std() / np.sqrt(len(schedule))
