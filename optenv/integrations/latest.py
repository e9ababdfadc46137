"""What callbacks share: the controlled optimizer in a trainer, its last decision as numbers, its best weights."""

from __future__ import annotations

from typing import Any

from optenv.wrapper import ControlledOptimizer
from optenv.wrapper.decision_log import scalars
from optenv.wrapper.param_groups import group_names


def controlled_in(optimizer: Any) -> ControlledOptimizer | None:
    """Return the controlled optimizer within those that trainers put around theirs; None where there is none."""
    while optimizer is not None and not isinstance(optimizer, ControlledOptimizer):
        optimizer = vars(optimizer).get("optimizer") or vars(optimizer).get("_optimizer")
    return optimizer


def latest(optimizer: ControlledOptimizer) -> dict[str, float]:
    """Return "control_rate/GROUP", "control_scale/GROUP" and so on of the last decision; empty before the first."""
    history = optimizer.history
    names = group_names(optimizer.param_groups)
    if not history or len(history[-1]["rate"]) != len(names):
        return {}
    found = scalars(history[-1], names)
    return {tag: value for tag, value in found.items() if value is not None and tag != "control/loss"}


def restore_best(optimizer: Any) -> None:
    """Put the weights of the least validation loss in place, where a controlled optimizer has kept them."""
    found = controlled_in(optimizer)
    if found is not None and found.best_validation is not None:
        found.restore_best()
