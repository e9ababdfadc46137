"""Figures of runs and of sweeps over learning rates; pure: arrays in, a matplotlib figure out."""

from optenv.figures.canvas import figure_to_rgb
from optenv.figures.rates import rate_figure
from optenv.figures.run import KNOB_AXES, MAX_LINES, RunTrace, run_figure

__all__ = ["KNOB_AXES", "MAX_LINES", "RunTrace", "figure_to_rgb", "rate_figure", "run_figure"]
