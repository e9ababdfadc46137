"""Controllers, and how they are trained."""

from agents.registry import load, make, names

__all__ = ["load", "make", "names"]
