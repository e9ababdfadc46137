"""A model to train, and controllers that do as they are told."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import optenv
from optenv.control.controller import Controller, Interface
from optenv.control.knobs import KNOBS


class Fixed(Controller):
    """Repeat one action, a number for all knobs or a function of the number of the decision."""

    def __init__(self, action, **settings):
        self.interface, self._action = Interface(**{"knobs": tuple(KNOBS)} | settings), action

    def reset(self, num_runs, num_groups):
        self.observations = []

    def regroup(self, sources):
        pass

    def act(self, observation):
        self.observations.append(observation)
        action = self._action(len(self.observations)) if callable(self._action) else self._action
        return np.broadcast_to(np.asarray(action, float), (*observation.shape[:2], len(self.interface.knobs)))


class Lion(torch.optim.Optimizer):
    """Sign of an interpolated momentum (Chen et al. 2023): an optimizer that torch does not ship."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * torch.lerp(m, p.grad, 1 - group["betas"][0]).sign())
                m.lerp_(p.grad, 1 - group["betas"][1])


class Problem:
    """A perceptron, a fixed stream of minibatches, and the loop that trains one on the other."""

    def __init__(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
        for p in self.model.parameters():
            nn.init.normal_(p, std=0.5, generator=generator)
        self.x, self.y = (torch.randn(64, 8, width, generator=generator) for width in (4, 2))

    @property
    def groups(self):
        return optenv.layer_groups(self.model)

    def loss(self, step):
        return F.mse_loss(self.model(self.x[step % 64]), self.y[step % 64])

    def train(self, optimizer, steps, scheduler=None):
        for step in range(steps):
            optimizer.zero_grad()
            loss = self.loss(step)
            loss.backward()
            optimizer.step(**({"loss": loss} if isinstance(optimizer, optenv.ControlledOptimizer) else {}))
            if scheduler is not None:
                scheduler.step()

    def weights(self):
        return nn.utils.parameters_to_vector(self.model.parameters()).detach().clone()


@pytest.fixture
def problem():
    return Problem()


@pytest.fixture
def make_problem():
    return Problem


@pytest.fixture
def fixed():
    return Fixed


@pytest.fixture
def lion():
    return Lion
