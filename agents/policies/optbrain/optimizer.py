"""OptBrain around a torch optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch.optim import Optimizer

from agents.policies.optbrain.controller import OptBrainController
from agents.policies.optbrain.file import read, write
from optenv.files import reading
from optenv.wrapper.controlled import ControlledOptimizer

_STATE = "control"


class OptBrainOptimizer(ControlledOptimizer):
    """`ControlledOptimizer` over a brain that learns while the model trains; `OptBrain(base)` makes it.

        optimizer = OptBrain(torch.optim.Adam(model.parameters(), lr=1e-3))
        loss.backward(); optimizer.step(loss=loss.item()); optimizer.zero_grad()

    All that holds there holds here: schedulers, hooks, checkpoints, pausing, `history`, the guard.

    Attributes:
      controller: the brain as a controller.
    """

    controller: OptBrainController

    def __init__(
        self,
        base_optimizer: Optimizer,
        n_groups: int | None = None,
        brain_hidden: int = 8,
        brain_lr: float = 1.0,
        brain_update_every: int | None = None,
        seed: int = 0,
        pretrained: str | Path | None = None,
        *,
        total_steps: int | None = None,
        **control: Any,
    ):
        """Put a brain on top of an optimizer; the arguments are those of `OptBrain`.

        Raises:
          TypeError: if `base_optimizer` is no optimizer.
          ValueError: if there are not `n_groups` groups, or another argument is out of range.
        """
        brain = OptBrainController(brain_hidden, brain_lr, seed, pretrained)
        super().__init__(base_optimizer, brain, total_steps=total_steps, steps_per_action=brain_update_every, **control)
        groups = len(self.param_groups)
        if n_groups not in (None, groups):
            raise ValueError(f"n_groups: expected the optimizer's {groups} parameter groups; received {n_groups!r}")
        brain.reset(1, groups)  # so that its state can be asked for before the first step

    def learn(self, reward: float) -> None:
        """Reward the decision in force; from the first on the brain explores. What is not finite is ignored."""
        self.controller.learn(np.array([reward], float), np.array([False]))

    def get_brain_state(self) -> dict[str, Any]:
        """Return what the brain has learned and decided, see `OptBrainController.brain_state`."""
        return self.controller.brain_state(self.step_count, self.knob_values)

    def save(self, path: str | Path) -> None:
        """Write the brain and the run under way, without the base optimizer's state, to exactly `path`."""
        write(path, self.controller.saved(self.state_dict()[_STATE]))

    def load(self, path: str | Path) -> None:
        """Go on from a saved brain as it would have gone on, with the state that the base optimizer has now.

        Raises:
          FileNotFoundError: if there is no such file.
          ValueError: if it is damaged, or of another number of groups.
        """
        saved = read(path)
        with reading(path, "the state of this brain"):
            self.load_state_dict({**self.state_dict(), _STATE: saved["control"]})
