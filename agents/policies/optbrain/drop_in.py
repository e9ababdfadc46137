"""OptBrain as published: around a torch optimizer, or in numpy alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.policies.optbrain.numpy_optimizer import NumpyOptBrain


def OptBrain(
    base_optimizer: Any = None,
    n_groups: int | None = None,
    brain_hidden: int = 8,
    brain_lr: float = 1.0,
    brain_update_every: int | None = None,
    seed: int = 0,
    pretrained: str | Path | None = None,
    *,
    total_steps: int | None = None,
    **control: Any,
) -> Any:
    """Make a small brain that learns, while a model trains, how to scale each parameter group's steps.

    Around an optimizer it is a `torch.optim.Optimizer`, a `ControlledOptimizer`:

        optimizer = OptBrain(torch.optim.Adam(model.parameters(), lr=1e-3))
        loss.backward(); optimizer.step(loss=loss.item()); optimizer.zero_grad()

    Without one it needs numpy alone, and whoever steps applies its decisions:

        brain = OptBrain(None, n_groups=5)
        decisions = brain.get_decisions(loss=loss)      # {group: (scale, clip, dampen)}
        brain.record_grads(group, grad_flat)            # for every group
        brain.finish_step()

    `scale` multiplies the learning rate; `clip` is a threshold for the gradient's norm over the largest
    norm of late (5 to 0.1, 1 never clips); the update and the momentum it carries on are multiplied by
    `1 - dampen`. All are neutral, (1, 1, 0), until the brain has learned something: see
    `agents.policies.optbrain.brain` for how it learns. Clip and dampen move only once it has received rewards.

    Args:
      base_optimizer: any `torch.optim.Optimizer` that steps without a closure; None for numpy alone.
      n_groups: parameter groups; by default those of `base_optimizer`.
      brain_hidden: random features of the policy.
      brain_lr: how far the log scale moves for a unit of credit.
      brain_update_every: steps between decisions; by default a fiftieth of the budget, or 10 where it is unknown.
      seed: of the random features and, where it receives rewards, of the exploration.
      pretrained: a file of a brain or of the controller "optbrain", to go on learning from.
      total_steps: budget of the run in steps, if known; rates then settle towards its end.
      **control: around an optimizer, more arguments of `ControlledOptimizer`, such as `guard` or `trace`.

    Returns:
      An `OptBrainOptimizer`, or a `NumpyOptBrain` where `base_optimizer` is None.

    Raises:
      TypeError: if `base_optimizer` is no optimizer, or an argument is unknown.
      ValueError: if a number is out of range, or the file is damaged.
    """
    brain = (brain_hidden, brain_lr, brain_update_every, seed, pretrained)
    if base_optimizer is None:
        return NumpyOptBrain(n_groups, *brain, total_steps=total_steps, **control)
    from agents.policies.optbrain.optimizer import OptBrainOptimizer

    return OptBrainOptimizer(base_optimizer, n_groups, *brain, total_steps=total_steps, **control)
