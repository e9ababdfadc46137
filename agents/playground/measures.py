"""Results of a race: how far each method got, when it arrived, left or diverged, and who won."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agents.playground.race import Race

Array = np.ndarray


@dataclass(frozen=True)
class Standing:
    """How one method did.

    Attributes:
      label: its name.
      final_loss: the function's value at its end; NaN if it diverged.
      distance: from there to the nearest minimum, in units of x and y; NaN if it diverged.
      steps_to_tolerance: first iteration with a loss of at most the tolerance, or None.
      left_at: first iteration outside the domain, or None.
      returned: whether it ended inside all the same.
      diverged_at: iteration at which it diverged, or None.
      winner: whether it has the least final loss, and among equals arrived first.
    """

    label: str
    final_loss: float
    distance: float
    steps_to_tolerance: int | None
    left_at: int | None
    returned: bool
    diverged_at: int | None
    winner: bool = False


def standings(race: Race, tolerance: float) -> list[Standing]:
    """Sum up every method.

    Args:
      race: what happened.
      tolerance: loss above the minimum, which is 0, that counts as arrived.
    """
    outside = ~inside(race.points, race.function.bounds)  # [K, T + 1]
    outside &= np.isfinite(race.points).all(-1)
    minima = np.array(race.function.minima)  # [M, 2]
    distance = np.linalg.norm(race.points[:, -1, None] - minima, axis=-1).min(-1)
    final = race.losses[:, -1]
    reached = [_first(row <= tolerance) for row in race.losses]
    best = _winner(final, reached)
    rows = []
    for k, label in enumerate(race.labels):
        left, diverged = _first(outside[k]), int(race.diverged_at[k])
        returned = left is not None and not outside[k, -1] and diverged < 0
        rows.append(
            Standing(
                label,
                float(final[k]),
                float(distance[k]),
                reached[k],
                left,
                returned,
                diverged if diverged >= 0 else None,
                k == best,
            )
        )
    return rows


def summary_rows(race: Race, tolerance: float) -> list[dict[str, Any]]:
    """List the standings as rows for a file."""
    return [asdict(standing) for standing in standings(race, tolerance)]


def race_rows(race: Race) -> list[dict[str, Any]]:
    """List method, iteration, x, y, loss and gradient norm, a row per method and iteration, until it diverges."""
    rows = []
    for k, label in enumerate(race.labels):
        for t in np.flatnonzero(np.isfinite(race.losses[k])).tolist():
            x, y = race.points[k, t].tolist()
            rows.append(
                {
                    "method": label,
                    "iteration": t,
                    "x": x,
                    "y": y,
                    "loss": float(race.losses[k, t]),
                    "gradient_norm": float(race.gradient_norms[k, t]),
                }
            )
    return rows


def inside(points: Array, bounds: tuple[float, float, float, float]) -> Array:
    """Say which points, [..., 2], lie in the domain, its border included."""
    low_x, high_x, low_y, high_y = bounds
    x, y = points[..., 0], points[..., 1]
    return (x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y)


def _first(flags: Array) -> int | None:
    return int(np.argmax(flags)) if flags.any() else None


def _winner(final: Array, reached: list[int | None]) -> int | None:
    finite = [k for k in range(len(final)) if np.isfinite(final[k])]
    if not finite:
        return None
    never = np.inf
    return min(finite, key=lambda k: (final[k], never if reached[k] is None else reached[k]))
