"""The average of a run's weights that may be kept instead of the weights themselves; the same in both hosts."""

from __future__ import annotations

MEMORY = 10.0


def newest_share(count: int) -> float:
    """Return the weight of the newest of `count` weights in their average, min(1, 10 / count).

    With it the average reaches back over about the last fifth of a run, however long (Shamir and Zhang 2013,
    polynomial-decay averaging). docs/research.md has other memories.

    >>> newest_share(1), newest_share(100)
    (1.0, 0.1)
    """
    return min(1.0, MEMORY / count)
