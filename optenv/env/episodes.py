"""What is drawn for an episode, and the losses a reward is computed from."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from optenv.env.settings import EnvSettings, as_range
from optenv.rewards import LossTrace, Reward

Array = np.ndarray
DIVERGENCE_FACTOR = 1e3
DIVERGENCE_PENALTY = 3.0


@dataclass
class Episodes:
    """The episodes under way in N rows.

    Attributes:
      seed: seed of each run, [N] uint64.
      member: member of the family, [N].
      rate: base learning rate, [N].
      total: budget in inner steps, [N].
      step: inner steps taken, [N].
      first: probe loss at the start, [N].
      current: newest probe loss, [N].
      best: least probe loss, [N].
      twin: newest probe loss of the uncontrolled twin, [N]; NaN where none is run.
    """

    seed: Array
    member: Array
    rate: Array
    total: Array
    step: Array
    first: Array
    current: Array
    best: Array
    twin: Array

    @classmethod
    def draw(cls, generators: list[np.random.Generator], settings: EnvSettings, num_members: int) -> Episodes:
        """Draw one episode from each generator; the losses are yet to be measured."""
        rows = [_draw(g, settings, num_members) for g in generators]
        seed, member, rate, total = (np.array(column) for column in zip(*rows, strict=True))
        losses = [np.full(len(rows), np.nan) for _ in range(4)]
        return cls(seed.astype(np.uint64), member.astype(int), rate, total, np.zeros(len(rows)), *losses)

    def put(self, rows: Array, fresh: Episodes) -> None:
        """Replace the episodes in `rows` by those of `fresh`."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(fresh, field.name)

    def measure_first(self, rows: Array, probe: Array, twin: Array) -> None:
        """Record the probe losses, [n] each, with which the episodes in `rows`, [n], begin."""
        for name in ("first", "current", "best"):
            getattr(self, name)[rows] = probe
        self.twin[rows] = twin

    def advance(self, steps: Array | int, probe: Array, twin: Array, lower_bound: Array | float) -> LossTrace:
        """Record the probe losses after `steps` more inner steps, [N] each, and return the trace of these."""
        self.step = self.step + steps
        # A lost twin stands at the loss at which a run is given up: to be better than it pays that much, not more.
        ceiling = self._ceiling(lower_bound)
        stands = np.where(np.isfinite(twin), np.minimum(twin, ceiling), ceiling)
        twin = np.where(np.isnan(self.twin), self.twin, stands)
        trace = LossTrace(
            first=self.first,
            previous=self.current,
            current=probe,
            best=self.best,
            twin_previous=self.twin,
            twin_current=twin,
            progress=self.step / self.total,
            share=steps / self.total,
            lower_bound=lower_bound,
        )
        self.current, self.twin = probe, twin
        self.best = np.fmin(self.best, probe)
        return trace

    def diverged(self, interval_loss: Array, lower_bound: Array | float) -> Array:
        """Tell which runs are lost, [N] bool: a loss not finite, the first one included, or far above its start."""
        finite = np.isfinite(self.first) & np.isfinite(self.current) & np.isfinite(interval_loss)
        return ~finite | (self.current > self._ceiling(lower_bound))

    def _ceiling(self, lower_bound: Array | float) -> Array:
        """Return the loss above which a run is given up, [N]."""
        # Where no bound is known, the start's own magnitude is the unit.
        with np.errstate(invalid="ignore"):
            bound = np.where(np.isfinite(lower_bound), lower_bound, self.first - np.abs(self.first))
            return bound + DIVERGENCE_FACTOR * np.abs(self.first - bound) + 1e-12


def earned(reward: Reward, trace: LossTrace, diverged: Array) -> Array:
    """Return what a control step earns, [N]: the reward, or a fixed penalty where the run is lost.

    Raises:
      ValueError: if the reward raises, or is not one finite number for every run that goes on.
    """
    expected = f"reward {reward.name!r}: expected {len(diverged)} finite numbers, one a run; "
    try:
        with np.errstate(all="ignore"):
            given = np.asarray(reward.function(trace)).astype(float, casting="same_kind")
    except Exception as error:
        raise ValueError(f"{expected}received {type(error).__name__}: {error}") from error
    found = given.tolist() if given.shape == diverged.shape else f"shape {given.shape}"
    if given.shape != diverged.shape or not np.isfinite(given[~diverged]).all():
        raise ValueError(f"{expected}received {found}")
    return np.where(diverged, -DIVERGENCE_PENALTY, given)


def _draw(generator: np.random.Generator, settings: EnvSettings, num_members: int) -> tuple[int, int, float, int]:
    seed = int(generator.integers(2**63))
    member = int(generator.integers(num_members))
    rate = _log_uniform(generator, as_range(settings.lr))
    steps = _log_uniform(generator, as_range(settings.num_inner_steps))
    decisions = -(-round(steps) // settings.steps_per_action)
    return seed, member, rate, decisions * settings.steps_per_action


def _log_uniform(generator: np.random.Generator, bounds: tuple[float, float]) -> float:
    low, high = bounds
    share = generator.uniform()
    return float(low) if low == high else float(low * (high / low) ** share)
