"""A training's curves, from the TensorBoard logs in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from optenv.errors import missing_extra
from optenv.figures import draw
from optenv.figures.picture import Axis, Line, Panel, Picture, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3


def training_figure(folder: Path) -> Figure:
    """Draw every logged number that changes over the training, a panel each.

    Raises:
      FileNotFoundError: if nothing is logged in the folder.
      ImportError: if TensorBoard or matplotlib is not installed.
      ValueError: if no number has been logged twice.
    """
    curves = {tag: points for tag, points in read_scalars(folder).items() if len(np.unique(points[:, 1])) > 1}
    if not curves:
        raise ValueError(f"{folder}: expected a training that has logged something twice; its logs hold less")
    panels = tuple(_panel(tag, points) for tag, points in curves.items())
    columns = min(COLUMNS, len(panels))
    return draw(Picture(panels, columns=columns, width=max(4.2, 3.2 * columns)))


def _panel(tag: str, points: np.ndarray) -> Panel:
    line = Line(points[:, 0], points[:, 1], color=style(1)[0], width=1.4)
    return Panel(Axis("decisions", limits=(0, None)), Axis(), (line,), title=tag, legend="")


def read_scalars(folder: Path) -> dict[str, np.ndarray]:
    """Return what was logged by tag, [T, 2]: how far the training was, and the number; of a step logged twice the last.

    Speeds (`time/...`) are left out.

    Raises:
      FileNotFoundError: if nothing is logged in the folder.
      ImportError: if TensorBoard is not installed.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise missing_extra("tensorboard", "rl") from error
    logs = sorted({file.parent for file in folder.rglob("events.out.tfevents.*")}, key=lambda log: log.stat().st_mtime)
    if not logs:
        raise FileNotFoundError(f"{folder}: expected a trace (.jsonl), or a training with TensorBoard logs")
    scalars: dict[str, dict[int, float]] = {}
    for log in logs:  # a resumed training goes on in a folder of its own
        events = EventAccumulator(str(log))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            scalars.setdefault(tag, {}).update((event.step, event.value) for event in events.Scalars(tag))
    return {t: np.array(sorted(p.items()), float) for t, p in sorted(scalars.items()) if not t.startswith("time/")}
