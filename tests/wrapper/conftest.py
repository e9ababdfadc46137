"""A model to train, controllers that do as they are told, and two processes that train together."""

import json
import os
import subprocess
import sys
from pathlib import Path

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

    optional_knobs = tuple(KNOBS)

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


@pytest.fixture(scope="session")
def run_ranks():
    """From the name of a file beside this one, and a folder, to what two ranks that ran it report in that folder."""

    def run(worker, folder):
        worker = Path(__file__).with_name(worker)
        environment = {**os.environ, "PYTHONPATH": str(worker.parents[2])}
        commands = [[sys.executable, str(worker), str(rank), str(folder)] for rank in (0, 1)]
        processes = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True, env=environment) for c in commands]
        try:
            complaints = [process.communicate(timeout=300)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert [process.returncode for process in processes] == [0, 0], "\n".join(complaints)
        return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]

    return run
