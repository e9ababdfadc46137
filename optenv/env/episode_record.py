"""What is drawn: one run's losses and knobs since its episode began."""

from __future__ import annotations

import numpy as np

from optenv.env.episodes import Episodes

Array = np.ndarray


class EpisodeRecord:
    """Probe loss, twin's probe loss and knob values of one row after every control step.

    Attributes:
      row: which row.
      steps: inner steps taken, T numbers.
      loss: the run's probe losses, T numbers.
      twin: the uncontrolled twin's, T numbers.
      knobs: knob values by name, [G] each, T of them.
    """

    def __init__(self, row: int = 0) -> None:
        """Begin with nothing."""
        self.row = row
        self.steps: list[float] = []
        self.loss: list[float] = []
        self.twin: list[float] = []
        self.knobs: list[dict[str, Array]] = []

    def begin(self, episodes: Episodes, values: dict[str, Array]) -> None:
        """Forget the last episode and record how this one begins."""
        self.__init__(self.row)  # type: ignore[misc]
        self.append(episodes, values)

    def append(self, episodes: Episodes, values: dict[str, Array]) -> None:
        """Record the row's present losses and the knob values, [N, G] each, that led there."""
        self.steps.append(float(episodes.step[self.row]))
        self.loss.append(float(episodes.current[self.row]))
        self.twin.append(float(episodes.twin[self.row]))
        self.knobs.append({name: value[self.row].copy() for name, value in values.items()})
