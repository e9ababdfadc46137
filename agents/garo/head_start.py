"""A head start for the search: the recurrent policy first imitates a schedule whose peak is chosen with hindsight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from agents.evolution.generation import Job, trainer_of
from agents.hindsight.network import PeakNetwork
from agents.imitation import linear_decay
from optenv.benchmark.run import run_controller
from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURE_NAMES
from optenv.control.gated import EMITTED, ONE
from optenv.control.policy import PolicyFile

Array = np.ndarray
FITTING_STEPS, RATE = 400, 1e-2
RUNS = 24
HELD = (1.0, 0.0)  # actions of momentum, which then rises to its bound, and of weight decay
MOMENTUM = 2.0  # emission before tanh
FIRST_PEAK, PEAK_RANGE, MEMORY = 2.25, (0.5, 4.75), 0.5
NOISE = 0.3  # standard deviation of the deviations, in nats
_PROGRESS = FEATURE_NAMES.index("progress")


class Teacher(Controller):
    """Rise to e^peak times the first rate, then fall linearly to 0 at the end of the budget, under momentum.

    A network with hindsight chooses the peak from what is observed; the choices of groups and of decisions are
    averaged, since single ones jump about. It deviates at random, so that who imitates it also sees how to come back.

    Attributes:
      seen: the observations so far, averaged over groups, [N, F] each.
      wanted: what should have been emitted, [N, 3] each: before softplus, tanh and softplus.
    """

    def __init__(self, interface: Interface, network: PeakNetwork, generator: np.random.Generator):
        """Choose what is followed; `interface` is that of the imitator, and `generator` of the deviations."""
        self.interface, self._network, self._generator = interface, network, generator
        self.seen: list[Array] = []
        self.wanted: list[Array] = []

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin runs at the first rate."""
        self._log_rate, self._peak = np.zeros(num_runs), np.full(num_runs, FIRST_PEAK)

    def act(self, observation: Array) -> Array:
        """Return the actions of scale, momentum and weight decay, [N, G, 3]."""
        chosen = self._network.choose(observation.reshape(-1, observation.shape[-1])).reshape(observation.shape[:2])
        self._peak = MEMORY * self._peak + (1.0 - MEMORY) * np.clip(chosen.mean(axis=1), *PEAK_RANGE)
        wanted = linear_decay(observation[:, 0, _PROGRESS], self._peak, self.interface.decisions)
        change = np.clip(wanted - self._log_rate, -1.0, 1.0)
        emitted = np.log(np.expm1(np.exp(change))) - ONE
        self.seen.append(observation.mean(axis=1))
        self.wanted.append(np.stack([emitted, np.full_like(emitted, MOMENTUM), 0.0 * emitted], axis=-1))
        moved = np.clip(change + NOISE * self._generator.standard_normal(len(change)), -1.0, 1.0)
        self._log_rate = self._log_rate + moved
        action = np.stack([moved, *(np.full_like(moved, a) for a in HELD)], axis=-1)
        return np.repeat(action[:, None], observation.shape[1], axis=1)


def imitate(file: PolicyFile, network: PeakNetwork, jobs: Sequence[Job], *, seed: int) -> PolicyFile:
    """Fit a policy to the teacher, on runs that it steers.

    Args:
      file: the policy, see `GruController`; the statistics of the features become those of the runs.
      network: what the teacher follows.
      jobs: tasks to run, `RUNS` runs each.
      seed: of the runs and the deviations.

    Returns:
      The fitted policy.
    """
    generator = np.random.default_rng(seed)
    seen, wanted = zip(
        *(_episode(Teacher(file.interface, network, generator), job, generator) for job in jobs), strict=True
    )
    observations, emissions = np.concatenate(seen, axis=1), np.concatenate(wanted, axis=1)  # [T, R, F], [T, R, 3]
    flat = observations.reshape(-1, observations.shape[-1])
    mean, std = flat.mean(axis=0), flat.std(axis=0) + 1e-2
    inputs = np.clip((observations - mean) / std, -10.0, 10.0)
    fitted = _fit(file, torch.as_tensor(inputs).float(), torch.as_tensor(emissions).float())
    statistics = {"mean": mean.astype(np.float32), "std": std.astype(np.float32)}
    return replace(file, tensors={**fitted, **statistics})


def _episode(teacher: Teacher, job: Job, generator: np.random.Generator) -> tuple[Array, Array]:
    seeds = generator.integers(2**62, size=RUNS).astype(np.uint64)
    run_controller(trainer_of(job), teacher, seeds, np.full(RUNS, job.rate), job.total, tell_total=job.tell_total)
    return np.stack(teacher.seen), np.stack(teacher.wanted)


def _fit(file: PolicyFile, inputs: Tensor, wanted: Tensor) -> dict[str, Array]:
    width = file.tensors["gru_hidden"].shape[1]
    with torch.random.fork_rng(devices=[]):  # torch draws weights, which are replaced, from the global generator
        recurrent, head = torch.nn.GRU(inputs.shape[-1], width), torch.nn.Linear(width, len(EMITTED))
    parameters = _by_name(recurrent, head)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.as_tensor(file.tensors[name]))
    optimizer = torch.optim.Adam(parameters.values(), lr=RATE)
    for step in range(FITTING_STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1.0 - step / FITTING_STEPS)
        hidden, _ = recurrent(inputs)
        loss = (head(hidden) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: parameter.detach().numpy().copy() for name, parameter in parameters.items()}


def _by_name(recurrent: torch.nn.GRU, head: torch.nn.Linear) -> dict[str, torch.nn.Parameter]:
    own, read_out = dict(recurrent.named_parameters()), dict(head.named_parameters())
    return {
        "gru_input": own["weight_ih_l0"],
        "gru_hidden": own["weight_hh_l0"],
        "gru_input_bias": own["bias_ih_l0"],
        "gru_hidden_bias": own["bias_hh_l0"],
        "weight0": read_out["weight"],
        "bias0": read_out["bias"],
    }
