"""Controllers, and how they are trained."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agents.check import check_controller
from agents.policies.optbrain.drop_in import OptBrain
from agents.registry import load, make, names

if TYPE_CHECKING:
    from agents.policies.garo.optimizer import GlobalAdaptiveSGD
    from agents.policies.opt2vec.optimizer import LightweightOpt2VecOptimizer
    from agents.policies.stable_baselines import export
    from agents.rules.adaptive.optimizer import AdaptiveOptimizer
    from agents.training.opt2vec.meta_trainer import EfficientMetaLearningTrainer

__project__ = "optcontrol"  # `optenv.entry_points` tells by it whose package this is
OF_OPENAI_AGENTS = ("Agent", "Runner", "function_tool")  # what is first imported from the other package of this name

__all__ = [
    "AdaptiveOptimizer",
    "EfficientMetaLearningTrainer",
    "GlobalAdaptiveSGD",
    "LightweightOpt2VecOptimizer",
    "OptBrain",
    "check_controller",
    "export",
    "load",
    "make",
    "names",
]
_NEED_TORCH = {
    "AdaptiveOptimizer": "agents.rules.adaptive.optimizer",
    "EfficientMetaLearningTrainer": "agents.training.opt2vec.meta_trainer",
    "GlobalAdaptiveSGD": "agents.policies.garo.optimizer",
    "LightweightOpt2VecOptimizer": "agents.policies.opt2vec.optimizer",
    "export": "agents.policies.stable_baselines",
}


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first used."""
    if name in _NEED_TORCH:
        return getattr(import_module(_NEED_TORCH[name]), name)
    if name in OF_OPENAI_AGENTS:  # an ImportError is shown by `from agents import Agent`, an AttributeError is not
        raise ImportError(
            f"{name}: the package 'agents' imported here is optcontrol's, not that of openai-agents, which has the "
            "same name. Only one of them can be imported: install each in an environment of its own"
        )
    raise AttributeError(f"module 'agents' has no attribute {name!r}")
