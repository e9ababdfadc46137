"""Features of the validation loss in the environment and in rollouts: what they see is what is reported."""

import numpy as np

from optenv import tasks
from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURE_NAMES, FEATURES
from optenv.env import OptControlVectorEnv
from optenv.inner.architecture_batches import ArchitectureBatches
from optenv.inner.rollout import rollout
from optenv.inner.trainer import make_trainer

VALIDATION = tuple(name for name, feature in FEATURES.items() if feature.of_validation)
NAMES = (*FEATURE_NAMES[:6], *VALIDATION, *FEATURE_NAMES[6:])
REGRET = NAMES.index("validation_regret")


def test_the_environment_shows_how_far_the_reported_loss_stands_above_its_least():
    env = OptControlVectorEnv(3, task="wine", lr=1.0, num_inner_steps=40, steps_per_action=2, features=NAMES)
    observation, infos = env.reset(seed=0)
    losses, regrets = [infos["loss"]], [observation[:, REGRET]]
    for _ in range(15):
        observation, _, terminated, _, infos = env.step(np.zeros(env.action_space.shape, np.float32))
        assert not terminated.any()
        losses.append(infos["loss"])
        regrets.append(observation[:, REGRET])
    above = np.array(losses) > np.minimum.accumulate(losses)
    np.testing.assert_array_equal(np.array(regrets) > 0.0, above)
    assert above.any() and not above.all()


class Watching(Controller):
    """Acts 0 and remembers what it saw."""

    interface = Interface(features=NAMES, knobs=("scale",))

    def reset(self, num_runs, num_groups):
        self.seen = []

    def act(self, observation):
        self.seen.append(observation)
        return np.zeros((*observation.shape[:2], 1))


def test_a_rollout_measures_validation_where_it_is_observed_and_not_else():
    runs, controller = ArchitectureBatches([make_trainer(tasks.get("wine"))]), Watching()
    losses = []
    evaluate = runs.evaluate

    def recorded(rows, split):
        losses.append(evaluate(rows, split))
        return losses[-1]

    runs.evaluate = recorded
    for _ in rollout(runs, controller, np.arange(2), np.full(2, 1.0), 80):
        pass
    assert len(losses) == len(controller.seen) == 40
    above = np.array(losses) > np.minimum.accumulate(losses)
    np.testing.assert_array_equal(np.array(controller.seen)[:, :, 0, REGRET] > 0.0, above)
    losses.clear()
    controller.interface = Interface(knobs=("scale",))
    for _ in rollout(runs, controller, np.arange(2), np.full(2, 1.0), 80):
        pass
    assert losses == []
