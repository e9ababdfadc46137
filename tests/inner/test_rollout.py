"""One rollout: every control step of N runs, the same for both trainers, the environment and a controlled optimizer."""

import numpy as np
import pytest

from optenv import tasks
from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURE_NAMES, UNKNOWN
from optenv.env import OptControlVectorEnv
from optenv.env.torch_trainer import TorchRuns, torch_optimizer
from optenv.inner.architecture_batches import ArchitectureBatches
from optenv.inner.rollout import rollout
from optenv.inner.trainer import make_trainer

SEEDS, RATES, TOTAL = np.arange(3), np.array([1e-3, 1e-2, 1e-1]), 26
RELATIVE = Interface(control="relative", first_update=0.01, decisions=5)


class Restless(Controller):
    """Acts at random, the same every time, and remembers what it is told."""

    learns = True

    def __init__(self, interface=RELATIVE, size=0.4):
        self.interface, self.size = interface, size
        self.alarms, self.rewards = [], []

    def reset(self, num_runs, num_groups):
        self.rng = np.random.default_rng(0)

    def act(self, observation):
        return self.rng.uniform(-self.size, self.size, (*observation.shape[:2], len(self.interface.knobs)))

    def alarm(self, lost):
        self.alarms.append(lost.copy())

    def learn(self, reward, ended):
        self.rewards.append((reward, ended))


def runs(task="wine", optimizer="adamw"):
    return ArchitectureBatches([make_trainer(tasks.get(task), optimizer)])


def test_runs_begin_at_once_and_advance_as_control_steps_are_asked_for():
    trained = runs()
    steps = rollout(trained, Restless(), SEEDS, RATES, TOTAL)
    start = trained.evaluate(SEEDS, "valid")
    first = next(steps)
    assert (first.first, first.last) == (0, 5) and trained.states[0][1].step.tolist() == [5] * 3
    assert [(step.first, step.last) for step in steps] == [(5, 10), (10, 15), (15, 20), (20, 25), (25, 26)]
    assert (trained.evaluate(SEEDS, "valid") != start).all()


def test_both_trainers_are_steered_alike():
    torch_runs = TorchRuns(tasks.get("wine"), torch_optimizer("adamw"))
    for one, two in zip(*(rollout(r, Restless(), SEEDS, RATES, TOTAL) for r in (runs(), torch_runs)), strict=True):
        assert (one.first, one.last) == (two.first, two.last)
        # The same sums in another order.
        np.testing.assert_allclose(one.observation, two.observation, atol=1e-4)
        np.testing.assert_allclose(one.positions, two.positions, atol=1e-4)


def test_the_environment_steps_as_the_rollout_does():
    env = OptControlVectorEnv(
        2, task="wine", control="relative", first_update=0.01, lr=1e-2, num_inner_steps=25, autoreset_mode="Disabled"
    )
    env.reset(seed=4)
    steps = rollout(runs(), Restless(), env._episodes.seed, env._episodes.rate, 25, guard=False)
    for step in steps:
        np.testing.assert_array_equal(env.group_observation(), step.observation)
        env.step(step.action.reshape(2, -1))


def test_a_hidden_budget_is_observed_as_unknown():
    place = FEATURE_NAMES.index("progress")
    for revealed in (True, False):
        steps = rollout(runs(), Restless(), SEEDS, RATES, TOTAL, reveal_budget=revealed)
        seen = np.stack([step.observation[..., place] for step in steps])
        assert (seen == UNKNOWN).all() if not revealed else (seen[1:] > 0).all()


@pytest.mark.parametrize("guard", [True, False])
def test_a_controller_hears_of_a_lost_loss_guarded_or_not(guard):
    controller = Restless(Interface(decisions=20))
    wild = np.array([1e-3, 1e30])
    list(rollout(runs("quadratic:0", "sgd"), controller, np.arange(2), wild, 40, guard=guard))
    alarms = np.array(controller.alarms)
    assert alarms[-1].tolist() == [False, True] and not alarms[0].any()


def test_the_guard_holds_a_wild_controller_back():
    lost = {}
    for guard in (True, False):
        trained = runs("quadratic:0", "sgd")
        wild = Restless(Interface(control="relative", decisions=40), size=1.0)
        steps = list(rollout(trained, wild, SEEDS, np.full(3, 1e-2), 80, guard=guard))
        lost[guard] = max(float(np.abs(step.positions[..., 0]).max()) for step in steps)
    assert lost[True] < lost[False]


def test_a_learning_controller_is_told_of_every_action_and_of_the_end():
    controller = Restless()
    steps = list(rollout(runs(), controller, SEEDS, RATES, TOTAL, learn=True))
    assert len(controller.rewards) == len(steps)
    assert [bool(ended.all()) for _, ended in controller.rewards] == [False] * 5 + [True]
