"""A feature of your own: registered, observed in the environment by a policy that trains there, and deployed."""

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import optenv
from agents.policies.feed_forward.controller import MlpController
from agents.training.algorithms import ALGORITHMS, export_policy
from optenv.control.controller import Interface
from optenv.control.features import FEATURE_NAMES, FEATURES, Feature

FEATURES["relative_noise"] = Feature(
    "relative_noise", "log10 of the minibatch noise over the loss itself", -4.0, 4.0,
    lambda signals: np.log10(np.sqrt(signals.noise) / np.abs(signals.loss)),
)  # fmt: skip


def main(timesteps: int = 4096, total_steps: int = 200) -> float:
    """Train a policy that sees the feature, deploy it on a small network, and return that network's last loss."""
    interface = Interface(features=("relative_noise", *FEATURE_NAMES), knobs=("scale",))
    env = gymnasium.make("OptControl-v0", features=interface.features, knobs=interface.knobs, groups="model")
    normalised = VecNormalize(DummyVecEnv([lambda: env]), norm_reward=False)
    policy = PPO("MlpPolicy", normalised, n_steps=256, gamma=1.0, seed=0, device="cpu").learn(timesteps)
    controller = MlpController(export_policy(ALGORITHMS["ppo"], policy, interface, {}))

    torch.manual_seed(0)
    inputs = torch.randn(256, 4)
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    base = torch.optim.AdamW(optenv.layer_groups(model), lr=1e-3)
    optimizer = optenv.ControlledOptimizer(base, controller, total_steps=total_steps)
    for _ in range(total_steps):
        loss = (model(inputs) - inputs[:, :1].sin()).square().mean()
        loss.backward()
        optimizer.step(loss=loss)
        optimizer.zero_grad()
    return loss.item()


if __name__ == "__main__":
    print(f"loss at the end: {main():.4f}")
