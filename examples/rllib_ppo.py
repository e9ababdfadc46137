"""Unmodified RLlib PPO on the plain Gymnasium environment: `pip install "ray[rllib]"`, which pins its own Gymnasium."""

import gymnasium
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env


def make_env(settings: dict) -> gymnasium.Env:
    """Make the environment in whatever process RLlib samples in; the prefix imports the package there."""
    return gymnasium.make("optenv:OptControl-v0", **settings)


def main(iterations: int = 10, steps_per_iteration: int = 2000, env_runners: int = 1) -> float:
    """Train PPO; return the mean return of its last episodes, in nats of log loss.

    Args:
      iterations: rounds of sampling and learning.
      steps_per_iteration: control steps in each.
      env_runners: processes, or cluster workers, that sample; 0 samples in this one.
    """
    register_env("optcontrol", make_env)
    settings = {"task": "synthetic_classification:1", "lr": (1e-4, 1e-2), "knobs": ("scale",), "num_inner_steps": 100}
    config = (
        PPOConfig()
        .environment("optcontrol", env_config=settings)
        .framework("torch")
        .env_runners(num_env_runners=env_runners)
        .training(train_batch_size=steps_per_iteration, minibatch_size=min(250, steps_per_iteration), gamma=1.0)
    )
    algorithm = config.build_algo()
    try:
        returns = [float("nan")]
        for iteration in range(iterations):
            returns.append(algorithm.train()["env_runners"].get("episode_return_mean", float("nan")))
            print(f"iteration {iteration + 1}: mean return {returns[-1]:.3f} nats")
    finally:
        algorithm.stop()
    return returns[-1]


if __name__ == "__main__":
    main()
