"""Experiment trackers of others through their own functions: `ControlledOptimizer(..., trace=tracker("wandb"))`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from optenv.registry import Registry

Log = Callable[[Any, str, float, int], None]


def _wandb(module: Any, tag: str, value: float, step: int) -> None:
    # A step of its own: the user's loop counts wandb's own steps.
    module.log({tag: value, "control/step": step})


def _mlflow(module: Any, tag: str, value: float, step: int) -> None:
    module.log_metric(tag, value, step=step)


TRACKERS: Registry[Log] = Registry("tracker", (("wandb", _wandb), ("mlflow", _mlflow)))


class Tracker:
    """Writes numbers into the run of a tracker that is under way; `trace=` takes it as a TensorBoard writer."""

    def __init__(self, name: str):
        """Import the tracker of that name."""
        self._name, self._log, self._module = name, TRACKERS[name], import_module(name)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy the name: a module cannot be."""
        return Tracker, (self._name,)

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Log one number."""
        self._log(self._module, tag, value, step)


def tracker(name: str) -> Tracker:
    """Return what writes every decision into Weights & Biases or MLflow, for `trace=`.

    Args:
      name: "wandb" or "mlflow", installed, with a run of yours under way.

    Raises:
      ImportError: if it is not installed.
      ValueError: if the name is another.
    """
    _ = TRACKERS[name]
    try:
        return Tracker(name)
    except ModuleNotFoundError as error:
        said = f"a trace for {name} needs {name}, and {name} is not installed: pip install {name}"
        raise ImportError(said) from error
