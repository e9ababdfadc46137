"""Opt2Vec as a drop-in optimizer: Adam whose rate and momentum follow the embedding of the run so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.policies.loading import load_policy
from agents.policies.loading import pretrained as pretrained_file
from agents.policies.opt2vec.architecture import INTERFACE, Architecture, make
from agents.policies.opt2vec.controller import WindowedMlpController
from optenv.wrapper.controlled import ControlledOptimizer
from optenv.wrapper.param_groups import copied_groups

Pretrained = str | Path | WindowedMlpController | None
EVERY = 20


class LightweightOpt2VecOptimizer(ControlledOptimizer):
    """Adam under an Opt2Vec policy.

        optimizer = LightweightOpt2VecOptimizer(model.parameters(), pretrained="opt2vec", total_steps=2000)
        loss.backward(); optimizer.step(loss=loss); optimizer.zero_grad()

    Every few steps the policy embeds the last `history_length` observations of each parameter group, and
    moves the group's rate by a factor between 1/e and e and its beta1 by up to a quarter of a decade.
    Without `pretrained` nothing is learned yet: every step is Adam's at `base_lr`, bit for bit.
    A pretrained policy sets its own first rate from the size of the model's weights; then `base_lr` does not
    matter, and of the groups' own `lr` only the proportion does. Hand groups by layer
    (`optenv.layer_groups(model)`) to have every layer steered by itself.

    Attributes:
      controller: the policy.
    """

    def __init__(
        self,
        params: Iterable[Any],
        base_lr: float = 0.01,
        embedding_dim: int | None = None,
        history_length: int | None = None,
        activation: str | None = None,
        use_extended_features: bool | None = None,
        *,
        hidden: int | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool | None = None,
        pretrained: Pretrained = None,
        seed: int = 0,
        total_steps: int | None = None,
        steps_per_action: int | None = None,
        trace: str | Path | None = None,
    ):
        """Make the optimizer.

        Args:
          params: parameters, or parameter groups.
          base_lr: learning rate where a group has none of its own.
          embedding_dim: size of the embedding; 64 by default, or the pretrained policy's.
          history_length: observations it looks back; 16 by default, likewise.
          activation: "gelu" by default, "silu", "relu", "tanh" or "identity", likewise.
          use_extended_features: whether it sees parameter norms, gradient diversity and loss curvature,
            see `agents.policies.opt2vec.controller.EXTENDED`; by default it does, likewise.
          hidden: width of the encoder's hidden layer; 32 by default, likewise.
          betas: Adam's; the policy moves the first.
          eps: Adam's.
          weight_decay: decoupled, as in AdamW.
          fused: torch's fused kernel, a third of the time of its loop; by default wherever it runs.
          pretrained: a policy: "opt2vec", a file, or one at hand, such as a meta-trainer's.
          seed: of the untrained encoder.
          total_steps: budget in steps, if known: the policy can then bring the rate down towards its end.
          steps_per_action: steps between decisions; by default a fortieth of the budget, or 20.
          trace: file to append every decision to.

        Raises:
          ValueError: if a number is out of range, or the pretrained policy has another architecture.
          TypeError: if `pretrained` is no Opt2Vec policy.
        """
        asked = {
            "embedding_dim": embedding_dim,
            "history_length": history_length,
            "activation": activation,
            "use_extended_features": use_extended_features,
            "hidden": hidden,
        }
        policy = _policy(pretrained, {name: value for name, value in asked.items() if value is not None}, seed)
        base = _adamw(params, fused, lr=base_lr, betas=betas, eps=eps, weight_decay=weight_decay)
        every = steps_per_action if total_steps or steps_per_action else EVERY
        super().__init__(base, policy, total_steps=total_steps, steps_per_action=every, trace=trace)

    @property
    def embedding(self) -> np.ndarray:
        """The embedding of each group at the last decision, [G, embedding_dim]."""
        return self.controller.embedding[0]  # type: ignore[attr-defined]


def _adamw(params: Iterable[Any], fused: bool | None, **options: Any) -> torch.optim.AdamW:
    """Make the base optimizer; torch itself knows where its fused kernel runs, and says so when it is made."""
    groups = copied_groups(params)
    if fused is None:
        try:
            return torch.optim.AdamW(copied_groups(groups), fused=True, **options)
        except RuntimeError:
            fused = False
    return torch.optim.AdamW(groups, fused=fused, **options)


def _policy(pretrained: Pretrained, asked: dict[str, Any], seed: int) -> WindowedMlpController:
    """Return the policy: untrained, from the base rate; or the pretrained one, if it is what was asked for."""
    if pretrained is None:
        return make(interface=replace(INTERFACE, first_update_norm=None), seed=seed, **asked)
    policy = load_policy(pretrained_file(pretrained)) if isinstance(pretrained, (str, Path)) else pretrained
    if not isinstance(policy, WindowedMlpController):
        raise TypeError(f"pretrained: expected an Opt2Vec policy; received {type(policy).__name__}")
    own = Architecture.of(policy.file)
    for name, value in asked.items():
        if getattr(own, name) != value:
            raise ValueError(
                f"{name}: expected {getattr(own, name)!r}, as the pretrained policy has; received {value!r}"
            )
    return WindowedMlpController(policy.file)  # with a past of its own
