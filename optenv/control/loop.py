"""One control loop for both hosts: signals in, observation out; action in, knob values out."""

from __future__ import annotations

from typing import Any

import numpy as np

from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURES, observe
from optenv.control.knobs import KNOBS, Knob, clipped
from optenv.control.signals import Interval, Signals, carried

Array = np.ndarray


class ControlLoop:
    """State of the control of N runs with G groups each.

    Attributes:
      interface: what is observed and turned.
      signals: running statistics of every run.
      positions: accumulated relative actions, [N, G, knobs]; the last action under absolute control.
      lost: whether the last control step met a loss that is not finite, [N] bool.
    """

    def __init__(self, interface: Interface, total: Array, num_groups: int,
                 authority: tuple[float, float] | None = None):  # fmt: skip
        """Begin runs.

        Args:
          interface: what is observed and turned.
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

    def start_at(self, ratio: Array) -> None:
        """Set the first scales such that the model's updates begin at `first_update` of its weights.

        Args:
          ratio: size of the updates at the base rate over that of the weights, [N, G]; where
            it is 0 or not finite the run starts from the base rate.
        """
        if self.interface.first_update is None:
            return
        with np.errstate(all="ignore"):
            wanted = np.log(self.interface.first_update / ratio)
        column = self.interface.knobs.index("scale")
        self.positions[:, :, column] = np.clip(np.where(np.isfinite(wanted), wanted, 0.0), *self._limits[column])
        self._first_log_scale = self._log_scale()

    def decide(self, controller: Controller) -> dict[str, Array]:
        """Let a controller observe and act, and return the knob values it has set, [N, G] each."""
        controller.alarm(self.lost)
        return self.apply(controller.act(self.observe()))

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
            moved = self.positions + action * self._steps
            self.positions = clipped(moved, self._limits[:, 0], self._limits[:, 1])
        else:
            self.positions = clipped(action, self._limits[:, 0], self._limits[:, 1])
        return self.values()

    def values(self) -> dict[str, Array]:
        """Return the knob values in force, [N, G] each."""
        maps = [(k.relative if self._relative else k.absolute) for k in self._knobs]
        return {k.name: m(self.positions[:, :, i]) for i, (k, m) in enumerate(zip(self._knobs, maps, strict=True))}

    def advance(self, interval: Interval) -> None:
        """Take in what happened during the last control step."""
        self.lost = ~np.isfinite(interval.loss) if interval.lost is None else interval.lost
        self.signals.advance(interval, self._log_scale() - self._first_log_scale)

    def pay(self, controller: Controller) -> None:
        """Tell a controller what came of its last action, by `Controller.learn`; after `advance`.

        The reward is the feature "improvement", unbounded, in which all runs count alike: the decrease of the loss in
        units of the decrease so far; the least that the feature can be where a loss was not finite.
        """
        s, improvement = self.signals, FEATURES["improvement"]
        with np.errstate(all="ignore"):
            reward = np.where(self.lost, improvement.low, improvement.function(s))
        controller.learn(reward, (s.step >= s.total) & (s.step - s.interval < s.total))

    def put(self, rows: Array, fresh: ControlLoop) -> None:
        """Replace the runs at the indices `rows` by those of `fresh`."""
        self.signals.put(rows, fresh.signals)
        self.lost[rows] = False
        self.positions[rows] = fresh.positions
        self._first_log_scale[rows] = fresh._first_log_scale

    def regroup(self, sources: Array) -> None:
        """Go on with other groups, the new ones at neutral; `sources` as in `signals.carried`."""
        fresh = ControlLoop(self.interface, self.signals.total, len(sources), self.authority)
        self.signals = self.signals.regrouped(sources)
        self.positions = carried(self.positions, fresh.positions, sources)
        self._first_log_scale = carried(self._first_log_scale, fresh._first_log_scale, sources)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state, as numpy arrays."""
        first = self._first_log_scale
        return {"signals": dict(vars(self.signals)), "positions": self.positions, "first_log_scale": first,
                "lost": self.lost}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.signals = Signals(**state["signals"])
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
        scale, column = KNOBS["scale"], self.interface.knobs.index("scale")
        return np.log10((scale.relative if self._relative else scale.absolute)(self.positions[:, :, column]))


def check_learner(controller: Controller) -> None:
    """Check that a controller which is to be paid learns.

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
