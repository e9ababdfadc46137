"""Registers the environment with Gymnasium when that is imported: steering a run needs none, and it is slow to load."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

NAME = "OptControl-v0"
# Mean return of the default task and reward, nats of log loss; docs/ppo_from_scratch.md says what it is taken from.
REWARD_THRESHOLD = 0.65


def register_environments() -> None:
    """Make `gymnasium.make("OptControl-v0")` work, now or as soon as Gymnasium is imported."""
    if sys.modules.get("gymnasium") is not None:
        _register()
    elif not any(isinstance(finder, _GymnasiumFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _GymnasiumFinder())


def _register() -> None:
    from gymnasium.envs.registration import register, registry

    if NAME not in registry:
        register(
            NAME,
            "optenv.env:OptControlEnv",
            vector_entry_point="optenv.env:OptControlVectorEnv",
            reward_threshold=REWARD_THRESHOLD,
        )


class _GymnasiumFinder(MetaPathFinder):
    """Finds Gymnasium as Python does, registers once it has been executed, and is gone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the usual spec of Gymnasium with the registration added; None for every other module."""
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _register()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
