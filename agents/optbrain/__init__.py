"""OptBrain: a tiny brain that learns online how to scale each parameter group's steps."""

from agents.optbrain.controller import OptBrainController
from agents.optbrain.core import OptBrain

__all__ = ["OptBrain", "OptBrainController"]
