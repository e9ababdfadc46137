"""Runs steered by a policy, and the exact gradient of their final loss in every decision.

The run itself is the batched trainer's. The gradient is taken backwards, control step by control step: each is
computed again from the state it began with, now as a differentiable function of that state and of the
knobs, and the gradient of the final loss is carried through it (the adjoint method). Memory holds one state a
decision and the graph of one control step, however long the run. Second derivatives are included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from agents.policies.opt2vec.controller import WindowedMlpController
from optenv.control.knobs import KNOBS
from optenv.inner.architecture_batches import ArchitectureBatches
from optenv.inner.randomness import minibatch_indices
from optenv.inner.rollout import begin, steer
from optenv.inner.state import RunState
from optenv.inner.trainer import BatchedTrainer
from optenv.tasks.task import Batch

Array = np.ndarray
# The root of Adam's second moment has no derivative at 0, where a weight never had a gradient.
_TINY = 1e-24
_MAX_BETA = 0.9999


@dataclass(frozen=True)
class Unroll:
    """N runs of T decisions.

    Attributes:
      inputs: what the policy embedded at each decision, [T, N, G, inputs].
      actions: what it did, [T, N, G, knobs].
      positions: positions of the knobs after it, [T, N, G, knobs].
      before: the runs' states just before each decision, T of them.
      steps: inner steps under each decision, T of them.
      final: the states at the end.
      loss: final validation loss, [N].
    """

    inputs: Array
    actions: Array
    positions: Array
    before: list[RunState]
    steps: list[int]
    final: RunState
    loss: Array


def unroll(
    trainer: BatchedTrainer,
    policy: WindowedMlpController,
    seeds: Array,
    rates: Array,
    total: int,
    *,
    reveal_budget: bool = True,
) -> Unroll:
    """Train one run per seed under a policy, keeping what the gradient needs.

    Args:
      trainer: what trains them.
      policy: decides every control step.
      seeds: of the runs, [N].
      rates: base learning rates, [N].
      total: budget in inner steps.
      reveal_budget: whether the policy observes the budget.
    """
    runs = ArchitectureBatches([trainer])
    started = begin(runs, policy, seeds, rates, total, reveal_budget=reveal_budget)
    ((_, state),) = runs.states.values()
    before, inputs, steps = [_copied(state)], [], []
    for step in steer(started, policy, total):
        inputs.append(policy.window.values.reshape(*step.action.shape[:2], -1))
        steps.append(step)
        before.append(_copied(state))
    return Unroll(
        np.stack(inputs),
        np.stack([step.action for step in steps]),
        np.stack([step.positions for step in steps]),
        before[:-1],
        [step.last - step.first for step in steps],
        state,
        trainer.evaluate(state),
    )


def _copied(state: RunState) -> RunState:
    """Copy what a step changes and the gradient needs; the data stay where they are."""
    slots = {name: slot.clone() for name, slot in state.slots.items()}
    return replace(state, params=state.params.clone(), slots=slots, step=state.step.copy())


def action_gradients(trainer: BatchedTrainer, runs: Unroll, rates: Array, knobs: tuple[str, ...]) -> Array:
    """Return the gradient of the log of each run's final validation loss in each of its actions.

    The observations are held fixed: it is the gradient of the runs as sequences of actions, of which each
    moves a knob for the rest of the run. Runs do not touch each other.

    Args:
      trainer: what trained them, under Adam or AdamW.
      runs: the runs.
      rates: their base learning rates, [N].
      knobs: what the actions turn, relatively.

    Returns:
      [T, N, G, knobs]; not finite where a run diverged.
    """
    adjoints, moved = _final_gradient(trainer, runs.final), np.zeros_like(runs.positions)
    for t in reversed(range(len(runs.steps))):
        adjoints, moved[t] = _backward(
            trainer, runs.before[t], runs.positions[t], runs.steps[t], rates, knobs, adjoints
        )
    return _in_actions(runs, moved, knobs)


def _in_actions(runs: Unroll, moved: Array, knobs: tuple[str, ...]) -> Array:
    """Turn gradients in positions into gradients in the actions that they add up: of those not cut at a limit."""
    result, carried = np.zeros_like(moved), np.zeros_like(moved[0])
    limits = np.array([KNOBS[name].limits for name in knobs])
    unit = np.array([KNOBS[name].step for name in knobs])
    for t in reversed(range(len(moved))):
        inside = (runs.positions[t] > limits[:, 0]) & (runs.positions[t] < limits[:, 1])
        carried = (carried + moved[t]) * inside
        result[t] = carried * unit
    return result


def _final_gradient(trainer: BatchedTrainer, final: RunState) -> list[Tensor]:
    params = final.params.detach().requires_grad_()
    valid = tuple(t.expand(len(final), *t.shape[1:]) for t in final.valid)
    loss = torch.func.vmap(trainer.task.loss)(trainer.layout.views(params), valid).log().sum()
    (gradient,) = torch.autograd.grad(loss, params)
    return [gradient, *(torch.zeros_like(gradient) for _ in trainer.rule.slots)]


def _backward(
    trainer: BatchedTrainer,
    before: RunState,
    positions: Array,
    num_steps: int,
    rates: Array,
    knobs: tuple[str, ...],
    adjoints: list[Tensor],
) -> tuple[list[Tensor], Array]:
    """Carry the gradient in the end of a control step to its beginning, and to the positions of its knobs."""
    start = [t.detach().requires_grad_() for t in (before.params, *before.slots.values())]
    turned = torch.as_tensor(positions, dtype=torch.float32, device=trainer.device).requires_grad_()
    end = differentiable_steps(trainer, before, start, turned, num_steps, rates, knobs)
    *carried, moved = torch.autograd.grad(end, [*start, turned], adjoints)
    return list(carried), moved.cpu().numpy()


def differentiable_steps(
    trainer: BatchedTrainer,
    before: RunState,
    start: list[Tensor],
    positions: Tensor,
    num_steps: int,
    rates: Array,
    knobs: tuple[str, ...],
) -> list[Tensor]:
    """Take inner steps of Adam or AdamW, as the trainer does, as a differentiable function.

    Args:
      trainer: what trains them.
      before: the runs before the steps; seeds, step counts and data are read from it.
      start: parameters and both moments, [N, P] each.
      positions: of the knobs, [N, G, knobs].
      num_steps: inner steps.
      rates: base learning rates, [N].
      knobs: names of the knobs; of "scale", "momentum" and "second_moment".

    Returns:
      Parameters and both moments after the steps.
    """
    (p, m, v), base, losses = start, trainer.base, torch.func.vmap(trainer.task.loss)
    beta1 = torch.full_like(positions[..., 0], base["beta1"])
    if "momentum" in knobs:
        beta1 = _moved_beta(base["beta1"], positions[..., knobs.index("momentum")])
    beta2 = torch.full_like(positions[..., 0], base["beta2"])
    if "second_moment" in knobs:
        beta2 = _capped_beta(base["beta2"], positions[..., knobs.index("second_moment")])
    rate = torch.as_tensor(rates, dtype=torch.float32, device=p.device)[:, None]
    rate = rate * torch.exp(positions[..., knobs.index("scale")])  # [N, G]
    new, new_square = trainer.layout.spread(1.0 - beta1), trainer.layout.spread(1.0 - beta2)
    shrink = 1.0 - trainer.layout.spread(rate) * base["weight_decay"] if trainer.rule.name == "adamw" else None
    for k, batch in enumerate(minibatches(before, trainer, num_steps), start=1):
        step = torch.as_tensor(before.step + k, dtype=torch.float32, device=p.device)[:, None]
        loss = losses(trainer.layout.views(p), batch).sum()
        (g,) = torch.autograd.grad(loss, p, create_graph=True)
        m, v = m + new * (g - m), v + new_square * (g * g - v)
        correction = trainer.layout.spread(1.0 - beta2**step)
        unbiased = rate / (1.0 - beta1**step)
        root = torch.sqrt(v / correction + _TINY) + base["eps"]
        p = (p if shrink is None else p * shrink) - trainer.layout.spread(unbiased) * m / root
    return [p, m, v]


def _moved_beta(base: float, shift: Tensor) -> Tensor:
    """The differentiable form of `optenv.control.knobs.move_towards_one`."""
    return (1.0 - (1.0 - base) * 10.0**-shift).clamp(0.0, max(base, _MAX_BETA))


def _capped_beta(base: float, position: Tensor) -> Tensor:
    """The differentiable form of the knob `second_moment`."""
    return torch.where(position < 0.0, 1.0 - 1e-4 * 100.0**-position, 1.0).clamp_max(base)


def minibatches(state: RunState, trainer: BatchedTrainer, num_steps: int) -> Iterator[Batch]:
    """Yield the minibatches that the trainer would draw next, [N, B, ...] each."""
    examples = state.train[0].shape[1] if state.train else 1
    index = minibatch_indices(state.seed, state.step, num_steps, trainer.task.batch_size, examples)
    rows = np.zeros((len(state), 1), int) if state.shared else np.arange(len(state))[:, None]
    for chosen in index:
        yield tuple(t[torch.as_tensor(rows), torch.as_tensor(chosen)] for t in state.train)
