"""Opt2Vec: embed the recent past of a run, and read each group's rate and momentum off the embedding."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.opt2vec.meta import EfficientMetaLearningTrainer
    from agents.opt2vec.optimizer import LightweightOpt2VecOptimizer

__all__ = ["EfficientMetaLearningTrainer", "LightweightOpt2VecOptimizer"]


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first used."""
    if name == "LightweightOpt2VecOptimizer":
        from agents.opt2vec.optimizer import LightweightOpt2VecOptimizer

        return LightweightOpt2VecOptimizer
    if name == "EfficientMetaLearningTrainer":
        from agents.opt2vec.meta import EfficientMetaLearningTrainer

        return EfficientMetaLearningTrainer
    raise AttributeError(f"module 'agents.opt2vec' has no attribute {name!r}")
