"""Checkpoints of a controlled optimizer with every controller there is, and copies of it."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

import agents
import optenv

every_controller = pytest.mark.parametrize("name", agents.names())


class Run:
    """A perceptron in training, always the same one."""

    def __init__(self, name):
        generator = torch.Generator().manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
        for p in self.model.parameters():
            nn.init.normal_(p, std=0.5, generator=generator)
        self.x, self.y = (torch.randn(64, 8, width, generator=generator) for width in (4, 2))
        base = optim.AdamW(optenv.layer_groups(self.model), lr=0.01)
        self.optimizer = optenv.ControlledOptimizer(base, agents.load(name), total_steps=40, steps_per_action=2)

    def train(self, first, last):
        for step in range(first, last):
            self.optimizer.zero_grad()
            loss = F.mse_loss(self.model(self.x[step % 64]), self.y[step % 64])
            loss.backward()
            self.optimizer.step(loss=loss)
        return nn.utils.parameters_to_vector(self.model.parameters()).detach()


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@every_controller
@pytest.mark.parametrize("at", [0, 6, 9])
def test_a_run_resumed_under_any_controller_is_the_uninterrupted_one_bit_for_bit(name, at):
    whole, resumed = Run(name), Run(name)
    whole.train(0, at)
    model, optimizer = through_a_file([whole.model.state_dict(), whole.optimizer.state_dict()])
    resumed.train(0, 3)  # whatever it did before is forgotten
    resumed.model.load_state_dict(model)
    resumed.optimizer.load_state_dict(optimizer)
    assert torch.equal(whole.train(at, 24), resumed.train(at, 24))


@every_controller
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda run: pickle.loads(pickle.dumps(run))], ids=["copy", "pickle"])
def test_a_copy_under_any_controller_is_a_run_of_its_own(name, copied):
    run = Run(name)
    run.train(0, 5)
    twin = copied(run)
    end = run.train(5, 16)
    assert torch.equal(end, twin.train(5, 16)) and twin.optimizer.base is not run.optimizer.base
