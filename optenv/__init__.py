"""OptControl: an optimizer's training run as an episode, and controllers that steer it."""

from importlib import import_module
from typing import Any

from optenv.registration import register_environments

__version__ = "0.1.0"

register_environments()

_PUBLIC = {
    "ControlledOptimizer": "optenv.wrapper",
    "layer_groups": "optenv.wrapper",
    "OptControlEnv": "optenv.env",
    "OptControlVectorEnv": "optenv.env",
}

__all__ = ["ControlledOptimizer", "OptControlEnv", "OptControlVectorEnv", "layer_groups"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that importing the package stays light."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'optenv' has no attribute {name!r}")
