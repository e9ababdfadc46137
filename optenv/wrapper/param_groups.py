"""Parameter groups: one per layer, their names, and which of them are the same after they have changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Real
from operator import is_
from typing import Any

import numpy as np
from torch import Tensor, nn

ParamGroup = dict[str, Any]


def layer_groups(model: nn.Module) -> list[ParamGroup]:
    """Split a model's trainable parameters into one group per layer.

    A layer is a module with parameters of its own; a parameter that several modules share belongs
    to the first.

    Args:
      model: the model to be trained.

    Returns:
      Groups `{"params": [...], "name": "encoder.0"}` for any `torch.optim` optimizer.

    Raises:
      ValueError: if nothing is trainable.

    Examples:
      >>> [g["name"] for g in layer_groups(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))]
      ['0', '2']
    """
    seen: set[int] = set()
    groups = []
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if p.requires_grad and id(p) not in seen]
        seen.update(map(id, own))
        if own:
            groups.append({"params": own, "name": name})
    if not groups:
        raise ValueError("layer_groups: expected a model with at least one trainable parameter; received none")
    return groups


def copied_groups(params: Iterable[Any]) -> Iterable[Any]:
    """Copy groups that are dictionaries: an optimizer writes its defaults into those it is handed."""
    if isinstance(params, Tensor):
        return params  # which torch refuses; iterating would split it
    entries = list(params)
    for entry in entries:
        if isinstance(entry, dict) and not isinstance(entry["params"], Tensor):
            entry["params"] = list(entry["params"])  # an iterator would be used up by the first who reads it
    return [dict(entry) if isinstance(entry, dict) else entry for entry in entries]


def is_number(value: Any) -> bool:
    """Say whether a hyperparameter is a number, or a tensor of one.

    >>> is_number(0.1), is_number(np.float32(0.1)), is_number(None), is_number((None, 0.1)), is_number(True)
    (True, True, False, False, False)
    """
    if isinstance(value, Tensor):
        return value.numel() == 1
    return isinstance(value, Real) and not isinstance(value, bool)


def base_rate(group: ParamGroup) -> float:
    """Return the learning rate that the user has set for a group; NaN where that is no number."""
    rate = group.get("lr")
    return np.nan if rate is None or not is_number(rate) else float(rate)


def group_names(groups: Sequence[ParamGroup]) -> list[str]:
    """Return each group's name, or its number where it has none or shares it.

    >>> group_names([{"name": "encoder"}, {}, {"name": "head"}, {"name": "head"}])
    ['encoder', 'group 1', 'group 2', 'group 3']
    """
    times = Counter(group.get("name") for group in groups)
    return [
        f"group {g}" if group.get("name") is None or times[group["name"]] > 1 else str(group["name"])
        for g, group in enumerate(groups)
    ]


def matched(before: Sequence[Sequence[Tensor]], groups: Sequence[ParamGroup]) -> tuple[np.ndarray, np.ndarray]:
    """Match groups to those before by the identity of their parameters.

    Args:
      before: each group's parameters, before.
      groups: the groups now.

    Returns:
      For each group the index of the one before that held one of its parameters, or -1, [G]; and the same
      only where all its parameters are those of before, [G].
    """
    owner = {id(p): g for g, params in enumerate(before) for p in params}
    sources, same = np.full(len(groups), -1), np.full(len(groups), -1)
    for i, group in enumerate(groups):
        found = (owner.get(id(p)) for p in group["params"])
        sources[i] = next((g for g in found if g is not None and g not in sources[:i]), -1)
        if sources[i] >= 0 and identical(before[sources[i]], group["params"]):
            same[i] = sources[i]
    return sources, same


def identical(objects: Sequence[Any], others: Sequence[Any]) -> bool:
    """Say whether two sequences hold the very same objects."""
    return len(objects) == len(others) and all(map(is_, objects, others))
