"""One control loop for both hosts: signals in, observation out; action in, knob values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURES, observe
from optenv.control.knobs import KNOBS, RATE, Knob, clipped
from optenv.control.signals import Interval, Signals, carried

Array = np.ndarray


class ControlLoop:
    """State of the control of N runs with G groups each.

    Attributes:
      interface: what is observed and set.
      signals: running statistics of every run.
      positions: accumulated relative actions, [N, G, knobs]; the last action under absolute control.
      lost: whether the last control step met a loss that is not finite, [N] bool.
    """

    def __init__(
        self, interface: Interface, total: Array, num_groups: int, authority: tuple[float, float] | None = None
    ):
        """Begin runs.

        Args:
          interface: what is observed and set.
          total: budgets in inner steps, [N], NaN where unknown.
          num_groups: G.
          authority: least and greatest scale; None: as far as the knob goes.
        """
        self.interface, self.authority = interface, authority
        self._relative = interface.control == "relative"
        self._limits = position_limits(interface, authority)
        self._steps = np.array([knob.step for knob in self._knobs])
        self.lost = np.zeros(len(total), bool)
        self.signals = Signals.start(total, num_groups)
        self.positions = np.zeros((len(total), num_groups, len(self._knobs)))
        self._first_log_scale = np.zeros((len(total), num_groups))

    @property
    def _knobs(self) -> list[Knob]:
        # Looked up, not kept: a knob's functions cannot be pickled.
        return [KNOBS[name] for name in self.interface.knobs]

    def start_at(self, size: Array) -> None:
        """Set the first scales such that the whole model's first updates have the size that the interface asks for.

        Args:
          size: that of the updates at the base rate, [N, G]: see `update_ratio`, or `update_norm` where the interface
            has a `first_update_norm`; where it is 0 or not finite the run starts from the base rate.
        """
        if not self.interface.sets_first_scale:
            return
        with np.errstate(all="ignore"):
            wanted = np.log((self.interface.first_update or self.interface.first_update_norm) / size)
        column = self.interface.knobs.index("scale")
        self.positions[:, :, column] = np.clip(np.where(np.isfinite(wanted), wanted, 0.0), *self._limits[column])
        self._first_log_scale = self._log_scale()

    def decide(self, controller: Controller) -> dict[str, Array]:
        """Let a controller observe and act, and return the knob values it has set, [N, G] each."""
        controller.alarm(self.lost)
        return self.apply(controller.act(self.observe()))

    def observe(self) -> Array:
        """Return every group's view, [N, G, features] float32."""
        return observe(self.signals, self.interface.features)

    def apply(self, action: Array) -> dict[str, Array]:
        """Turn an action into the knobs' values.

        Args:
          action: [N, G, knobs]; clipped to [-1, 1].

        Returns:
          Each knob's value by name, [N, G].

        Raises:
          ValueError: if the action has another shape or is NaN.
        """
        action = self._check(action)
        if self._relative:
            moved = self.positions + action * self._steps
            self.positions = clipped(moved, self._limits[:, 0], self._limits[:, 1])
        else:
            self.positions = clipped(action, self._limits[:, 0], self._limits[:, 1])
        return self.values()

    def share_rates(self) -> None:
        """Give all groups of a run the mean position of every knob that moves the rate."""
        moving = [KNOBS[name].moves == RATE for name in self.interface.knobs]
        self.positions[..., moving] = self.positions[..., moving].mean(axis=1, keepdims=True)

    def values(self) -> dict[str, Array]:
        """Return the knob values in force, [N, G] each."""
        control, knobs = self.interface.control, self._knobs
        return {knob.name: knob.values(self.positions[:, :, i], control) for i, knob in enumerate(knobs)}

    def advance(self, interval: Interval, learner: Controller | None = None) -> None:
        """Take in the control step that has ended; the last of the three calls of every control step.

        A control step is `decide` (or `observe` and `apply`), inner steps under the values, `advance`.

        Args:
          interval: what happened during the control step.
          learner: a controller that is told its reward, see `Controller.learn`: the feature "improvement",
            unbounded, in which all runs count alike: the decrease of the loss in units of the decrease so far; the
            least that the feature can be where a loss was not finite. None tells nobody.
        """
        self.lost = ~np.isfinite(interval.loss) if interval.lost is None else interval.lost
        self.signals.advance(interval, self._log_scale() - self._first_log_scale)
        if learner is not None:
            self._report_reward(learner)

    def take_validation(self, loss: Array, rows: Array) -> None:
        """Take in the validation losses, [n], of the runs in `rows`, [n]; where one is not finite there is none."""
        known = np.full(len(self.lost), np.nan)
        known[rows] = loss
        self.signals.take_validation(known)

    def _report_reward(self, learner: Controller) -> None:
        s, improvement = self.signals, FEATURES["improvement"]
        with np.errstate(all="ignore"):
            reward = np.where(self.lost, improvement.low, improvement.function(s))
        learner.learn(reward, (s.step >= s.total) & (s.step - s.interval < s.total))

    def put(self, rows: Array, fresh: ControlLoop) -> None:
        """Replace the runs at the indices `rows` by those of `fresh`."""
        self.signals.put(rows, fresh.signals)
        self.lost[rows] = False
        self.positions[rows] = fresh.positions
        self._first_log_scale[rows] = fresh._first_log_scale

    def regroup(self, sources: Array, rates: Sequence[Sequence[float]] | None = None) -> None:
        """Go on with other groups, the new ones at neutral.

        Args:
          sources: as in `signals.carried`.
          rates: of the groups that stay, or where none does of all before, and of the new ones: under a controller that
            sets its own first scale, these then start at the others' effective rate, rate times scale.
        """
        fresh = ControlLoop(self.interface, self.signals.total, len(sources), self.authority)
        if self.interface.sets_first_scale and rates is not None:
            self._join(fresh, sources, *map(np.array, rates))
        log_scale = carried(self.signals.log_scale, fresh.signals.log_scale, sources)
        self.signals = self.signals.regrouped(sources)
        self.signals.log_scale = log_scale
        self.positions = carried(self.positions, fresh.positions, sources)
        self._first_log_scale = carried(self._first_log_scale, fresh._first_log_scale, sources)

    def _join(self, fresh: ControlLoop, sources: Array, others: Array, new: Array) -> None:
        """Put new groups at the geometric mean of the others' effective rates; a rate of 0 does not count."""
        places = (sources[sources >= 0] if (sources >= 0).any() else np.arange(len(others)))[others > 0.0]
        if not len(places):
            return
        column = self.interface.knobs.index("scale")
        effective = (np.log(others[others > 0.0]) + self.positions[:, places, column]).mean(axis=1)
        with np.errstate(divide="ignore"):
            wanted = effective[:, None] - np.log(new)
        wanted = np.clip(np.where(np.isfinite(wanted), wanted, 0.0), *self._limits[column])
        fresh.positions[:, sources < 0, column] = wanted
        since_first = (self._log_scale() - self._first_log_scale)[:, places].mean(axis=1)
        fresh._first_log_scale = fresh._log_scale() - since_first[:, None]
        fresh.signals.log_scale[:] = since_first[:, None]

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state, as numpy arrays."""
        first = self._first_log_scale
        return {
            "signals": dict(vars(self.signals)),
            "positions": self.positions,
            "first_log_scale": first,
            "lost": self.lost,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        fresh = Signals.start(state["signals"]["total"], state["positions"].shape[1])
        self.signals = replace(fresh, **state["signals"])
        self.positions, self._first_log_scale = state["positions"], state["first_log_scale"]
        self.lost = state["lost"]

    def _check(self, action: Array) -> Array:
        action = np.asarray(action, dtype=float)
        if action.shape != self.positions.shape:
            raise ValueError(
                f"action: expected shape [runs, groups, knobs] = {self.positions.shape}; received {action.shape}"
            )
        if np.isnan(action).any():
            raise ValueError("action: expected numbers in [-1, 1]; received NaN")
        return clipped(action, -1.0, 1.0)

    def _log_scale(self) -> Array:
        if "scale" not in self.interface.knobs:
            return np.zeros(self.positions.shape[:2])
        positions = self.positions[:, :, self.interface.knobs.index("scale")]
        return np.log10(KNOBS["scale"].values(positions, self.interface.control))


def check_learner(controller: Controller) -> None:
    """Check that a controller which is to be told its rewards learns from them.

    Raises:
      ValueError: if it does not.
    """
    if not controller.learns:
        raise ValueError(f"learn: expected a controller that learns; received {type(controller).__name__}")


def position_limits(interface: Interface, authority: tuple[float, float] | None = None) -> Array:
    """Return the least and the greatest position of each knob, [knobs, 2].

    Args:
      interface: which knobs, and how they are controlled.
      authority: least and greatest scale; None: as far as the knob goes.

    >>> position_limits(Interface(knobs=("scale",)), (0.1, 10.0)).tolist()
    [[-0.5, 1.0]]
    """
    relative = interface.control == "relative"
    limits = np.array([KNOBS[name].limits if relative else (-1.0, 1.0) for name in interface.knobs])
    if authority is not None and "scale" in interface.knobs:
        scale = KNOBS["scale"]
        low, high = np.log(authority)
        if not relative:  # the inverse of 10^a above 0 and 100^a below
            low, high = -low / np.log(scale.low), high / np.log(scale.high)
        row = limits[interface.knobs.index("scale")]
        row[:] = max(row[0], low), min(row[1], high)
    return limits
