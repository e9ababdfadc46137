"""GARO as a drop-in optimizer: SGD under the recurrent controller."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from agents.policies.garo.controller import BASE_DECAY, GruController, untrained
from agents.policies.loading import load_policy
from agents.policies.loading import pretrained as pretrained_file
from optenv.control.knobs import KNOBS
from optenv.wrapper.controlled import ControlledOptimizer
from optenv.wrapper.param_groups import copied_groups

Emission = dict[str, Any]
Watcher = Callable[["GlobalAdaptiveSGD", Emission], None]


class GlobalAdaptiveSGD(ControlledOptimizer):
    """SGD whose rate, momentum and weight decay a recurrent network emits.

        optimizer = GlobalAdaptiveSGD(model.parameters(), total_steps=2000)
        loss.backward(); optimizer.step(loss=loss); optimizer.zero_grad()

    It is `ControlledOptimizer` over `torch.optim.SGD`, and all that holds there holds here: schedulers,
    hooks, checkpoints, pausing, `history`. By default it is meta-trained: its first rate is set such that
    the root mean square of the whole model's first update is a thousandth of its mean absolute weight (see
    `update_ratio`), so that `lr` drops out. With `pretrained=None`
    it is plain SGD: rate `lr`, momentum 0, and a weight decay of 1e-4, too small to matter; the head of
    an untrained network is zero.

    Attributes:
      controller: the recurrent network.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        *,
        layerwise: bool = False,
        pretrained: str | Path | None = "garo",
        weight_decay: float = BASE_DECAY,
        seed: int = 0,
        total_steps: int | None = None,
        steps_per_action: int | None = None,
        trace: str | Path | None = None,
    ):
        """Take the parameters.

        Args:
          params: parameters or parameter groups, as for `torch.optim.SGD`.
          lr: base learning rate.
          layerwise: whether every parameter group has a hidden state, and so emissions, of its own;
            `optenv.layer_groups(model)` makes a group of every layer.
          pretrained: name or file of a trained network, or None for an untrained one.
          weight_decay: base weight decay, which the network multiplies by 0.1 to 10.
          seed: of an untrained network's recurrent weights.
          total_steps: budget of the run in steps, if known.
          steps_per_action: steps between decisions, see `ControlledOptimizer`.
          trace: file to append every decision to, see there.

        Raises:
          TypeError: if `params` is a tensor, or the trained network is of another kind.
          ValueError: if a number is out of range.
          FileNotFoundError: if there is no such file.
        """
        controller = _controller(pretrained, layerwise, seed)
        base = torch.optim.SGD(copied_groups(params), lr=lr, weight_decay=weight_decay)
        self._watchers: OrderedDict[int, Watcher] = OrderedDict()
        super().__init__(base, controller, total_steps=total_steps, steps_per_action=steps_per_action, trace=trace)

    def register_emission_hook(self, watcher: Watcher) -> RemovableHandle:
        """Call `watcher(optimizer, emission)` after every step that began with a decision.

        Args:
          watcher: is handed what `emission` returns; what it returns is ignored.

        Returns:
          A handle whose `remove()` ends it.
        """
        handle = RemovableHandle(self._watchers)
        self._watchers[handle.id] = watcher
        return handle

    @property
    def emission(self) -> Emission:
        """What is in force: "step", steps taken, and "lr_t", "mom_t" and "wd_t", a number per group each."""
        values, groups = self.knob_values, self.param_groups
        nothing = np.zeros(len(groups))
        rates = [float(g["lr"]) * s for g, s in zip(groups, values.get("scale", nothing + 1.0), strict=True)]
        return {
            "step": self.step_count,
            "lr_t": rates,
            "mom_t": _moved("momentum", [g["momentum"] for g in groups], values.get("momentum", nothing)),
            "wd_t": _moved("weight_decay", [g["weight_decay"] for g in groups], values.get("weight_decay", nothing)),
        }

    @property
    def history(self) -> list[dict[str, Any]]:
        """The decisions so far as in `ControlledOptimizer`, with "lr_t", "mom_t" and "wd_t" of every group beside."""
        groups = self.param_groups
        momenta, decays = ([g[name] for g in groups] for name in ("momentum", "weight_decay"))
        return [
            record
            | {
                "lr_t": record["rate"],
                "mom_t": _moved("momentum", momenta, record["momentum"]),
                "wd_t": _moved("weight_decay", decays, record["weight_decay"]),
            }
            for record in super().history
        ]

    @property
    def lr_t(self) -> list[list[float]]:
        """Learning rates of every decision so far, a number per group each."""
        return [record["lr_t"] for record in self.history]

    @property
    def mom_t(self) -> list[list[float]]:
        """Momenta of every decision so far, a number per group each."""
        return [record["mom_t"] for record in self.history]

    @property
    def wd_t(self) -> list[list[float]]:
        """Weight decays of every decision so far, a number per group each."""
        return [record["wd_t"] for record in self.history]

    def step(self, closure: Callable[[], Any] | None = None, *, loss: Tensor | float | None = None) -> Any:
        """Take one step, then call the emission hooks if it began with a decision.

        Args:
          closure: see `ControlledOptimizer.step`.
          loss: likewise.
        """
        before = self._run.state.values
        returned = super().step(closure, loss=loss)
        if self._run.state.values is not before:
            for watcher in tuple(self._watchers.values()):
                watcher(self, self.emission)
        return returned

    # The step of ControlledOptimizer fires the optimizer's own hooks; torch need not wrap this one again.
    step.hooked = True  # type: ignore[attr-defined]

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without the hooks, as torch's optimizers do."""
        return {**super().__getstate__(), "_watchers": OrderedDict()}


def _controller(pretrained: str | Path | None, layerwise: bool, seed: int) -> GruController:
    if pretrained is None:
        return GruController(untrained(seed, layerwise=layerwise))
    loaded = load_policy(pretrained_file(pretrained))
    if not isinstance(loaded, GruController):
        raise TypeError(f"pretrained: expected a network of kind 'gru'; received {type(loaded).__name__}")
    return GruController(replace(loaded.file, settings={**loaded.file.settings, "layerwise": layerwise}))


def _moved(knob: str, base: list[float], shifts: Any) -> list[float]:
    return [float(KNOBS[knob].move(float(b), s)) for b, s in zip(base, shifts, strict=False)]
