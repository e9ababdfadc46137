"""Rules on loss and reward that move a base optimizer's hyperparameters: as an optimizer, and as a controller."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.adaptive.optimizer import AdaptiveOptimizer

__all__ = ["AdaptiveOptimizer"]


def __getattr__(name: str) -> Any:
    """Load the optimizer, and with it torch, when it is first used."""
    if name == "AdaptiveOptimizer":
        from agents.adaptive.optimizer import AdaptiveOptimizer

        return AdaptiveOptimizer
    raise AttributeError(f"module 'agents.adaptive' has no attribute {name!r}")
