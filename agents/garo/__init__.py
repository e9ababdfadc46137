"""GARO: one gated recurrent unit watches a run and emits learning rate, momentum and weight decay of SGD."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.garo.optimizer import GlobalAdaptiveSGD

__all__ = ["GlobalAdaptiveSGD"]


def __getattr__(name: str) -> Any:
    """Load the optimizer, and with it torch, when it is first used."""
    if name == "GlobalAdaptiveSGD":
        from agents.garo.optimizer import GlobalAdaptiveSGD

        return GlobalAdaptiveSGD
    raise AttributeError(f"module 'agents.garo' has no attribute {name!r}")
