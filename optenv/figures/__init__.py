"""Figures of runs and of sweeps over learning rates; pure: arrays in, a picture out, which two canvases draw alike."""

from optenv.figures.canvas import draw, figure_to_rgb, new_figure
from optenv.figures.rates import rate_picture
from optenv.figures.run import KNOB_AXES, MAX_LINES, RunTrace, run_picture

__all__ = ["KNOB_AXES", "MAX_LINES", "RunTrace", "draw", "figure_to_rgb", "new_figure", "rate_picture", "run_picture"]
