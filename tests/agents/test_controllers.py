"""What holds for every controller, and that the public check finds what does not."""

import json
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import agents
import optenv
from agents.check import ConformanceError, check_controller
from optenv import tasks
from optenv.benchmark.run import run_controller
from optenv.control.controller import Controller, Interface
from optenv.control.features import unflatten
from optenv.inner.trainer import make_trainer

SCALE = Interface(knobs=("scale",))


@pytest.mark.parametrize("name", agents.names())
def test_every_controller_conforms(name):
    check_controller(lambda: agents.load(name))


every_controller = pytest.mark.parametrize("name", agents.names())


@every_controller
def test_every_controller_brings_a_benchmarks_runs_to_lower_losses_than_they_begin_with(name):
    outcome = run_controller(
        make_trainer(tasks.get("quadratic:0")), agents.load(name), np.arange(2), np.full(2, 1e-2), 40
    )
    assert (outcome.loss < 0.9 * outcome.first).all()


@every_controller
def test_every_controller_steers_the_scalar_environment_as_it_steers_that_run_in_the_vector_environment(name):
    interface = agents.load(name).interface
    settings = {
        "task": "quadratic:0",
        "num_inner_steps": 12,
        "steps_per_action": 2,
        "knobs": interface.knobs,
        "control": interface.control,
        "features": interface.features,
        "first_update": interface.first_update,
        "first_update_norm": interface.first_update_norm,
    }
    vector = gymnasium.make_vec("OptControl-v0", num_envs=2, **settings)
    scalar = gymnasium.make("OptControl-v0", disable_env_checker=True, **settings)
    first, losses = played(vector, agents.load(name), 2, seed=[4, 5])
    _, alone = played(scalar, agents.load(name), 1, seed=5)
    np.testing.assert_allclose(losses[:, 1:], alone, rtol=1e-4)  # stacks of other sizes round otherwise
    assert (losses[-1] < first).all()


def played(env, controller, rows, seed):
    """Losses after reset, [rows], and after each of five control steps, [5, rows]."""
    seen, infos = env.reset(seed=seed)
    first, losses = infos["loss"], []
    names = controller.interface.features
    controller.reset(rows, unflatten(seen.reshape(rows, -1), names).shape[1])
    for _ in range(5):
        action = controller.act(unflatten(seen.reshape(rows, -1), names))
        seen, _, _, _, infos = env.step(action.reshape(env.action_space.shape).astype(np.float32))
        losses.append(np.atleast_1d(infos["loss"]))
    env.close()
    return np.atleast_1d(first), np.stack(losses)


@every_controller
def test_every_controller_deployed_trains_and_its_history_says_at_what_rates(name):
    weights = torch.nn.Parameter(torch.ones(3))
    optimizer = optenv.ControlledOptimizer(torch.optim.SGD([weights], lr=0.01), agents.load(name), total_steps=20)
    for _ in range(20):
        loss = weights.square().sum()
        loss.backward()
        optimizer.step(loss=loss)
        optimizer.zero_grad()
    # Twenty steps at a constant rate of 0.01 take 3 to 1.4; a schedule takes half the way.
    assert loss < 2.1
    rates, scales = ([record[part][0] for record in optimizer.history] for part in ("rate", "scale"))
    np.testing.assert_allclose(rates, 0.01 * np.array(scales), rtol=1e-5)  # recorded to six digits


