"""A run that overfits returns to its best weights in both hosts alike, and the benchmark tells who may see that."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import agents
import optenv
from optenv.benchmark.run import run_controller
from optenv.control.guard import Guard
from optenv.env.torch_trainer import TorchRuns, torch_optimizer
from optenv.inner.randomness import generator, minibatch_indices
from optenv.inner.rollout import rollout
from optenv.inner.trainer import make_trainer
from optenv.tasks import Data, Task

TOTAL, SEED = 200, np.array([3], np.uint64)


def draw_data():
    """A rule behind labels of which one in three is drawn by lot: learned first, then the lots by heart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(320, 8, generator=generator)
    y = (x[:, 0] > 0).long()
    lots = torch.rand(320, generator=generator) < 1 / 3
    y[lots] = torch.randint(2, (int(lots.sum()),), generator=generator)
    return Data((x[:60], y[:60]), (x[60:], y[60:]))


DATA = draw_data()


class Noisy(Task):
    """A perceptron that learns all labels of its 60 examples by heart."""

    name, batch_size = "noisy", 16

    def init(self, generator):
        shapes = {"0.weight": (32, 8), "0.bias": (32,), "2.weight": (2, 32), "2.bias": (2,)}
        return {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    def draw(self, generator):
        return DATA

    def loss(self, params, batch):
        hidden = F.linear(batch[0], params["0.weight"], params["0.bias"]).tanh()
        return F.cross_entropy(F.linear(hidden, params["2.weight"], params["2.bias"]), batch[1])


class Recorded(Guard):
    """`auto` under a guard, and what they did."""

    def __init__(self):
        super().__init__(agents.load("auto"))

    def reset(self, num_runs, num_groups):
        super().reset(num_runs, num_groups)
        self.actions, self.returns = [], 0

    def act(self, observation):
        self.actions.append(super().act(observation))
        self.returns += int(self.restore_weights is not None and self.restore_weights.any())
        return self.actions[-1]


def deployed(controller, **options):
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 2))
    model.load_state_dict(Noisy().init(generator(int(SEED[0]), 0)))
    base = torch.optim.AdamW(optenv.layer_groups(model), lr=1e-3)
    (x, y), valid = DATA.train, DATA.valid

    def validate():
        return F.cross_entropy(model(valid[0]), valid[1])

    optimizer = optenv.ControlledOptimizer(base, controller, total_steps=TOTAL, validate=validate, **options)
    for step in range(TOTAL):
        rows = minibatch_indices(SEED, np.array([step]), 1, Noisy.batch_size, len(x))[0, 0]
        loss = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(loss=loss)
    return nn.utils.parameters_to_vector(model.parameters()).detach(), validate().item()


def test_both_hosts_return_at_the_same_decisions_to_the_same_weights():
    inside, outside = Recorded(), Recorded()
    runs = TorchRuns(Noisy(), torch_optimizer("adamw"))
    list(rollout(runs, inside, SEED, np.array([1e-3]), TOTAL))
    weights, _ = deployed(outside)
    np.testing.assert_array_equal(inside.actions, outside.actions)
    assert torch.equal(torch.cat([p.detach().reshape(-1) for p in runs._rows[0].params.values()]), weights)
    assert inside.returns == outside.returns > 0


def test_fewer_looks_see_it_later_and_no_look_never():
    controllers = [Recorded() for _ in range(3)]
    often, seldom, never = (deployed(c, validate_every=k)[1] for c, k in zip(controllers, (1, 10, 1000), strict=True))
    assert [c.returns > 0 for c in controllers] == [True, True, False] and often < seldom < never


def test_the_benchmark_shows_validation_losses_only_where_they_choose_the_weights():
    trainer, seeds, rates = make_trainer(Noisy()), np.arange(3), np.full(3, 1e-3)
    outcome = run_controller(trainer, agents.load("auto"), seeds, rates, TOTAL, samples=39, test=True)
    blind = run_controller(trainer, agents.load("auto"), seeds, rates, TOTAL)
    np.testing.assert_array_equal(outcome.loss, blind.loss)
    np.testing.assert_array_equal(outcome.valid[-1], blind.loss)
    assert (outcome.offered[-1] < 0.8 * outcome.valid[-1]).all()  # it returned, and ends lower
    assert outcome.test["final"] == pytest.approx(blind.loss, rel=1e-6)  # validation stands in for a test set
    assert (outcome.test["best"] <= outcome.offered.min(0) * (1 + 1e-6)).all()
