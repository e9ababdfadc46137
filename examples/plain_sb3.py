"""Unmodified stable-baselines3 on the plain Gymnasium environment."""

import gymnasium
from stable_baselines3 import PPO

import optenv  # noqa: F401 - registers OptControl-v0


def main(timesteps: int = 4096) -> float:
    """Train PPO on one environment; return the mean reward of its last episodes."""
    env = gymnasium.make("OptControl-v0", task="synthetic_classification:1", lr=(1e-4, 1e-2), knobs=("scale",))
    model = PPO(
        "MlpPolicy", env, n_steps=min(512, timesteps), batch_size=min(64, timesteps), gamma=1.0, seed=0, device="cpu"
    )
    model.learn(timesteps)
    return sum(episode["r"] for episode in model.ep_info_buffer) / max(1, len(model.ep_info_buffer))


if __name__ == "__main__":
    print(f"mean return of the last episodes: {main():.3f} nats")
