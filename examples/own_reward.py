"""A reward of one's own: one function of the probe losses of N runs, [N] each, to what each of them is paid, [N]."""

import gymnasium
import numpy as np

from optenv.rewards import Reward

RECORDS = Reward("records", "one for every new record", lambda trace: (trace.current < trace.best).astype(float))


def main(num_inner_steps: int = 100) -> float:
    """Return what an episode without control is paid."""
    env = gymnasium.make("OptControl-v0", task="wine", reward=RECORDS, num_inner_steps=num_inner_steps)
    env.reset(seed=0)
    return sum(env.step(np.zeros(env.action_space.shape, np.float32))[1] for _ in range(num_inner_steps // 5))
