"""Features: what a controller observes of a run and of each parameter group, one row of data each.

Every feature here is scale-free: it does not move when the loss is multiplied or shifted by a constant,
or when a layer's gradient changes its unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from optenv.control.knobs import clipped
from optenv.control.signals import Signals
from optenv.registry import by_name

Array = np.ndarray
UNKNOWN = -1.0
_TINY = 1e-300


@dataclass(frozen=True)
class Feature:
    """One observed number.

    `FEATURES[name] = Feature(...)` registers one of your own; an interface, and so an environment, that names it
    observes it, and a file trained with it records the name.

    Attributes:
      name: as recorded in a trained controller's file.
      why: one line on what it tells.
      low: lower bound.
      high: upper bound.
      function: from the run's signals to [N] (of the run) or [N, G] (of each group); what it
        returns is clipped to the bounds, and NaN becomes 0.
      per_group: whether it tells of each group, not of the run.
      of_validation: whether it reads validation losses; simulations measure them where one that does is observed.
    """

    name: str
    why: str
    low: float
    high: float
    function: Callable[[Signals], Array]
    per_group: bool = False
    of_validation: bool = False


def _known(total: Array, value: Array) -> Array:
    return np.where(np.isnan(total), UNKNOWN, value)


def _span(s: Signals) -> Array:
    """Loss decrease so far plus the noise of one interval: the run's own unit of loss."""
    return np.maximum(s.first_loss - s.best_loss, 0.0) + np.sqrt(s.noise / s.interval) + _TINY


def _progress(s: Signals) -> Array:
    return _known(s.total, np.minimum(s.step / s.total, 1.0))


def _horizon(s: Signals) -> Array:
    return _known(s.total, np.log10(s.total) / 5.0)


def _age(s: Signals) -> Array:
    return np.log10(1.0 + s.step) / 5.0


def _improvement(s: Signals) -> Array:
    return np.arcsinh(40.0 * (s.previous_loss - s.loss) / _span(s)) / np.arcsinh(40.0)


def _significance(s: Signals) -> Array:
    return np.tanh((s.previous_loss - s.loss) / (4.0 * np.sqrt(2.0 * s.noise / s.interval) + _TINY))


def _regret(s: Signals) -> Array:
    return np.log1p((s.loss - s.best_loss) / _span(s)) / np.log(2.0)


def _noise(s: Signals) -> Array:
    return 1.0 + np.log10(np.sqrt(s.noise) / _span(s) + _TINY) / 3.0


def _seen(s: Signals, value: Array, otherwise: float = UNKNOWN) -> Array:
    return np.where(np.isnan(s.validation), otherwise, value)


def _validation_span(s: Signals) -> Array:
    """Fall of the validation loss so far, and of the training loss while that is still none."""
    return np.maximum(s.first_validation - s.best_validation, 1e-3 * _span(s)) + _TINY


def _validation_improvement(s: Signals) -> Array:
    known = np.where(np.isnan(s.previous_validation), s.validation, s.previous_validation)
    return _seen(s, np.arcsinh(40.0 * (known - s.validation) / _validation_span(s)) / np.arcsinh(40.0), 0.0)


def _validation_regret(s: Signals) -> Array:
    return _seen(s, np.log1p((s.validation - s.best_validation) / _validation_span(s)) / np.log(2.0))


def _validation_gap(s: Signals) -> Array:
    known = np.where(np.isnan(s.loss), s.validation, s.loss)
    return _seen(s, np.arcsinh(10.0 * (s.validation - known) / _span(s)) / np.arcsinh(10.0), -3.0)


def _validation_age(s: Signals) -> Array:
    return _seen(s, np.log10(1.0 + s.step - s.validation_step) / 5.0)


def _update(s: Signals) -> Array:
    return (np.log10(s.update_ratio + _TINY) + 2.0) / 2.0


def _gradient_norm(s: Signals) -> Array:
    return np.log10((s.gradient_norm + _TINY) / (s.first_gradient_norm + _TINY)) / 2.0


