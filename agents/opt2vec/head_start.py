"""A head start: before its meta-training the policy imitates a plain schedule, on runs which that steers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from agents.imitation import warmup_linear
from agents.opt2vec.network import actions
from optenv.benchmark.run import control_edges, make_trainer
from optenv.control.features import FEATURE_NAMES, UNKNOWN
from optenv.control.history import HistoryController
from optenv.control.loop import ControlLoop
from optenv.inner.trainer import BatchedTrainer
from optenv.tasks import Task, get

Array = np.ndarray
PEAK, PEAK_UNKNOWN = 3.0, 2.0
BATCH = 1024
_PROGRESS = FEATURE_NAMES.index("progress")


def teacher(observation: Array, decisions: int, knobs: int) -> Array:
    """Return the schedule's actions, [N, G, knobs]: those of `warmup_linear`, and 0 for every knob but the first.

    Where the budget is unknown it rises to e^2 times the first scale, in place of e^3, and stays there.
    """
    flat = observation.reshape(-1, observation.shape[-1])
    known = flat[:, _PROGRESS] != UNKNOWN
    scale = np.where(known[:, None], *(warmup_linear(flat, peak, decisions) for peak in (PEAK, PEAK_UNKNOWN)))
    action = np.zeros((*observation.shape[:2], knobs))
    action[..., :1] = scale.reshape(*observation.shape[:2], 1)
    return action


def imitate(policy: HistoryController, names: Sequence[str], *, seed: int, inner_steps: Sequence[int] = (4, 8, 16),
            runs: int = 3, fitting_steps: int = 2000, noise: float = 0.3,
            unknown_budgets: float = 0.25) -> HistoryController:  # fmt: skip
    """Return a policy of the same shape that acts as the teacher does.

    Args:
      policy: relative, its first knob `scale`.
      names: tasks, each trained in `runs` runs.
      seed: of all that is drawn.
      inner_steps: inner steps between two decisions; one is drawn for each task.
      runs: of each task.
      fitting_steps: steps of Adam on the squared error.
      noise: standard deviation of what is added to the teacher's actions, so that the policy also
        sees how to come back.
      unknown_budgets: share of the tasks whose budget is not told.

    Raises:
      ValueError: if the policy's control is not relative with `scale` as the first knob.
    """
    interface = policy.interface
    if interface.control != "relative" or interface.knobs[0] != "scale":
        raise ValueError(f"imitate: expected relative control of 'scale' first; received {interface!r}")
    generator = np.random.default_rng([seed, 1])
    pairs = []
    for name in names:
        task, told = get(name), generator.random() >= unknown_budgets
        assert isinstance(task, Task)
        total = int(generator.choice(inner_steps)) * interface.decisions
        seeds = generator.integers(2**62, size=runs).astype(np.uint64)
        pairs.append(_steered(make_trainer(task, "adam"), policy, seeds, total, told, noise, generator))
    inputs, wanted = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return _fitted(policy, inputs, wanted, fitting_steps, generator)


def _steered(trainer: BatchedTrainer, policy: HistoryController, seeds: Array, total: int, told: bool, noise: float,
             generator: np.random.Generator) -> tuple[Array, Array]:  # fmt: skip
    """Let the teacher steer, with noise; return what the policy sees, [rows, inputs], and the teacher's actions."""
    interface, rates = policy.interface, np.full(len(seeds), 1e-3)
    state = trainer.start(seeds)
    loop = ControlLoop(interface, np.full(len(seeds), float(total) if told else np.nan), trainer.num_groups)
    if interface.first_update is not None:
        loop.start_at(trainer.first_update_ratio(state, rates))
    policy.reset(len(seeds), trainer.num_groups)
    inputs, wanted = [], []
    for steps in np.diff(control_edges(total, interface.decisions)):
        seen = loop.observe()
        policy.act(seen)
        wanted.append(teacher(seen, interface.decisions, len(interface.knobs)))
        inputs.append(policy.history.window.reshape(*seen.shape[:2], -1))
        tried = np.clip(wanted[-1] + noise * generator.normal(size=wanted[-1].shape), -1.0, 1.0)
        loop.advance(trainer.run(state, rates, loop.apply(tried), int(steps)))
    rows = (np.stack(part).reshape(-1, part[0].shape[-1]) for part in (inputs, wanted))
    return next(rows).astype(np.float32), next(rows).astype(np.float32)


def _fitted(policy: HistoryController, inputs: Array, wanted: Array, steps: int,
            generator: np.random.Generator) -> HistoryController:  # fmt: skip
    weights = {k: torch.tensor(np.asarray(v), requires_grad=True) for k, v in policy.file.tensors.items()}
    adam = torch.optim.Adam(weights.values(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.01, steps)
    for _ in range(steps):
        rows = generator.integers(len(inputs), size=BATCH)
        taken = actions(weights, policy.file.settings["activation"], torch.as_tensor(inputs[rows]))
        loss = (taken - torch.as_tensor(wanted[rows])).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    tensors = {name: weight.detach().numpy() for name, weight in weights.items()}
    notes = {**policy.file.notes, "imitation_error": float(loss.detach())}
    return HistoryController(replace(policy.file, tensors=tensors, notes=notes))
