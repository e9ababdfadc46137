"""A task and a family so small that an episode takes milliseconds."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from optenv.env import OptControlVectorEnv
from optenv.tasks import Data, Family, Task


@dataclass(frozen=True)
class TinyTask(Task):
    """Regression by a perceptron of `depth` layers on data of its own."""

    depth: int = 2
    name: str = "tiny"
    batch_size: int = 8

    def init(self, generator):
        shapes = {"weight": (4, 4), "bias": (4,)}
        return {
            f"layer{k}.{part}": 0.5 * torch.randn(shape, generator=generator)
            for k in range(self.depth)
            for part, shape in shapes.items()
        }

    def draw(self, generator):
        x = torch.randn(60, 4, generator=generator)
        y = torch.sin(x @ torch.randn(4, 4, generator=generator))
        return Data((x[:40], y[:40]), (x[40:], y[40:]))

    def loss(self, params, batch):
        x, y = batch
        for k in range(self.depth):
            x = F.linear(x.tanh() if k else x, params[f"layer{k}.weight"], params[f"layer{k}.bias"])
        return F.mse_loss(x, y)


class TinyFamily(Family):
    """Perceptrons of one to four layers."""

    name, num_members = "tiny_family", 4

    def build(self, index):
        return TinyTask(depth=index + 1, name=f"{self.name}:{index}")


@pytest.fixture(scope="session")
def tiny_task():
    return TinyTask()


@pytest.fixture(scope="session")
def tiny_family():
    return TinyFamily()


@pytest.fixture
def make_envs(tiny_task):
    """Build a vector environment of the tiny task, or with the given settings."""

    def make(num_envs=3, **settings):
        defaults = {"task": tiny_task, "num_inner_steps": 20, "steps_per_action": 5, "lr": 1e-2}
        return OptControlVectorEnv(num_envs, **defaults | settings)

    return make


@pytest.fixture
def play():
    """Step an environment with random actions and return what each step returned."""

    def steps(env, num_steps, seed=0, actions=None):
        rng = np.random.default_rng(seed)
        drawn = rng.uniform(-1, 1, (num_steps, *env.action_space.shape)).astype(np.float32)
        return [env.step(action) for action in (drawn if actions is None else actions)]

    return steps


@pytest.fixture
def parameters():
    """Read the parameters of every row, [N, P], of an environment whose rows share one architecture."""

    def read(env):
        rows, state = next(iter(env._runs.states.values()))
        return state.params[torch.from_numpy(np.argsort(rows))].clone()

    return read