_DEFAULT = (
    Feature("progress", "share of the budget spent; -1 where the budget is unknown", -1.0, 1.0, _progress),
    Feature("horizon", "log10 of the budget in inner steps, over 5; -1 where unknown", -1.0, 2.0, _horizon),
    Feature("improvement", "loss decrease of this interval over that of the run so far", -3.0, 3.0, _improvement),
    Feature("significance", "loss decrease of this interval over its own noise", -1.0, 1.0, _significance),
    Feature("regret", "how far the loss stands above its best, in units of the decrease so far", 0.0, 5.0, _regret),
    Feature("noise", "log10 of the minibatch noise over the decrease so far", -2.0, 2.0, _noise),
    Feature("update_ratio", "log10 of the interval's displacement over the weights' norm", -5.0, 2.0,
            _update, True),
    Feature("persistence", "cosine of this interval's displacement and the last", -1.0, 1.0,
            lambda s: s.persistence, True),
    Feature("gradient_persistence", "cosine of this gradient and the last", -1.0, 1.0,
            lambda s: s.gradient_persistence, True),
    Feature("descent", "cosine of this gradient and minus the displacement: still downhill?", -1.0, 1.0,
            lambda s: s.descent, True),
    Feature("gradient_norm", "log10 of the gradient's norm over its first", -3.0, 3.0, _gradient_norm, True),
    Feature("log_scale", "log10 of the scale in force over the scale the run began with", -4.0, 4.0,
            lambda s: s.log_scale, True),
)  # fmt: skip
FEATURE_NAMES = tuple(feature.name for feature in _DEFAULT)
"""The features that an interface observes unless it names others."""
_OTHERS = (
    Feature("age", "log10 of 1 + inner steps taken, over 5", 0.0, 2.0, _age),
    Feature("validation_improvement", "fall of the validation loss since the last look over that so far; 0 unknown",
            -3.0, 3.0, _validation_improvement, of_validation=True),
    Feature("validation_regret", "how far it stands above its least, in units of its fall; -1 where there is none",
            -1.0, 5.0, _validation_regret, of_validation=True),
    Feature("validation_gap", "its distance from the training loss in units of that one's fall; -3 where there is none",
            -3.0, 3.0, _validation_gap, of_validation=True),
    Feature("validation_age", "log10 of 1 + inner steps since it was measured, over 5; -1 where there is none",
            -1.0, 2.0, _validation_age, of_validation=True),
)  # fmt: skip
FEATURES = by_name("feature", (*_DEFAULT, *_OTHERS))


def check_features(names: Sequence[str]) -> tuple[str, ...]:
    """Return `names` as a tuple.

    Raises:
      ValueError: if a name is unknown or repeated, or one of the run follows one of each group, or there is none
        of each group.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(f"features: expected a sequence of names; received {names!r}")
    per_group = [FEATURES[name].per_group for name in names]
    if len(set(names)) != len(names) or per_group != sorted(per_group) or not any(per_group):
        raise ValueError(
            "features: expected each name once, those of the run before those of each group, of which at least one; "
            f"received {', '.join(names)}"
        )
    return tuple(names)


def with_features(names: Sequence[str], needed: Sequence[str]) -> tuple[str, ...]:
    """Return `names` and those of `needed` that are not among them, in the order that an interface asks for.

    >>> with_features(("noise", "descent"), ("regret", "noise"))
    ('noise', 'regret', 'descent')
    """
    return tuple(sorted(dict.fromkeys((*names, *needed)), key=lambda name: FEATURES[name].per_group))


def num_run_features(names: Sequence[str] = FEATURE_NAMES) -> int:
    """Return how many of the features tell of the run; the others tell of each group."""
    return sum(not FEATURES[name].per_group for name in names)


def observe(signals: Signals, names: Sequence[str] = FEATURE_NAMES) -> Array:
    """Return what every group sees: the run's features, then its own; [N, G, features] float32.

    Raises:
      ValueError: if a feature's function returns another shape than it has to.
    """
    rows = [FEATURES[name] for name in names]
    values = np.empty((*signals.log_scale.shape, len(rows)))
    with np.errstate(all="ignore"):
        for i, feature in enumerate(rows):
            value = feature.function(signals)
            expected = signals.log_scale.shape[: 1 + feature.per_group]
            if np.shape(value) != expected:
                raise ValueError(f"feature {feature.name!r}: expected shape {expected}; received {np.shape(value)}")
            values[:, :, i] = value if feature.per_group else value[:, None]
        values = clipped(values, np.array([row.low for row in rows]), np.array([row.high for row in rows]))
        values[np.isnan(values)] = 0.0
        return values.astype(np.float32)


def flatten(observation: Array, names: Sequence[str] = FEATURE_NAMES) -> Array:
    """Turn the groups' views, [N, G, R + F], into one row a run: `[run | group 1 | group 2 ...]`, [N, R + F G]."""
    split = num_run_features(names)
    return np.concatenate([observation[:, 0, :split], observation[:, :, split:].reshape(len(observation), -1)], axis=-1)


def unflatten(observation: Array, names: Sequence[str] = FEATURE_NAMES) -> Array:
    """Undo `flatten`: [N, R + F G] to [N, G, R + F]."""
    split = num_run_features(names)
    group = observation[:, split:].reshape(len(observation), -1, len(names) - split)
    shared = np.broadcast_to(observation[:, None, :split], (*group.shape[:2], split))
    return np.concatenate([shared, group], axis=-1)


def bounds(num_groups: int, names: Sequence[str] = FEATURE_NAMES) -> tuple[Array, Array]:
    """Return the least and greatest flat observation of a run with `num_groups` groups, [R + F G] each."""
    split = num_run_features(names)
    rows = [FEATURES[name] for name in (*names[:split], *(tuple(names[split:]) * num_groups))]
    return np.array([f.low for f in rows], np.float32), np.array([f.high for f in rows], np.float32)
