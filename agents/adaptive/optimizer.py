"""AdaptiveOptimizer: rules on loss and reward around any optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from agents.adaptive.rules import Rule, Spec, decades, limited, parse
from agents.adaptive.sense import Sense, check_cycle, cycle
from optenv.control.knobs import move_towards_one
from optenv.wrapper.shell import OptimizerShell

ParamGroup = dict[str, Any]
_STATE = "adaptive"
_MULTIPLIED = ("lr", "weight_decay")


class AdaptiveOptimizer(OptimizerShell):
    """Move a base optimizer's hyperparameters by rules on its loss and on a reward.

        opt = AdaptiveOptimizer(torch.optim.AdamW(model.parameters()), lr_rule="trend+variance",
                                betas_rule=("relative", "variance"), wd_rule="trend", reward_rule="trend")
        loss.backward(); opt.step_loss(loss); opt.step_reward(reward); opt.step(); opt.zero_grad()

    The rules and their formulas are the rows of `agents.adaptive.rules.RULES`; "+" joins several.
    Hyperparameters are moved for the step alone and restored after it, so a scheduler of the user's
    own composes with the rules. One that the optimizer does not have, or that is 0, stays as it is;
    with no rule, or before anything is known of the curve, every step is the base optimizer's, bit for bit.
    In data-parallel training every process has to be told the same, reduced loss.
    """

    def __init__(self, base_opt: Any, lr_rule: Spec = "trend+variance", momentum_rule: Spec = None,
                 betas_rule: Spec = None, alpha_rule: Spec = None, wd_rule: Spec = None, reward_rule: Spec = None,
                 cycle_length: int = 500, cycle_mult: int = 2):  # fmt: skip
        """Put rules around an optimizer.

        Args:
          base_opt: anything with `step()` and `param_groups`.
          lr_rule: of "trend", "variance", "cosine", "cosine_restart".
          momentum_rule: of "inverse", "relative", "normalized".
          betas_rule: of "relative" (moves beta1) and "variance" (moves beta2).
          alpha_rule: "stable"; RMSprop's decay.
          wd_rule: "trend".
          reward_rule: of "scaling", "trend", "variance".
          cycle_length: steps of the first cosine cycle.
          cycle_mult: length of a cycle over the last one's.

        Raises:
          TypeError: if `base_opt` is no optimizer.
          ValueError: if a rule is unknown, or a cycle number not a positive whole number.
        """
        specs = {"lr": lr_rule, "momentum": momentum_rule, "betas": betas_rule, "alpha": alpha_rule, "wd": wd_rule}
        self._loss_rules = [rule for target, spec in specs.items() for rule in parse(target, spec)]
        self._reward_rules = parse("reward", reward_rule)
        self._cycle = check_cycle(cycle_length, cycle_mult)
        self._loss, self._reward, self._time = Sense(), Sense(), 0
        super().__init__(base_opt)

    def step_loss(self, loss: Any) -> None:
        """Take in this step's loss, a number or a tensor of one; what is not finite is ignored."""
        _feed(self._loss, loss, 1.0)

    def step_reward(self, reward: Any) -> None:
        """Take in a reward, where more is better; what is not finite is ignored."""
        _feed(self._reward, reward, -1.0)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step the base optimizer with its hyperparameters moved, and return what it returns."""
        with moved(self.param_groups, self.decades()):
            returned = self.base.step() if closure is None else self.base.step(closure)
        self._time += 1
        return returned

    def decades(self) -> dict[str, float]:
        """Return by how many decades each hyperparameter is moved in the next step."""
        once, restarted = cycle(self._time, *self._cycle)
        loss = replace(self._loss.statistics(), once=once, restarted=restarted)
        sums = decades(self._loss_rules, loss), decades(self._reward_rules, self._reward.statistics())
        return {name: float(value) for name, value in limited(*sums).items()}

    @property
    def lr(self) -> float:
        """The first group's learning rate in the next step."""
        return self._present("lr")

    @property
    def wd(self) -> float:
        """The first group's weight decay in the next step; 0 where it has none."""
        return self._present("weight_decay")

    def _present(self, name: str) -> float:
        group = self.param_groups[0]
        value = {**group, **values(group, self.decades())}.get(name)
        return 0.0 if value is None else float(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state and, under "adaptive", that of the rules."""
        rules = {"loss": self._loss.state_dict(), "reward": self._reward.state_dict(), "time": self._time}
        return {**self.base.state_dict(), _STATE: rules}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; from a base optimizer's own, the rules begin anew."""
        rules = state_dict.get(_STATE, {"loss": Sense().state_dict(), "reward": Sense().state_dict(), "time": 0})
        self.base.load_state_dict({name: value for name, value in state_dict.items() if name != _STATE})
        self._loss.load_state_dict(rules["loss"])
        self._reward.load_state_dict(rules["reward"])
        self._time = rules["time"]

    def __repr__(self) -> str:
        """Say what moves what."""
        rules: list[Rule] = [*self._loss_rules, *self._reward_rules]
        names = ", ".join(dict.fromkeys(f"{rule.target}: {rule.name}" for rule in rules))
        return f"AdaptiveOptimizer({self.base!r}, {names or 'no rule'}, step {self._time})"


def _feed(sense: Sense, value: Any, sign: float) -> None:
    number = float(value.detach() if hasattr(value, "detach") else value)
    if math.isfinite(number):
        sense.update(sign * number)


@contextmanager
def moved(groups: list[ParamGroup], shifts: dict[str, float]) -> Iterator[None]:
    """Move the groups' hyperparameters by decades for the step inside, and restore them after."""
    own = []
    for group in groups:
        new = values(group, shifts)
        own.append({name: group[name] for name in new})
        group.update(new)
    try:
        yield
    finally:
        for group, old in zip(groups, own, strict=True):
            group.update(old)


def values(group: ParamGroup, shifts: dict[str, float]) -> ParamGroup:
    """Return a group's moved hyperparameters: those it has, that are not 0, and that a shift moves."""
    new = {name: _move(name, group[name], shift) for name, shift in shifts.items() if _has(group, name)}
    if group.get("betas") is not None:
        betas = enumerate(group["betas"], start=1)
        new["betas"] = tuple(_move(f"beta{place}", beta, shifts.get(f"beta{place}", 0.0)) for place, beta in betas)
    return {name: value for name, value in new.items() if value != group[name]}


def _has(group: ParamGroup, name: str) -> bool:
    # The alpha of averaged SGD, which comes with a lambda, is an exponent and no decay.
    return name in group and not (name == "alpha" and "lambd" in group)


def _move(name: str, value: Any, shift: float) -> Any:
    if value is None or shift == 0.0 or value == 0:
        return value  # what is 0 is switched off
    if name in _MULTIPLIED:
        return value * 10.0**shift  # a tensor, as some 8-bit optimizers keep their rate, stays one
    return float(move_towards_one(np.asarray(float(value)), np.asarray(shift)))
