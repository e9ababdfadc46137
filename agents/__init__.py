"""Controllers, and how they are trained."""

from agents.check import check_controller
from agents.optbrain.core import OptBrain
from agents.registry import load, make, names

__all__ = ["OptBrain", "check_controller", "load", "make", "names"]
