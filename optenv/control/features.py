"""Features: what a controller observes of a run and of each parameter group, one row of data each.

Every feature is scale-free: it does not move when the loss is multiplied or shifted by a constant,
or when a layer's gradient changes its unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optenv.control.knobs import clipped
from optenv.control.signals import Signals

Array = np.ndarray
UNKNOWN = -1.0
_TINY = 1e-300


@dataclass(frozen=True)
class Feature:
    """One observed number.

    Attributes:
      name: as recorded in a trained controller's file.
      why: one line on what it tells.
      low: lower bound.
      high: upper bound.
      function: from the run's signals to [N] (of the run) or [N, G] (of each group); what it
        returns is clipped to the bounds, and NaN becomes 0.
    """

    name: str
    why: str
    low: float
    high: float
    function: Callable[[Signals], Array]


def _known(total: Array, value: Array) -> Array:
    return np.where(np.isnan(total), UNKNOWN, value)


def _span(s: Signals) -> Array:
    """Loss decrease so far plus the noise of one interval: the run's own unit of loss."""
    return np.maximum(s.first_loss - s.best_loss, 0.0) + np.sqrt(s.noise / s.interval) + _TINY


def _progress(s: Signals) -> Array:
    return _known(s.total, np.minimum(s.step / s.total, 1.0))


def _horizon(s: Signals) -> Array:
    return _known(s.total, np.log10(s.total) / 5.0)


def _improvement(s: Signals) -> Array:
    return np.arcsinh(40.0 * (s.previous_loss - s.loss) / _span(s)) / np.arcsinh(40.0)


def _significance(s: Signals) -> Array:
    return np.tanh((s.previous_loss - s.loss) / (4.0 * np.sqrt(2.0 * s.noise / s.interval) + _TINY))


def _regret(s: Signals) -> Array:
    return np.log1p((s.loss - s.best_loss) / _span(s)) / np.log(2.0)


def _noise(s: Signals) -> Array:
    return 1.0 + np.log10(np.sqrt(s.noise) / _span(s) + _TINY) / 3.0


def _update(s: Signals) -> Array:
    return (np.log10(s.update_ratio + _TINY) + 2.0) / 2.0


def _gradient_norm(s: Signals) -> Array:
    return np.log10((s.gradient_norm + _TINY) / (s.first_gradient_norm + _TINY)) / 2.0


RUN_FEATURES: tuple[Feature, ...] = (
    Feature("progress", "share of the budget spent; -1 where the budget is unknown", -1.0, 1.0, _progress),
    Feature("horizon", "log10 of the budget in inner steps, over 5; -1 where unknown", -1.0, 2.0, _horizon),
    Feature("improvement", "loss decrease of this interval over that of the run so far", -3.0, 3.0, _improvement),
    Feature("significance", "loss decrease of this interval over its own noise", -1.0, 1.0, _significance),
    Feature("regret", "how far the loss stands above its best, in units of the decrease so far", 0.0, 5.0, _regret),
    Feature("noise", "log10 of the minibatch noise over the decrease so far", -2.0, 2.0, _noise),
)

GROUP_FEATURES: tuple[Feature, ...] = (
    Feature("update_ratio", "log10 of the interval's displacement over the weights' norm", -5.0, 2.0, _update),
    Feature("persistence", "cosine of this interval's displacement and the last", -1.0, 1.0, lambda s: s.persistence),
    Feature(
        "gradient_persistence", "cosine of this gradient and the last", -1.0, 1.0, lambda s: s.gradient_persistence
    ),
    Feature(
        "descent", "cosine of this gradient and minus the displacement: still downhill?", -1.0, 1.0, lambda s: s.descent
    ),
    Feature("gradient_norm", "log10 of the gradient's norm over its first", -3.0, 3.0, _gradient_norm),
    Feature(
        "log_scale", "log10 of the scale in force over the scale the run began with", -4.0, 4.0, lambda s: s.log_scale
    ),
)

FEATURES: dict[str, Feature] = {f.name: f for f in (*RUN_FEATURES, *GROUP_FEATURES)}
FEATURE_NAMES = tuple(FEATURES)


_LOW, _HIGH = (np.array([getattr(f, side) for f in FEATURES.values()]) for side in ("low", "high"))


def observe(signals: Signals) -> Array:
    """Return what every group sees: the run's features, then its own; [N, G, 12] float32."""
    values = np.empty((*signals.log_scale.shape, len(FEATURES)))
    with np.errstate(all="ignore"):
        for i, feature in enumerate(RUN_FEATURES):
            values[:, :, i] = feature.function(signals)[:, None]
        for i, feature in enumerate(GROUP_FEATURES, len(RUN_FEATURES)):
            values[:, :, i] = feature.function(signals)
        values = clipped(values, _LOW, _HIGH)
        values[np.isnan(values)] = 0.0
        return values.astype(np.float32)


def flatten(observation: Array) -> Array:
    """Turn the groups' views, [N, G, 12], into one row a run: `[run | group 1 | group 2 ...]`, [N, 6 + 6 G]."""
    split = len(RUN_FEATURES)
    return np.concatenate([observation[:, 0, :split], observation[:, :, split:].reshape(len(observation), -1)], axis=-1)


def unflatten(observation: Array) -> Array:
    """Undo `flatten`: [N, 6 + 6 G] to [N, G, 12]."""
    split, width = len(RUN_FEATURES), len(GROUP_FEATURES)
    group = observation[:, split:].reshape(len(observation), -1, width)
    shared = np.broadcast_to(observation[:, None, :split], (*group.shape[:2], split))
    return np.concatenate([shared, group], axis=-1)


def bounds(num_groups: int) -> tuple[Array, Array]:
    """Return the least and greatest flat observation of a run with `num_groups` groups, [6 + 6 G] each."""
    rows = (*RUN_FEATURES, *(GROUP_FEATURES * num_groups))
    return np.array([f.low for f in rows], np.float32), np.array([f.high for f in rows], np.float32)
