"""PPO in which every drawn environment counts alike."""

from __future__ import annotations

from typing import Any

from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer

from agents.slots import ROWS


class BalancedPPO(PPO):
    """Proximal policy optimisation (Schulman et al. 2017) with advantages in units of their own environment's spread.

    A task whose loss falls by many decades has returns a hundred times more varied than a language
    model's; in one batch its advantages would drown all others.
    """

    def collect_rollouts(self, *arguments: Any, **keywords: Any) -> bool:
        """Collect rollouts as PPO does, then divide every slot's advantages by their standard deviation."""
        going_on = super().collect_rollouts(*arguments, **keywords)
        if going_on:
            assert isinstance(self.rollout_buffer, RolloutBuffer)
            balance(self.rollout_buffer)
        return going_on


def balance(buffer: RolloutBuffer) -> None:
    """Divide the advantages, [steps, rows], of each slot of `ROWS` rows by their standard deviation, in place."""
    by_slot = buffer.advantages.reshape(len(buffer.advantages), -1, ROWS)
    spread = by_slot.std(axis=(0, 2), keepdims=True)
    buffer.advantages = (by_slot / (spread + 1e-8)).reshape(buffer.advantages.shape)
