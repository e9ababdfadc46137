"""Knobs and features of one's own: trained in the environment, deployed under a controlled optimizer, or refused."""

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import optim

import agents
import optenv
from agents.policies.feed_forward.controller import MlpController
from agents.training.algorithms import ALGORITHMS, export_policy
from optenv.control.controller import Interface
from optenv.control.features import FEATURE_NAMES, FEATURES, Feature
from optenv.control.knobs import KNOBS, Knob
from optenv.control.policy_file import PolicyFile
from optenv.env import OptControlVectorEnv


@pytest.fixture(autouse=True)
def eps(monkeypatch):
    knob = Knob(
        name="eps", why="multiplies eps", low=1e-4, high=1e4, neutral=1.0,
        absolute=lambda a: 1e4**a, moves=("eps",), move=lambda eps, factor: eps * factor,
    )  # fmt: skip
    monkeypatch.setitem(KNOBS, "eps", knob)
    row = Feature("log_loss", "log10 of the loss", -9.0, 9.0, lambda signals: np.log10(signals.loss))
    monkeypatch.setitem(FEATURES, "log_loss", row)


@pytest.mark.parametrize("control", ["absolute", "relative"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "adagrad"])
def test_an_own_knob_moves_both_trainers_alike(control, optimizer):
    settings = {"task": "wine", "knobs": ("eps",), "optimizer": optimizer, "control": control, "num_inner_steps": 50}
    envs = [OptControlVectorEnv(2, trainer=trainer, **settings) for trainer in ("batched", "torch", "batched")]
    for env, action in zip(envs, (0.9, 0.9, 0.0), strict=True):
        env.reset(seed=3)
        for _ in range(8):
            env.step(np.full(env.action_space.shape, action))
    losses = [env.validation_loss() for env in envs]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert (losses[0] != losses[2]).all()


def policy(**interface):
    """A feed-forward policy that acts 1 on its last knob."""
    interface = Interface(**interface)
    features, knobs = len(interface.features), len(interface.knobs)
    tensors = {"weight0": np.zeros((knobs, features)), "bias0": np.eye(knobs)[-1]}
    tensors |= {"mean": np.zeros(features), "std": np.ones(features)}
    return PolicyFile("mlp", interface, tensors, {"hidden": "tanh", "output": "identity"})


def test_a_deployed_own_knob_is_the_base_optimizer_with_the_hyperparameter_set(make_problem):
    plain, controlled = make_problem(), make_problem()
    base = optim.Adam(plain.groups, lr=0.01, eps=1e-8 * 1e4)
    optimizer = optenv.ControlledOptimizer(
        optim.Adam(controlled.groups, lr=0.01), MlpController(policy(knobs=("scale", "eps"))), total_steps=30
    )
    plain.train(base, 30)
    controlled.train(optimizer, 30)
    assert torch.equal(plain.weights(), controlled.weights())
    assert optimizer.param_groups[0]["eps"] == 1e-8 and optimizer.history[-1]["eps"] == [1e4, 1e4]


def test_a_file_records_own_knobs_and_features_and_is_refused_where_they_are_not_registered(tmp_path, monkeypatch):
    file = policy(features=("log_loss", *FEATURE_NAMES), knobs=("eps",))
    file.write(tmp_path / "own.safetensors")
    assert agents.load(tmp_path / "own.safetensors").interface == file.interface
    monkeypatch.delitem(FEATURES, "log_loss")
    with pytest.raises(ValueError, match="unknown feature 'log_loss'"):
        agents.load(tmp_path / "own.safetensors")
    monkeypatch.delitem(KNOBS, "eps")
    with pytest.raises(ValueError, match="unknown (knob 'eps'|feature 'log_loss')"):
        agents.load(tmp_path / "own.safetensors")


