"""The adaptive rules as a controller: it observes the loss through the features, and receives rewards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from agents.rules.adaptive.loss_curve import LossCurve, Windows, check_cycle, cycle
from agents.rules.adaptive.rules import AdaptiveRule, Spec, decades, limited, parse
from agents.rules.schedules import broadcast, scale_action
from optenv.control.controller import Controller, Interface
from optenv.control.features import FEATURE_NAMES

Array = np.ndarray
KNOBS_MOVED = {
    "scale": ("lr",),
    "momentum": ("momentum", "beta1"),
    "beta2": ("beta2", "alpha"),
    "weight_decay": ("weight_decay",),
}
WINDOWS = Windows(fast=1.0, slow=4.0, trend=2.0)
BURST_MEMORY = 0.9
_SURE = 1.0 - 1e-6


class AdaptiveController(Controller):
    """Move every group's knobs by the rules of `agents.rules.adaptive.rules` on the loss, and on rewards.

    The curve they read is rebuilt from the features (see `RebuiltCurve`). Time, and so `cycle_length`, counts
    control steps. Momentum and beta1 are one knob, and beta2 and alpha: rules of both add up.
    """

    interface = Interface(knobs=tuple(KNOBS_MOVED))
    optional_knobs = ("momentum", "beta2", "weight_decay")

    def __init__(
        self,
        lr_rule: Spec = "trend+variance",
        momentum_rule: Spec = None,
        betas_rule: Spec = ("relative", "variance"),
        alpha_rule: Spec = None,
        wd_rule: Spec = "trend",
        reward_rule: Spec = None,
        cycle_length: int = 40,
        cycle_mult: int = 2,
    ):
        """Choose the rules.

        Args:
          lr_rule: of "trend", "variance", "cosine", "cosine_restart".
          momentum_rule: of "inverse", "relative", "normalized".
          betas_rule: of "relative" (moves beta1) and "variance" (moves beta2).
          alpha_rule: "stable"; RMSprop's decay.
          wd_rule: "trend".
          reward_rule: of "scaling", "trend", "variance".
          cycle_length: control steps of the first cosine cycle.
          cycle_mult: length of a cycle over the last one's.

        Raises:
          ValueError: if a rule is unknown, or a cycle number not a positive whole number.
        """
        self._specs = {
            "lr": lr_rule,
            "momentum": momentum_rule,
            "betas": betas_rule,
            "alpha": alpha_rule,
            "wd": wd_rule,
        }
        self._reward_spec: dict[str, Spec] = {"reward": reward_rule}
        _rules(self._specs | self._reward_spec)  # an unknown name is an error here, not in the first decision
        self.needs_losses = bool(_rules(self._specs))  # not where all rules are on rewards
        self._cycle = check_cycle(cycle_length, cycle_mult)
        self.reset(0, 0)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin new curves."""
        self._loss, self._reward = LossCurve(WINDOWS), LossCurve()
        self._rebuilt, self._time = RebuiltCurve(num_runs), 0

    def act(self, observation: Array) -> Array:
        """Return the action of the four knobs, [N, G, 4]."""
        rebuilt = self._rebuilt
        rebuilt.update(observation[:, 0].astype(float))
        self._loss.update(rebuilt.height, noise=np.full_like(rebuilt.height, 0.5))
        once, restarted = cycle(self._time, *self._cycle)
        self._time += 1
        loss = replace(self._loss.statistics(), burst=rebuilt.burst, once=once, restarted=restarted)
        of_loss = decades(_rules(self._specs), loss)
        of_reward = decades(_rules(self._reward_spec), self._reward.statistics())
        return broadcast(_action(limited(of_loss, of_reward), len(observation)), observation)

    def learn(self, reward: Array, ended: Array) -> None:
        """Take in a reward, [N], where more is better; for a run where it is not finite it counts as unchanged."""
        worth = -np.asarray(reward, float)
        finite = np.isfinite(worth)
        if finite.any():
            last = self._reward.values.get("last", worth[finite].mean())
            self._reward.update(np.where(finite, worth, last))

    def state_dict(self) -> dict[str, Any]:
        """Return the curves, their statistics and the time."""
        return {
            "loss": dict(self._loss.values),
            "reward": dict(self._reward.values),
            "curve": dict(vars(self._rebuilt)),
            "time": self._time,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._loss.values, self._reward.values = dict(state["loss"]), dict(state["reward"])
        vars(self._rebuilt).update(state["curve"])
        self._time = state["time"]

    def regroup(self, sources: Array) -> None:
        """Go on: all groups of a run share its curve."""


class RebuiltCurve:
    """N loss curves as far as the features of a run tell.

    Attributes:
      height: the loss in units of its own noise, [N]: a control step lowers it by 4 atanh(significance), whose noise
        has variance 1/2.
      burst: log10 of the minibatch noise over its average so far, [N].
    """

    def __init__(self, num_runs: int):
        """Begin at a height of 0."""
        self.height, self.burst = np.zeros(num_runs), np.zeros(num_runs)
        self._regret, self._log_span = np.zeros(num_runs), np.zeros(num_runs)
        self._usual = np.full(num_runs, np.nan)

    def update(self, run: Array) -> None:
        """Take in the run's features, [N, 12]."""
        feature = {name: run[:, place] for place, name in enumerate(FEATURE_NAMES)}
        self.height = self.height - 4.0 * np.arctanh(np.clip(feature["significance"], -_SURE, _SURE))
        self._log_span = self._log_span + self._growth(feature)
        noise = 3.0 * (feature["noise"] - 1.0) + self._log_span
        noise = np.where(feature["noise"] == 0.0, np.nan, noise)  # unknown before the first control step
        self.burst = np.nan_to_num(noise - self._usual)
        averaged = BURST_MEMORY * self._usual + (1.0 - BURST_MEMORY) * noise
        self._usual = np.where(np.isnan(averaged), np.fmax(self._usual, noise), averaged)

    def _growth(self, feature: dict[str, Array]) -> Array:
        """Return by how many decades the fall so far, the unit of the noise feature, has grown.

        With the last regret R and this improvement r, both in units of the fall so far, a new least
        loss makes it (1 - R) / (1 - r) times as long.
        """
        before, self._regret = self._regret, 2.0 ** feature["regret"] - 1.0
        improvement = np.sinh(feature["improvement"] * np.arcsinh(40.0)) / 40.0
        grown = np.maximum(1.0 - before, 1e-3) / np.maximum(1.0 - improvement, 1e-3)
        return np.where(self._regret <= 0.0, np.log10(np.maximum(grown, 1.0)), 0.0)


def _rules(specs: dict[str, Spec]) -> list[AdaptiveRule]:
    # Looked up, not kept: a rule's function cannot be pickled.
    return [rule for target, spec in specs.items() for rule in parse(target, spec)]


def _action(moved: dict[str, Array], num_runs: int) -> Array:
    """Turn decades into actions, [N, 4]: every knob but the scale counts in decades itself."""
    action = np.zeros((num_runs, len(KNOBS_MOVED)))
    for column, names in enumerate(KNOBS_MOVED.values()):
        for name in names:
            action[:, column] += moved.get(name, 0.0)
    action[:, 0] = scale_action(10.0 ** action[:, 0])
    return np.clip(action, -1.0, 1.0)
