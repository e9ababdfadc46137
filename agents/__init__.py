"""Controllers, and how they are trained."""

from agents.check import check_controller
from agents.registry import load, make, names

__all__ = ["check_controller", "load", "make", "names"]
