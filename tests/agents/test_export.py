"""A model of stable-baselines3 is written down as a controller that acts as the model predicts."""

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

import agents
import optenv
from agents.gym_adapter import GymnasiumVecEnv
from agents.policies.stable_baselines import policy_of
from agents.training.curriculum import Curriculum
from agents.training.group_env import GroupVecEnv
from optenv.control.features import unflatten

KNOBS = ("scale", "dampen")
SETTINGS = {"task": "synthetic_classification:1", "num_inner_steps": 30, "steps_per_action": 5, "knobs": KNOBS}
OFF_POLICY = (SAC, TD3, DDPG)


def plain_env(**changes):
    return gymnasium.make("OptControl-v0", **{**SETTINGS, **changes})


def trained(algorithm, env, policy="MlpPolicy", **settings):
    few = {} if algorithm in OFF_POLICY else {"n_steps": 4}
    if algorithm in (PPO, RecurrentPPO):
        few["batch_size"] = 4
    return algorithm(policy, env, seed=0, device="cpu", **few, **settings).learn(8)


def predicted(model, observation):
    env = model.get_vec_normalize_env()
    seen = observation if env is None else env.normalize_obs(observation)
    return np.clip(model.predict(seen, deterministic=True)[0], -1.0, 1.0)


@pytest.mark.parametrize("algorithm", [PPO, A2C, *OFF_POLICY])
@pytest.mark.parametrize("normalised", [False, True])
def test_on_the_plain_environment_the_controller_acts_as_the_model(algorithm, normalised, tmp_path):
    env = DummyVecEnv([plain_env])
    model = trained(algorithm, VecNormalize(env) if normalised else env)
    controller = agents.load(agents.export(model, tmp_path / "own.safetensors"))
    groups = model.action_space.shape[0] // len(KNOBS)
    assert (controller.groups, controller.interface.knobs, controller.interface.decisions) == (groups, KNOBS, 6)
    space, generator = model.observation_space, np.random.default_rng(0)
    observation = generator.uniform(space.low, space.high, (5, *space.shape)).astype(np.float32)
    controller.reset(5, groups)
    action = controller.act(unflatten(observation)).reshape(5, -1)
    np.testing.assert_allclose(action, predicted(model, observation), atol=2e-5)  # float32 in another order


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU])
def test_activations_are_those_of_the_model(activation):
    model = trained(PPO, plain_env(), policy_kwargs={"activation_fn": activation, "net_arch": [8]})
    controller = agents.load(model)
    observation = model.observation_space.high[None] / 2
    action = controller.act(unflatten(observation)).reshape(1, -1)
    np.testing.assert_allclose(action, predicted(model, observation), atol=2e-3)  # GELU by its tanh form


@pytest.mark.parametrize("algorithm", [PPO, RecurrentPPO])
def test_on_the_per_group_view_the_controller_fits_any_number_of_groups(algorithm, tmp_path):
    settings = {"knobs": ("scale",), "control": "relative", "first_update": 0.01, "reward": "log_loss_decrease"}
    env = GroupVecEnv(Curriculum(tasks=("quadratic:1",), budgets=(40,), settings=settings), environments=1)
    model = trained(algorithm, VecNormalize(env), "MlpLstmPolicy" if algorithm is RecurrentPPO else "MlpPolicy")
    controller = agents.load(agents.export(model, tmp_path / "own.safetensors"))
    assert controller.interface.first_update == 0.01 and controller.interface.control == "relative"
    space = model.observation_space
    observation = np.random.default_rng(0).uniform(space.low, space.high, (6, *space.shape)).astype(np.float32)
    controller.reset(2, 3)
    action = controller.act(observation.reshape(2, 3, -1)).reshape(6, 1)
    np.testing.assert_allclose(action, predicted(model, observation), atol=2e-5)


def test_a_vector_environment_serves_as_the_plain_one():
    model = trained(PPO, GymnasiumVecEnv(gymnasium.make_vec("OptControl-v0", num_envs=2, **SETTINGS)))
    assert policy_of(model).settings["groups"] == model.action_space.shape[0] // len(KNOBS)


def test_a_controlled_optimizer_takes_the_model_itself_and_says_how_many_groups_it_fits(monkeypatch):
    monkeypatch.setattr("optenv.wrapper.controlled.load_controller", agents.load)
    model = trained(PPO, plain_env())
    groups = model.action_space.shape[0] // len(KNOBS)
    params = [{"params": [nn.Parameter(torch.ones(2))]} for _ in range(groups + 1)]
    steering = optenv.ControlledOptimizer(torch.optim.SGD(params[:groups], lr=0.1), model, total_steps=6)
    for group in params:
        group["params"][0].grad = torch.ones(2)
    for loss in (1.0, 0.9, 0.8):
        steering.step(loss=loss)
    assert len(steering.history) == 3
    with pytest.raises(ValueError, match=f"expected a run of {groups} parameter groups, .* received {groups + 1}"):
        optenv.ControlledOptimizer(torch.optim.SGD(params, lr=0.1), model, total_steps=6).step(loss=1.0)


def test_a_zip_is_never_read_and_the_way_to_a_controller_is_named(tmp_path):
    trained(PPO, plain_env()).save(tmp_path / "model.zip")
    with pytest.raises(ValueError, match=r"whose pickles are never run. .*agents.export\(model, path\)"):
        agents.load(tmp_path / "model.zip")


def other_env():
    return gymnasium.make("Pendulum-v1")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: trained(PPO, other_env()), "expected one trained on OptControl-v0 or GroupVecEnv"),
        (lambda: DQN("MlpPolicy", "CartPole-v1"), "expected one of RecurrentPPO, PPO, A2C, SAC, TD3 .* received DQN"),
        (lambda: trained(RecurrentPPO, plain_env(), "MlpLstmPolicy"), "expected RecurrentPPO trained on the per-group"),
        (lambda: trained(PPO, plain_env(), policy_kwargs={"activation_fn": nn.ELU}), "expected an activation_fn of"),
        (lambda: trained(PPO, VecNormalize(DummyVecEnv([plain_env]), clip_obs=5.0)), "expected clip_obs=10"),
    ],
)
def test_a_model_that_no_controller_computes_is_refused(make, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        agents.export(make(), tmp_path / "own.safetensors")


def test_a_path_that_would_not_be_loaded_is_refused():
    with pytest.raises(ValueError, match="expected one that ends in .safetensors; received 'own.zip'"):
        agents.export(None, "own.zip")