def test_an_own_feature_is_the_same_in_the_environment_and_deployed(problem, fixed):
    names = ("log_loss", "progress", "descent")
    env = gymnasium.make_vec("OptControl-v0", num_envs=2, features=names, num_inner_steps=20, lr=1e-3)
    env.reset(seed=0)
    observation, _, _, _, infos = env.step(np.zeros(env.action_space.shape, np.float32))
    assert observation in env.observation_space and observation.shape == (2, 2 + env.max_groups)
    assert (np.abs(observation[:, 0]) > 0).all()
    controller = fixed(0.0, features=names, knobs=("scale",))
    problem.train(optenv.ControlledOptimizer(optim.SGD(problem.groups, lr=0.01), controller, total_steps=40), 40)
    seen = np.stack(controller.observations)
    assert seen.shape == (40, 1, 2, 3)
    losses = problem.loss(0).item()
    assert np.isfinite(losses) and (seen[1:, 0, 0, 0] != 0.0).all() and seen[-1, 0, 0, 1] == np.float32(39 / 40)


def test_a_controller_that_sees_few_features_conforms():
    agents.check_controller(lambda: MlpController(policy(features=("regret", "log_loss", "descent"), knobs=("eps",))))


REFUSED = [
    ("eps", "sgd", optim.SGD),
    ("momentum", "adagrad", optim.Adagrad),
    ("momentum", "rmsprop", optim.RMSprop),
    ("beta2", "sgd", optim.SGD),
]


@pytest.mark.parametrize(("knob", "name", "base"), REFUSED)
def test_a_knob_that_the_base_has_nothing_for_is_refused_in_every_host(problem, knob, name, base):
    message = f"knob '{knob}': expected a base optimizer with .*; received"
    for settings in ({"optimizer": name}, {"optimizer": name, "trainer": "torch"}):
        with pytest.raises(ValueError, match=f"{message} {name}" if "trainer" not in settings else message):
            OptControlVectorEnv(1, knobs=("scale", knob), **settings)
    with pytest.raises(ValueError, match=f"{message} {base.__name__} with lr"):
        optenv.ControlledOptimizer(base(problem.groups, lr=0.1), MlpController(policy(knobs=("scale", knob))))


def test_alpha_is_the_second_beta_of_rmsprop_and_not_of_averaged_sgd(problem):
    controller = MlpController(policy(knobs=("beta2",)))
    optenv.ControlledOptimizer(optim.RMSprop(problem.groups), controller)
    with pytest.raises(ValueError, match="knob 'beta2': expected a base optimizer with beta2; received ASGD"):
        optenv.ControlledOptimizer(optim.ASGD(problem.groups), controller)


@pytest.mark.parametrize("base", [optim.Adagrad, optim.SGD, optim.RMSprop, optim.Adadelta, optim.Rprop])
@pytest.mark.parametrize("name", ["adaptive", "garo", "opt2vec"])
def test_optional_knobs_of_shipped_controllers_leave_a_base_alone_that_lacks_them(problem, name, base):
    optimizer = optenv.ControlledOptimizer(base(problem.groups, lr=1e-3), agents.load(name), total_steps=40)
    before = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    problem.train(optimizer, 20)
    assert problem.weights().isfinite().all()
    assert [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups] == before


def test_a_policy_trained_on_own_rows_sees_and_sets_them_when_it_is_deployed(tmp_path, problem):
    interface = Interface(features=("log_loss", *FEATURE_NAMES), knobs=("scale", "eps"))
    settings = {"features": interface.features, "knobs": interface.knobs, "optimizer": "adam", "groups": "model"}
    envs = VecNormalize(DummyVecEnv([lambda: gymnasium.make("OptControl-v0", **settings)]), norm_reward=False)
    model = PPO("MlpPolicy", envs, n_steps=64, batch_size=64, seed=0, device="cpu").learn(64)
    export_policy(ALGORITHMS["ppo"], model, interface, {}).write(tmp_path / "own.safetensors")
    base = optim.Adam(problem.groups, lr=0.01)
    optimizer = optenv.ControlledOptimizer(base, agents.load(tmp_path / "own.safetensors"), total_steps=20)
    problem.train(optimizer, 20)
    decided = np.array([record["eps"] for record in optimizer.history])
    assert decided.shape == (20, 2) and (decided != 1.0).any()
    assert [group["eps"] for group in base.param_groups] == [1e-8, 1e-8]