def test_controllers_are_made_and_act_where_torch_cannot_be_imported():
    code = (
        "import sys; sys.modules['torch'] = None; import agents; from agents.check import observations, play\n"
        "import numpy\n"
        "for name in agents.names():\n"
        "    one = agents.load(name)\n"
        "    play(one, observations(numpy.random.default_rng(0), 2, 3, names=one.interface.features))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


class Fixed(Controller):
    """The base of the broken controllers below: a scale action of 0."""

    interface = SCALE

    def reset(self, num_runs, num_groups):
        self.memory = np.zeros((num_runs, 1, 1))

    def act(self, observation):
        return np.zeros((*observation.shape[:2], 1))


class WrongShape(Fixed):
    def act(self, observation):
        return np.zeros((len(observation), 1))


class OutOfRange(Fixed):
    def act(self, observation):
        return 2.0 * observation[:, :, :1]


class NotFinite(Fixed):
    def act(self, observation):
        with np.errstate(all="ignore"):
            return np.tanh(observation[:, :, :1] - observation[:, :, :1]) / 0.0


class ByPlace(Fixed):
    def act(self, observation):
        return super().act(observation) + np.arange(len(observation))[:, None, None] / 10.0


class ByBatch(Fixed):
    def act(self, observation):
        return np.tanh(observation[:, :, :1] - observation[..., 1:2].mean() + observation[..., 3].mean())


class NeverForgets(Fixed):
    seen = 0

    def act(self, observation):
        self.seen += 1
        return super().act(observation) + self.seen / 1000.0


class Unseeded(Fixed):
    def reset(self, num_runs, num_groups):
        self.generator = np.random.default_rng()

    def act(self, observation):
        return np.broadcast_to(self.generator.uniform(), (*observation.shape[:2], 1))


class WritesIntoView(Fixed):
    def act(self, observation):
        observation *= 0.0
        return observation[:, :, :1]


class OneSize(Fixed):
    def act(self, observation):
        return observation.reshape(3, 2, -1)[:, :, :1] * 0.0


class SavesElsewhere(Fixed):
    def save(self, path):
        path.with_suffix(".json").write_text("{}")


class NotNeutral(Fixed):
    neutral_untrained = True

    def act(self, observation):
        return super().act(observation) + 1e-9


class OnlyClaimsToLearn(Fixed):
    learns = True


BROKEN = {
    WrongShape: "valid_actions: expected shape",
    OutOfRange: r"valid_actions: expected numbers in \[-1, 1\] on drawn",
    NotFinite: "valid_actions: expected numbers .* received nan",
    ByPlace: "batch_order: expected the actions of a batch in another order",
    ByBatch: "batch_order: expected a run to act the same alone",
    NeverForgets: "reset_forgets: expected reset to forget",
    Unseeded: "same_again: .* is their randomness seeded",
    WritesIntoView: "valid_actions: raised ValueError: .*read-only",
    OneSize: r"valid_actions: expected shape \[runs, groups, knobs\] = \(1, 1, 1\); received \(3, 2, 1\)",
    SavesElsewhere: "saved_and_loaded: expected save to write exactly controller.safetensors",
    NotNeutral: "neutral_untrained: expected actions of exactly 0",
    OnlyClaimsToLearn: "learning: expected a mean reward of at least -0.125 after 300 episodes; received -0.250",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_controller_is_named_with_what_is_wrong(broken):
    with pytest.raises(ConformanceError, match=f"(?s){broken.__name__} does not conform:.*{BROKEN[broken]}"):
        check_controller(broken)


class Learner(Fixed):
    """Follows the gradient of the reward that its own exploration shows; saves all it is."""

    learns = True
    neutral_untrained = True

    def __init__(self):
        self.mean, self.draws, self.reward = 0.0, 0, 0.0

    def act(self, observation):
        drawn = np.random.default_rng(self.draws).normal(0.0, 0.1, (*observation.shape[:2], 1))
        self.noise = drawn if self.draws else np.zeros_like(drawn)
        return np.clip(self.mean + self.noise, -1.0, 1.0)

    def learn(self, reward, ended):
        reward = np.where(np.isfinite(reward), reward, 0.0)
        self.draws += 1
        credit = np.mean((reward - reward.mean()) * self.noise.mean(axis=(1, 2))) / 0.1**2
        self.mean += 0.5 * float(credit)

    def save(self, path):
        path.write_text(json.dumps([self.mean, self.draws]))

    def state_dict(self):
        return {"mean": self.mean, "draws": self.draws, "noise": self.noise}

    def load_state_dict(self, state):
        self.mean, self.draws, self.noise = float(state["mean"]), int(state["draws"]), state["noise"]

    @classmethod
    def load(cls, path):
        learner = cls()
        learner.mean, learner.draws = json.loads(path.read_text())
        return learner


class ForgetsToSaveItsDraws(Learner):
    @classmethod
    def load(cls, path):
        learner = super().load(path)
        learner.draws = 0
        return learner


def test_a_learner_that_learns_and_saves_all_it_is_conforms():
    check_controller(Learner, load=Learner.load)


def test_a_learner_that_does_not_go_on_as_it_was_saved_is_found():
    with pytest.raises(ConformanceError, match="saved_and_loaded: expected the loaded controller to act as the saved"):
        check_controller(ForgetsToSaveItsDraws, load=ForgetsToSaveItsDraws.load)


class ForgetsItsRun(Learner):
    def state_dict(self):
        return {**super().state_dict(), "mean": 0.5}


class SpoiltByNaN(Learner):
    def learn(self, reward, ended):
        self.draws += 1
        self.mean += float(np.mean(reward))


class ExploresByPlaceUnpaid(Learner):
    neutral_untrained = False

    def act(self, observation):
        return np.random.default_rng(0).uniform(-1.0, 1.0, (*observation.shape[:2], 1))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (ForgetsItsRun, "resumed: expected state_dict to hold all"),
        (SpoiltByNaN, "bad_rewards: expected numbers .* after bad rewards; received nan"),
        (ExploresByPlaceUnpaid, "batch_order: expected the actions of a batch in another order"),
    ],
)
def test_a_broken_learner_is_named_with_what_is_wrong(broken, said):
    with pytest.raises(ConformanceError, match=f"(?s){broken.__name__} does not conform:.*{said}"):
        check_controller(broken, load=broken.load)
