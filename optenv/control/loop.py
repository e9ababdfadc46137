"""One control loop for both hosts: signals in, observation out; action in, knob values out."""

from __future__ import annotations

from typing import Any

import numpy as np

from optenv.control.controller import Interface
from optenv.control.features import observe
from optenv.control.knobs import KNOBS, Knob
from optenv.control.signals import Interval, Signals, carried

Array = np.ndarray


class ControlLoop:
    """State of the control of N runs with G groups each.

    Attributes:
      interface: what is observed and turned.
      signals: running statistics of every run.
      positions: accumulated relative actions, [N, G, knobs]; the last action under absolute control.
    """

    def __init__(self, interface: Interface, total: Array, num_groups: int):
        """Begin runs with budgets `total`, [N] inner steps, NaN where unknown."""
        self.interface = interface
        self._relative = interface.control == "relative"
        self.signals = Signals.start(total, num_groups)
        self.positions = np.zeros((len(total), num_groups, len(self._knobs)))
        self._first_log_scale = np.zeros((len(total), num_groups))

    @property
    def _knobs(self) -> list[Knob]:
        # Looked up, not kept: a knob's functions cannot be pickled.
        return [KNOBS[name] for name in self.interface.knobs]

    def start_at(self, ratio: Array) -> None:
        """Set the first scales such that each group's first update is `first_update` of its weights.

        Args:
          ratio: norm of the first update at the base rate over that of the weights, [N, G]; where
            it is 0 or not finite the run starts from the base rate.
        """
        if self.interface.first_update is None:
            return
        with np.errstate(all="ignore"):
            wanted = np.log(self.interface.first_update / ratio)
        column = self.interface.knobs.index("scale")
        self.positions[:, :, column] = np.clip(np.where(np.isfinite(wanted), wanted, 0.0), *KNOBS["scale"].limits)
        self._first_log_scale = self._log_scale()

    def observe(self) -> Array:
        """Return every group's view, [N, G, features] float32."""
        return observe(self.signals)

    def apply(self, action: Array) -> dict[str, Array]:
        """Turn an action into knob values.

        Args:
          action: [N, G, knobs]; clipped to [-1, 1].

        Returns:
          Each knob's value by name, [N, G].

        Raises:
          ValueError: if the action has another shape or is NaN.
        """
        action = self._check(action)
        if self._relative:
            limits = np.array([knob.limits for knob in self._knobs])
            moved = self.positions + action * np.array([knob.step for knob in self._knobs])
            self.positions = np.clip(moved, limits[:, 0], limits[:, 1])
        else:
            self.positions = action
        return self.values()

    def values(self) -> dict[str, Array]:
        """Return the knob values in force, [N, G] each."""
        maps = [(k.relative if self._relative else k.absolute) for k in self._knobs]
        return {k.name: m(self.positions[:, :, i]) for i, (k, m) in enumerate(zip(self._knobs, maps, strict=True))}

    def advance(self, interval: Interval) -> None:
        """Take in what happened during the last control step."""
        self.signals.advance(interval, self._log_scale() - self._first_log_scale)

    def put(self, rows: Array, fresh: ControlLoop) -> None:
        """Replace the runs at the indices `rows` by those of `fresh`."""
        self.signals.put(rows, fresh.signals)
        self.positions[rows] = fresh.positions
        self._first_log_scale[rows] = fresh._first_log_scale

    def regroup(self, sources: Array) -> None:
        """Go on with other groups, the new ones at neutral; `sources` as in `signals.carried`."""
        fresh = ControlLoop(self.interface, self.signals.total, len(sources))
        self.signals = self.signals.regrouped(sources)
        self.positions = carried(self.positions, fresh.positions, sources)
        self._first_log_scale = carried(self._first_log_scale, fresh._first_log_scale, sources)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state, as numpy arrays."""
        first = self._first_log_scale
        return {"signals": dict(vars(self.signals)), "positions": self.positions, "first_log_scale": first}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.signals = Signals(**state["signals"])
        self.positions, self._first_log_scale = state["positions"], state["first_log_scale"]

    def _check(self, action: Array) -> Array:
        action = np.asarray(action, dtype=float)
        if action.shape != self.positions.shape:
            raise ValueError(
                f"action: expected shape [runs, groups, knobs] = {self.positions.shape}; received {action.shape}"
            )
        if np.isnan(action).any():
            raise ValueError("action: expected numbers in [-1, 1]; received NaN")
        return np.clip(action, -1.0, 1.0)

    def _log_scale(self) -> Array:
        if "scale" not in self.interface.knobs:
            return np.zeros(self.positions.shape[:2])
        return np.log10(self.values()["scale"])
