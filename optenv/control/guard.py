"""A controller around a controller: passes actions through, and fades them to neutral while they do harm."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from optenv.control import unknown_budget
from optenv.control.controller import Controller
from optenv.control.features import FEATURES, with_features
from optenv.control.knobs import KNOBS, clipped
from optenv.control.loop import position_limits
from optenv.control.signals import carried
from optenv.control.ways_back import FEATURES_NEEDED, WaysBack

Array = np.ndarray
Authority = tuple[float, float]

EXPLODED = 1.0  # regret: the loss stands above its start, by the fall so far
CALM = 0.1  # regret up to which the loss counts as near its best
RISEN = -0.7  # significance: a rise of 3.5 standard errors
# Nats of the log scale that are taken back in the next decision, on average; what adds up must be steadier.
JERKY = {"absolute": 0.3, "relative": 0.1}
JERK_POWER = 4  # with which trust falls beyond what is allowed
JERK_MEMORY, JERK_PRIOR = 0.9, 2  # decisions of smooth control that a run is credited with at its start
DISTRUST = 0.5  # what a significant rise leaves of the trust
RECOVERY = 0.05  # trust regained in a decision without trouble
FIRST_PAUSE, LONGEST_PAUSE = 2, 32
NEEDED_FEATURES = ("significance", "regret", "log_scale")
_STATE = ("trust", "backoff", "pause", "jerk", "lost", "troubled", "position", "anchor", "wanted", "move", "count")


def authority_of(controller: Controller, most: float | Authority | None = None) -> Authority:
    """Return the least and the greatest scale over the user's rate that a guarded controller may set.

    Args:
      controller: what asks for as much as its `authority` says.
      most: narrows that: a pair, or a number f for (1 / f, f).

    Raises:
      ValueError: if `most` is not such a pair with 1 within it.

    >>> from optenv.control.controller import Neutral
    >>> authority_of(Neutral()), authority_of(Neutral(), 4.0)
    ((0.01, 10.0), (0.25, 4.0))
    """
    scale = KNOBS["scale"]
    own = controller.authority
    if own is None:
        free = controller.interface.sets_first_scale
        own = (math.exp(scale.limits[0]), math.exp(scale.limits[1])) if free else (scale.low, scale.high)
    if most is None:
        return own
    try:
        low, high = (1.0 / most, most) if isinstance(most, (int, float)) else most
        good = 0.0 < low <= 1.0 <= high < math.inf
    except (TypeError, ValueError, ZeroDivisionError):
        good = False
    if not good:
        raise ValueError(
            f"max_authority: expected a factor of at least 1, or a pair (low, high) around 1; received {most!r}"
        )
    return max(own[0], low), min(own[1], high)


class Guard(Controller):
    """Passes a controller's actions through unchanged, and fades them to neutral while they do harm.

    It judges by the features "significance", "regret" and "log_scale", which it observes in addition where the
    controller does not, and by `alarm`. Each run has a trust in [0, 1], at first 1; at 1 an action is passed
    through as it is, bit for bit. Else

        absolute control:  a' = trust a
        relative control:  the position moves towards anchor + trust (position + step a - anchor)

    so that at 0 every knob is at its anchor. The anchor is neutral; of the scale of a controller that
    chooses its own first one, whatever the user's rate, it is the first scale, or the scale at which the
    loss was least, whichever is lower.

    Trust is lost

    - to 0, where a loss is not finite, or rises significantly above the loss the run began with; after
      2, then 4, 8 ... decisions at neutral it comes back by 0.05 a decision;
    - by half, where the loss rises by 3.5 standard errors;
    - where the controller keeps taking back what it did a decision ago: such moves average out at best,
      so trust is at most the fourth power of what is allowed (`JERKY`) over their size.

    Runs of a controller that lets them (`Controller.returns`) return to their best weights where their progress is
    lost, or they overfit, and their scales are lowered then: see `optenv.control.ways_back`. What the controller
    observes are the scales without that.

    A controller that needs a budget (`Controller.needs_budget`) and is not told one is not asked: its scales follow
    `optenv.control.unknown_budget`, its other knobs stay as they are.

    Attributes:
      controller: what is guarded.
      authority: least and greatest scale; hosts hold it to that.
      trust: [N].
      troubled: which runs lost all trust in the last decision, [N] bool.
      calm: which runs' loss stood near its best in the last decision, [N] bool.
    """

    def __init__(self, controller: Controller, *, max_authority: float | Authority | None = None):
        """Guard `controller`.

        Args:
          controller: decides.
          max_authority: narrows its authority: least and greatest scale over the user's rate, or a
            factor f for (1 / f, f).

        Raises:
          ValueError: if `max_authority` is no such range.
        """
        own = controller.interface.features
        self.needs_budget = controller.needs_budget and controller.interface.sets_first_scale
        of_budgets = unknown_budget.FEATURES_NEEDED if self.needs_budget else ()
        of_returns = FEATURES_NEEDED if controller.returns else ()
        features = with_features(own, (*NEEDED_FEATURES, *of_budgets, *of_returns))
        self.controller, self.interface = controller, replace(controller.interface, features=features)
        self._own_features = None if features == own else np.array([features.index(name) for name in own])
        self._of_returns = [features.index(name) for name in of_returns]
        self._of_budgets = [features.index(name) for name in of_budgets]
        self._significance, self._regret, self._log_scale = map(features.index, NEEDED_FEATURES)
        self.authority, self.optional_knobs = authority_of(controller, max_authority), controller.optional_knobs
        self.neutral_untrained, self.learns = controller.neutral_untrained, controller.learns
        self.needs_losses = controller.needs_losses
        knobs = self.interface.knobs
        self._relative = self.interface.control == "relative"
        self._free = self.interface.sets_first_scale
        self._step = np.array([KNOBS[name].step for name in knobs])
        self._scale = knobs.index("scale") if "scale" in knobs else None
        self._is_scale = np.array([name == "scale" for name in knobs])
        self._limits = position_limits(self.interface, self.authority)
        if self._free and self._scale is not None:
            self._limits[self._scale] = -math.inf, math.inf  # counted from a first scale that only the host knows
        self._begin(0, 0)

    def _begin(self, num_runs: int, num_groups: int) -> None:
        shape = (num_runs, num_groups, len(self._step))
        self.trust, self.backoff = np.ones(num_runs), np.full(num_runs, FIRST_PAUSE)
        self.pause, self.jerk = np.zeros(num_runs, int), np.zeros(num_runs)
        self.lost, self.troubled, self.calm = (np.zeros(num_runs, bool) for _ in range(3))
        self.position, self.anchor, self.move = np.zeros(shape), np.zeros(shape[:2]), np.zeros(shape[:2])
        self.wanted = np.zeros((*shape[:2], 0 if self._relative else shape[2]))  # relative moves need no last one
        self.count = 0
        self.ways_back = WaysBack(num_runs) if self._of_returns else None

    @property
    def keep_weights(self) -> Array | None:  # type: ignore[override]
        """Whose weights are to be kept."""
        return self.controller.keep_weights if self.ways_back is None else self.ways_back.keep

    @property
    def restore_weights(self) -> Array | None:  # type: ignore[override]
        """Which runs are to return to them."""
        return self.controller.restore_weights if self.ways_back is None else self.ways_back.restore

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin runs with full trust."""
        self.controller.reset(num_runs, num_groups)
        self._begin(num_runs, num_groups)

    def alarm(self, lost: Array) -> None:
        """Take in which runs met a loss that is not finite, [N] bool."""
        self.lost = np.asarray(lost, bool)
        self.controller.alarm(lost)

    def act(self, observation: Array) -> Array:
        """Return what the controller decides, as far as it is trusted, [N, G, knobs]."""
        shown = observation if self.ways_back is None else self._shifted(observation, self.ways_back)
        own = shown if self._own_features is None else shown[..., self._own_features]
        wanted = np.asarray(self.controller.act(own), float)
        if observation.shape[1]:
            self._update_positions(observation)
            wanted = self._held(wanted, observation[:, 0]) if self.needs_budget else wanted
            self._update_trust(observation[:, 0])
            self._update_jerk(wanted)
        trust, action = self.confidence()[:, None, None], wanted
        if trust.min(initial=1.0) < 1.0:
            action = np.where(trust < 1.0, self._faded(wanted, trust), wanted)
        start, step = (self.position, self._step) if self._relative else (0.0, 1.0)
        moved = start + action * step
        self.position = clipped(moved, self._limits[:, 0], self._limits[:, 1])
        # Other knobs end where they end in every host; a scale may have to stop earlier.
        stopped = (self.position != moved) & self._is_scale
        return np.where(stopped, (self.position - start) / step, action)

    def _shifted(self, observation: Array, ways_back: WaysBack) -> Array:
        """Let runs return; return what is observed of them, with the scales that the controller would have had."""
        if not observation.shape[1]:
            return observation
        run = observation[:, 0]
        seen = {name: run[:, i].astype(float) for name, i in zip(FEATURES_NEEDED, self._of_returns, strict=True)}
        scale = observation[..., self._log_scale].astype(float)
        ways_back.watch(seen, scale.mean(axis=1) * math.log(10.0), self.lost)
        if not ways_back.shift.any():
            return observation
        shown = observation.copy()
        shown[..., self._log_scale] = scale - ways_back.shift[:, None] / math.log(10.0)
        return shown

    def confidence(self) -> Array:
        """Return by how much the last action was faded, [N]: 1 not at all, 0 to neutral."""
        allowed = JERKY[self.interface.control]
        return np.minimum(self.trust, (allowed / np.maximum(self.jerk, allowed)) ** JERK_POWER)

    def _update_positions(self, observation: Array) -> None:
        """Note where the scales are, and which of them brought a new least loss."""
        if not (self._relative and self._scale is not None):
            return
        scale, seen = self.position[..., self._scale], observation[..., self._log_scale].astype(float)
        # What the host has limited more narrowly; else the own account is exact, and the feature rounded.
        off = (np.abs(seen * math.log(10.0) - scale) > 1e-3) & (np.abs(seen) < FEATURES["log_scale"].high)
        self.position[..., self._scale] = scale = np.where(off, seen * math.log(10.0), scale)
        if self._free:
            best = observation[..., self._regret] <= 0.0
            self.anchor = np.where(best, np.minimum(scale, 0.0), self.anchor)

    def _update_trust(self, run: Array) -> None:
        """Lose trust, or regain it, for what the last control step did to the loss; `run` is [N, features]."""
        risen, regret = run[:, self._significance] < RISEN, run[:, self._regret]
        self.troubled = self.lost | (risen & (regret > EXPLODED))
        self.calm = ~self.troubled & (regret < CALM)
        self.lost = np.zeros(len(run), bool)
        resting = self.pause > 0
        self.pause = np.where(self.troubled, self.backoff, np.maximum(self.pause - 1, 0))
        self.backoff = np.where(self.troubled, np.minimum(2 * self.backoff, LONGEST_PAUSE), self.backoff)
        regained = np.minimum(self.trust + np.where(resting, 0.0, RECOVERY), 1.0)
        self.trust = np.where(self.troubled, 0.0, np.where(risen, DISTRUST * self.trust, regained))

    def _update_jerk(self, wanted: Array) -> None:
        """Average how much of its last move the controller takes back, in nats of the log scale, over the groups."""
        if self._scale is None:
            return
        scale = wanted[..., self._scale]
        if self._relative:
            move = scale * self._step[self._scale]
        else:
            move = _log_scale(scale) - _log_scale(self.wanted[..., self._scale]) if self.count else np.zeros_like(scale)
        back = np.where(move * self.move < 0.0, np.minimum(np.abs(move), np.abs(self.move)), 0.0)
        self.count += 1
        back = back.sum(axis=1) / back.shape[1]  # a mean, in a fraction of the time that numpy takes for one
        self.jerk = self.jerk + (back - self.jerk) * max(1.0 - JERK_MEMORY, 1.0 / (self.count + JERK_PRIOR))
        self.wanted, self.move = self.wanted if self._relative else wanted, move

    def _held(self, wanted: Array, run: Array) -> Array:
        """Return what takes the scales to the schedule of unknown budgets, and leaves other knobs, in such runs."""
        assert self._scale is not None
        progress, age = (run[:, i].astype(float) for i in self._of_budgets)
        target, unknown = unknown_budget.log_scale(self.interface, age), progress < 0.0
        if self.ways_back is not None:
            target = target + self.ways_back.shift
        held = np.zeros_like(wanted)
        held[..., self._scale] = clipped(target[:, None] - self.position[..., self._scale], -1.0, 1.0)
        return np.where(unknown[:, None, None], held, wanted)

    def _faded(self, wanted: Array, trust: Array) -> Array:
        if not self._relative:
            return trust * wanted
        anchor = self.anchor[..., None] * self._is_scale  # of all other knobs it is neutral
        target = anchor + trust * (self.position + wanted * self._step - anchor)
        return clipped((target - self.position) / self._step, -1.0, 1.0)

    def learn(self, reward: Array, ended: Array) -> None:
        """Let the controller learn."""
        self.controller.learn(reward, ended)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the guard and, under "controller", that of the controller."""
        own = {name: getattr(self, name) for name in _STATE}
        back = {} if self.ways_back is None else self.ways_back.state_dict()
        return {"controller": self.controller.state_dict(), "ways_back": back, **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.controller.load_state_dict(state["controller"])
        if self.ways_back is not None and "ways_back" in state:
            self.ways_back.load_state_dict(state["ways_back"])
        for name in _STATE:
            setattr(self, name, state[name])

    def regroup(self, sources: Array) -> None:
        """Carry each group's place on; new groups begin at neutral."""
        self.controller.regroup(sources)
        fresh = np.zeros((len(self.trust), len(sources), len(self._step)))
        self.position = carried(self.position, fresh, sources)
        self.anchor = carried(self.anchor, fresh[..., 0], sources)
        self.wanted = carried(self.wanted, fresh[..., : self.wanted.shape[-1]], sources)
        self.move = carried(self.move, fresh[..., 0], sources)

    def save(self, path: str | Path) -> None:
        """Write the controller, without the guard, to exactly `path`."""
        self.controller.save(path)


def _log_scale(action: Array) -> Array:
    """Return the natural logarithm of the scale that an absolute action sets."""
    scale = KNOBS["scale"]
    return np.where(action >= 0.0, math.log(scale.high) * action, -math.log(scale.low) * action)
