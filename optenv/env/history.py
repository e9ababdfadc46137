"""What is drawn: the first run's losses and knobs since its episode began."""

from __future__ import annotations

import numpy as np

from optenv.env.episodes import Episodes

Array = np.ndarray


class History:
    """Probe loss, twin's probe loss and knob values of row 0 after every control step."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.steps: list[float] = []
        self.loss: list[float] = []
        self.twin: list[float] = []
        self.knobs: list[dict[str, Array]] = []

    def append(self, episodes: Episodes, values: dict[str, Array]) -> None:
        """Record row 0."""
        self.steps.append(float(episodes.step[0]))
        self.loss.append(float(episodes.current[0]))
        self.twin.append(float(episodes.twin[0]))
        self.knobs.append({name: value[0].copy() for name, value in values.items()})
