"""What the rules know of a loss curve: running statistics that neither a unit nor a constant added to it moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Value = Any  # a number, or an array of one per run; every formula holds for both
SIGNIFICANT = 3.0
_TINY = 1e-300


@dataclass(frozen=True)
class Statistics:
    """What rules are functions of; with these defaults every rule is neutral.

    Attributes:
      trend: how surely the loss falls (towards 1) or rises (towards -1), averaged; a fluctuation of one standard
        error counts 0.04, one of three counts 0.5. Its expectation is 0 while the loss stands still.
      change: fall between the slow and the fast average, in units of the fall so far; 0 in expectation likewise.
      height: (m - best + noise) / (first - best + noise), m the fast average: 1 at the start, 0 at the bottom.
      burst: log10 of the present noise minus its own long average; 0 in expectation while the noise is stationary.
      standing: the worst value's distance to the fast average over that to the slow one: how good the present is,
        for a reward.
      once: share passed of one cycle, 1 after it.
      restarted: share passed of the present cycle.
    """

    trend: Value = 0.0
    change: Value = 0.0
    height: Value = 1.0
    burst: Value = 0.0
    standing: Value = 1.0
    once: float = 0.0
    restarted: float = 0.0


@dataclass(frozen=True)
class Windows:
    """Memories of the averages, in observations."""

    fast: float = 10.0
    slow: float = 50.0
    trend: float = 50.0
    noise: float = 20.0
    log_noise: float = 200.0


class LossCurve:
    """Running statistics of a loss, or of minus a reward, x_1, x_2, ...

    Averages are exponential with weight max(1 / window, 1 / n) for the n-th value, so that the first
    value does not outlive its window. The noise variance is half the mean squared difference of
    successive values, which a slow trend hardly moves. Then

        trend <- trend + (s(z) - trend) / window,  z = (slow - fast) / (c noise),  s(z) = z^3 / (27 + |z|^3)

    with c the standard deviation of slow - fast for white noise of variance 1. s is odd, so a noise
    that is symmetric about a constant moves nothing in expectation, and nearly flat within two
    standard errors, so it moves little in between. Nothing is summed up without forgetting, so no
    bias, as of a skewed noise, can add up over a run.

    Attributes:
      values: the running averages by name, and how many values were counted.
    """

    def __init__(self, windows: Windows | None = None):
        """Begin a curve."""
        self._windows = windows or Windows()
        self._spread = white_noise_spread(self._windows)
        self.values: dict[str, Value] = {"count": 0}

    def update(self, x: Value, noise: Value | None = None) -> None:
        """Take in the next value, finite, and its noise variance where that is known."""
        s = self.values
        if s["count"] == 0:
            s |= dict.fromkeys(("last", "fast", "slow", "first", "best", "worst"), x)
            s |= dict.fromkeys(("noise", "log_noise", "trend"), 0.0 * x) | {"count": 1}
            return
        s["count"] += 1
        variance = 0.5 * (x - s["last"]) ** 2 if noise is None else noise
        self._average(s["count"] - 1, noise=variance)
        self._average(s["count"] - 1, log_noise=_log_deviation(s["noise"], x))
        self._average(s["count"], fast=x, slow=x)
        if s["count"] <= self._windows.fast:
            s["first"] = s["best"] = s["fast"]
        s["best"], s["worst"], s["last"] = np.minimum(s["best"], s["fast"]), np.maximum(s["worst"], x), x
        z = clip((s["slow"] - s["fast"]) / (self._spread * np.sqrt(s["noise"]) + _TINY), -1e3, 1e3)
        self._average(np.inf, trend=z**3 / (SIGNIFICANT**3 + abs(z) ** 3))

    def _average(self, count: float, **values: Value) -> None:
        for name, value in values.items():
            weight = max(1.0 / getattr(self._windows, name), 1.0 / count)
            self.values[name] = self.values[name] + (value - self.values[name]) * weight

    def statistics(self) -> Statistics:
        """Return what is known so far."""
        s = self.values
        if s["count"] < 2:
            return Statistics()
        noise = np.sqrt(s["noise"])
        reach = s["first"] - s["best"] + noise + _TINY
        burst = _log_deviation(s["noise"], s["last"]) - s["log_noise"]
        standing = (s["worst"] - s["fast"] + _TINY) / (s["worst"] - s["slow"] + _TINY)
        return Statistics(
            s["trend"],
            (s["slow"] - s["fast"]) / reach,
            (s["fast"] - s["best"] + noise + _TINY) / reach,
            burst,
            standing,
        )


def clip(x: Value, low: float, high: float) -> Value:
    """Return x within [low, high]; of a single number in a fraction of the time of `numpy.clip`."""
    return np.minimum(np.maximum(x, low), high)


def _log_deviation(variance: Value, x: Value) -> Value:
    """Return log10 of the standard deviation; what lies below the resolution of x counts as that."""
    return np.log10(np.sqrt(variance) + 1e-8 * abs(x) + _TINY)


def white_noise_spread(windows: Windows) -> float:
    """Return the standard deviation of the slow minus the fast average of white noise of variance 1.

    With weights a and b: a / (2 - a) + b / (2 - b) - 2 a b / (a + b - a b).
    """
    a, b = 1.0 / windows.fast, 1.0 / windows.slow
    return math.sqrt(a / (2.0 - a) + b / (2.0 - b) - 2.0 * a * b / (a + b - a * b))


def cycle(time: int, length: int, mult: int) -> tuple[float, float]:
    """Return the share passed of the first cycle, at most 1, and that of the present one; cycle i takes length mult^i.

    >>> cycle(500, 500, 2), cycle(1000, 500, 2)
    ((1.0, 0.0), (1.0, 0.5))
    """
    once = min(time / length, 1.0)
    while time >= length:
        time, length = time - length, length * mult
    return once, time / length


def check_cycle(length: Any, mult: Any) -> tuple[int, int]:
    """Return both.

    Raises:
      ValueError: if one is not a whole number of at least 1.
    """
    for name, number in (("cycle_length", length), ("cycle_mult", mult)):
        if not isinstance(number, int) or number < 1:
            raise ValueError(f"{name}: expected a whole number of at least 1; received {number!r}")
    return length, mult
