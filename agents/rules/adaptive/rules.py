"""The rules of the adaptive optimizer, one row of data each, and their composition.

A rule's value is a number of decades, 0 where it is neutral: with u the sum of a hyperparameter's rules,

    lr' = lr 10^u,   weight_decay' = weight_decay 10^u,   b' = 1 - (1 - b) 10^-u  for momentum, betas and alpha.

A rule is a function of running statistics and no state of its own, so a factor does not ratchet: the
same curve again gives the same factor again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.rules.adaptive.loss_curve import Statistics, Value, clip
from optenv.errors import unknown_name

LIMITS = {"lr": (-2.0, 1.0), "momentum": (-1.0, 1.0), "beta1": (-1.0, 1.0), "beta2": (-1.0, 1.0),
          "alpha": (-1.0, 1.0), "weight_decay": (-1.0, 1.0)}  # fmt: skip
"""Range of the sum of a hyperparameter's rules, in decades."""


@dataclass(frozen=True)
class AdaptiveRule:
    """One rule; several rows of one name act together.

    Attributes:
      target: which argument of the controller names it: "lr" for `lr_rule`, and so on.
      name: what the argument says.
      moves: the hyperparameter.
      low: least value, in decades.
      high: greatest.
      formula: what the function computes; T, C, h, B, q: the statistics trend, change, height, burst, standing.
      function: from statistics to the value, clipped to the bounds.
    """

    target: str
    name: str
    moves: str
    low: float
    high: float
    formula: str
    function: Callable[[Statistics], Value]

    def __call__(self, statistics: Statistics) -> Value:
        """Return the rule's value, in decades."""
        return clip(self.function(statistics), self.low, self.high)


def _annealed(share: float) -> float:
    return float(np.log10(max(0.5 * (1.0 + np.cos(np.pi * share)), 0.01)))


_ROWS: tuple[tuple[Any, ...], ...] = (
    ("lr", "trend", "lr", -1.0, 1.0, "T: up while the loss falls, down while it rises", lambda s: s.trend),
    ("lr", "variance", "lr", -0.5, 0.15, "-B: down while the loss is noisier than usual", lambda s: -s.burst),
    ("lr", "cosine", "lr", -2.0, 0.0, "log10((1 + cos(pi t / length)) / 2), from t = length on its least value",
     lambda s: _annealed(s.once)),
    ("lr", "cosine_restart", "lr", -2.0, 0.0, "the same with restarts; each cycle `mult` times as long as the last "
     "(Loshchilov and Hutter 2017)", lambda s: _annealed(s.restarted)),
    ("momentum", "inverse", "momentum", -0.5, 0.5, "0.5 (1 - h) / (1 + h): up as the loss comes down",
     lambda s: 0.5 * (1.0 - s.height) / (1.0 + s.height)),
    ("momentum", "relative", "momentum", -0.25, 0.25, "T / 4: up while the loss falls", lambda s: 0.25 * s.trend),
    ("momentum", "normalized", "momentum", -0.5, 0.5, "C: by the recent fall in units of the fall so far",
     lambda s: s.change),
    ("betas", "relative", "beta1", -0.25, 0.25, "T / 4: up while the loss falls", lambda s: 0.25 * s.trend),
    # An outdated second moment is what turns a burst into a spike (Wortsman et al. 2023), so it forgets faster.
    ("betas", "variance", "beta2", -0.5, 0.5, "-0.5 B: forget faster while the loss is noisier than usual",
     lambda s: -0.5 * s.burst),
    ("alpha", "stable", "alpha", -0.5, 0.5, "-0.5 B: remember longer while the loss is calmer than usual",
     lambda s: -0.5 * s.burst),
    ("wd", "trend", "weight_decay", -0.5, 0.5, "-0.5 T: down while the loss falls", lambda s: -0.5 * s.trend),
    ("reward", "scaling", "lr", -1.0, 1.0, "log10 q: the rate in proportion to the reward above its worst",
     lambda s: np.log10(np.maximum(s.standing, 1e-9))),
    ("reward", "trend", "lr", -0.5, 0.5, "0.5 T of minus the reward: up while it rises", lambda s: 0.5 * s.trend),
    ("reward", "trend", "momentum", -0.25, 0.25, "0.25 T of minus the reward", lambda s: 0.25 * s.trend),
    ("reward", "trend", "beta1", -0.25, 0.25, "0.25 T of minus the reward", lambda s: 0.25 * s.trend),
    ("reward", "variance", "lr", -0.5, 0.5, "-B of the reward: down while it is noisier than usual",
     lambda s: -s.burst),
)  # fmt: skip
RULES = tuple(AdaptiveRule(*row) for row in _ROWS)

Spec = str | Sequence[str] | None


def parse(target: str, spec: Spec) -> tuple[AdaptiveRule, ...]:
    """Return the rows a rule argument names.

    Args:
      target: "lr", "momentum", "betas", "alpha", "wd" or "reward".
      spec: a name, several joined by "+", a sequence of such, or None for no rule.

    Raises:
      ValueError: if a name is unknown or repeated.
    """
    parts = [spec] if isinstance(spec, str) else [part for part in spec or () if part is not None]
    names = [name.strip() for part in parts for name in part.split("+")]
    known = list(dict.fromkeys(rule.name for rule in RULES if rule.target == target))
    for name in names:
        if name not in known:
            raise unknown_name(f"{target}_rule", name, known)
    if len(set(names)) < len(names):
        raise ValueError(f"{target}_rule: expected each name once; received {spec!r}")
    return tuple(rule for name in names for rule in RULES if (rule.target, rule.name) == (target, name))


def decades(rules: Iterable[AdaptiveRule], statistics: Statistics) -> dict[str, Value]:
    """Return the sum of the rules of each hyperparameter they move, not yet limited."""
    total: dict[str, Value] = {}
    for rule in rules:
        total[rule.moves] = total.get(rule.moves, 0.0) + rule(statistics)
    return total


def limited(*sums: dict[str, Value]) -> dict[str, Value]:
    """Add up sums of rules and limit each hyperparameter's to `LIMITS`."""
    names = dict.fromkeys(name for sum_ in sums for name in sum_)
    return {name: clip(sum(sum_.get(name, 0.0) for sum_ in sums), *LIMITS[name]) for name in names}
