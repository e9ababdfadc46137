"""The controlled optimizer: a controller on top of any `torch.optim.Optimizer`."""

from optenv.wrapper.controlled import ControlledOptimizer
from optenv.wrapper.param_groups import layer_groups

__all__ = ["ControlledOptimizer", "layer_groups"]
