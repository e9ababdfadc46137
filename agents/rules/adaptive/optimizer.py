"""AdaptiveOptimizer: rules on loss and reward around any torch optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.optim import Optimizer

from agents.rules.adaptive.controller import AdaptiveController
from agents.rules.adaptive.loss_curve import check_cycle
from agents.rules.adaptive.rules import Spec
from optenv.control.knobs import KNOBS
from optenv.wrapper.controlled import ControlledOptimizer
from optenv.wrapper.param_groups import base_rate


class AdaptiveOptimizer(ControlledOptimizer):
    """Move a base optimizer's hyperparameters by rules on its loss and on a reward.

        opt = AdaptiveOptimizer(torch.optim.AdamW(model.parameters()), lr_rule="trend+variance",
                                betas_rule=("relative", "variance"), wd_rule="trend", reward_rule="trend")
        loss.backward(); opt.step_loss(loss); opt.step_reward(reward); opt.step(); opt.zero_grad()

    The rules and their formulas are the rows of `agents.rules.adaptive.rules.RULES`; "+" joins several. It is
    `ControlledOptimizer` over `AdaptiveController`, and all that holds there holds here: schedulers, hooks,
    checkpoints, pausing, `history`, the guard. With no rule, or before anything is known of the curve, every step is
    the base optimizer's, bit for bit.

    Attributes:
      controller: the rules as a controller.
    """

    controller: AdaptiveController

    def __init__(
        self,
        base_opt: Optimizer,
        lr_rule: Spec = "trend+variance",
        momentum_rule: Spec = None,
        betas_rule: Spec = None,
        alpha_rule: Spec = None,
        wd_rule: Spec = None,
        reward_rule: Spec = None,
        cycle_length: int = 500,
        cycle_mult: int = 2,
        *,
        total_steps: int | None = None,
        steps_per_action: int = 10,
        **control: Any,
    ):
        """Put rules around an optimizer.

        Args:
          base_opt: any `torch.optim.Optimizer` that steps without a closure.
          lr_rule: this and the other rules: see `AdaptiveController`; momentum and beta1 are one knob, and so are
            beta2 and RMSprop's alpha.
          momentum_rule: likewise.
          betas_rule: likewise.
          alpha_rule: likewise.
          wd_rule: likewise.
          reward_rule: likewise.
          cycle_length: steps of the first cosine cycle, rounded to whole control steps.
          cycle_mult: length of a cycle over the last one's.
          total_steps: budget of the run in steps, if known.
          steps_per_action: steps between decisions; the rules compare the mean losses of such intervals.
          **control: more arguments of `ControlledOptimizer`, such as `guard` or `trace`.

        Raises:
          TypeError: if `base_opt` is no optimizer, or an argument is unknown.
          ValueError: if a rule is unknown, or a number not a positive whole number.
        """
        length, mult = check_cycle(cycle_length, cycle_mult)
        specs = (lr_rule, momentum_rule, betas_rule, alpha_rule, wd_rule, reward_rule)
        rules = AdaptiveController(*specs, max(1, round(length / max(1, steps_per_action))), mult)
        super().__init__(base_opt, rules, total_steps=total_steps, steps_per_action=steps_per_action, **control)

    def step_loss(self, loss: Tensor | float) -> None:
        """Take in this step's loss, a number or a tensor of one; see `observe`."""
        self.observe(loss)

    def step_reward(self, reward: Tensor | float) -> None:
        """Take in a reward, where more is better; what is not finite is ignored."""
        self.controller.learn(np.array([float(reward)]), np.array([False]))

    @property
    def lr(self) -> float:
        """The first group's learning rate as moved by the decision in force."""
        return base_rate(self.param_groups[0]) * self._in_force("scale", 1.0)

    @property
    def wd(self) -> float:
        """The first group's weight decay likewise; 0 where it has none."""
        decay = float(self.param_groups[0].get("weight_decay") or 0.0)
        return float(KNOBS["weight_decay"].move(decay, self._in_force("weight_decay", 0.0)))

    def _in_force(self, knob: str, neutral: float) -> float:
        values = self.knob_values
        return float(values[knob][0]) if knob in values else neutral
