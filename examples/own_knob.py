"""A knob of your own, Adam's eps: registered, trained with stable-baselines3, and deployed on a model of your own."""

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import optenv
from agents.policies.feed_forward.controller import MlpController
from agents.training.algorithms import ALGORITHMS, export_policy
from optenv.control.controller import Interface
from optenv.control.knobs import KNOBS, Knob

KNOBS["eps"] = Knob(
    name="eps", why="multiplies Adam's eps", low=0.01, high=100.0, neutral=1.0,
    absolute=lambda action: 100.0**action, moves=("eps",), move=lambda eps, factor: eps * factor,
)  # fmt: skip


def main(timesteps: int = 4096, total_steps: int = 200) -> float:
    """Train a policy of two knobs, deploy it on a small network, and return that network's last loss."""
    interface = Interface(knobs=("scale", "eps"))
    env = gymnasium.make("OptControl-v0", optimizer="adam", knobs=interface.knobs, groups="model")
    normalised = VecNormalize(DummyVecEnv([lambda: env]), norm_reward=False)
    policy = PPO("MlpPolicy", normalised, n_steps=256, gamma=1.0, seed=0, device="cpu").learn(timesteps)
    controller = MlpController(export_policy(ALGORITHMS["ppo"], policy, interface, {}))

    torch.manual_seed(0)
    inputs = torch.randn(256, 4)
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    adam = torch.optim.Adam(optenv.layer_groups(model), lr=1e-3)
    optimizer = optenv.ControlledOptimizer(adam, controller, total_steps=total_steps)
    for _ in range(total_steps):
        loss = (model(inputs) - inputs[:, :1].sin()).square().mean()
        loss.backward()
        optimizer.step(loss=loss)
        optimizer.zero_grad()
    return loss.item()


if __name__ == "__main__":
    print(f"loss at the end: {main():.4f}")
