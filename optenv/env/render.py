"""How a run is drawn, one function per render mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from optenv.env.episode_record import EpisodeRecord
from optenv.figures import RunTrace, draw, figure_to_rgb, run_picture
from optenv.figures.run import short_names
from optenv.registry import Registry

Array = np.ndarray
BARS = "▁▂▃▄▅▆▇█"
MAX_BARS = 60
MAX_GROUPS = 12


def trace(record: EpisodeRecord, groups: Sequence[str]) -> RunTrace:
    """Return a run's record as the figures take it.

    Args:
      record: of the run.
      groups: names of its parameter groups; what pads them in the record is left out.
    """
    names = record.knobs[0] if record.knobs else {}
    knobs = {name: np.stack([values[name][: len(groups)] for values in record.knobs]) for name in names}
    twin = record.twin if np.isfinite(record.twin).any() else None
    return RunTrace(record.steps, record.loss, twin, knobs, groups)


def draw_image(record: EpisodeRecord, groups: Sequence[str]) -> Array:
    """Draw the loss beside the twin's and every knob over time; [H, W, 3] uint8."""
    return figure_to_rgb(draw(run_picture(trace(record, groups))))


def draw_text(record: EpisodeRecord, groups: Sequence[str]) -> str:
    """Write the losses, their curves on one scale, and the knobs in force in every group."""
    curves = {"loss": record.loss, "neutral twin": record.twin}
    bars = sparklines(list(curves.values()))
    lines = [f"step {record.steps[-1]:.0f}"]
    lines += [f"{name:12}  {curve[-1]:<9.4g} {bar}" for (name, curve), bar in zip(curves.items(), bars, strict=True)]
    names = short_names(groups)[:MAX_GROUPS]
    width = max(map(len, ["group", *names]))
    lines.append("  ".join([f"{'group':{width}}", *(f"{knob:>12}" for knob in record.knobs[-1])]))
    for g, name in enumerate(names):
        lines.append("  ".join([f"{name:{width}}", *(f"{value[g]:12.4g}" for value in record.knobs[-1].values())]))
    if len(groups) > MAX_GROUPS:
        lines.append(f"and {len(groups) - MAX_GROUPS} more")
    return "\n".join(lines)


def sparklines(curves: Sequence[Sequence[float]]) -> list[str]:
    """Draw curves of equal length as rows of bars on one scale; a dot where not finite.

    The scale is logarithmic where all values are positive.

    >>> sparklines([[100.0, 10.0, 1.0], [100.0, 100.0, float("nan")]])
    ['█▅▁', '██·']
    """
    values = np.array(curves, float)  # [curves, T]
    length = values.shape[1]
    values = values[:, np.unique(np.linspace(0, length - 1, min(length, MAX_BARS)).round().astype(int))]
    finite = values[np.isfinite(values)]
    if finite.size and (finite > 0).all():
        values, finite = np.log(values), np.log(finite)
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    levels = (len(BARS) - 1) * (values - low) / (high - low if high > low else 1.0)
    return ["".join(BARS[round(level)] if np.isfinite(level) else "·" for level in row) for row in levels.tolist()]


RENDERERS: Registry[Callable[[EpisodeRecord, Sequence[str]], Any]] = Registry(
    "render_mode", (("rgb_array", draw_image), ("ansi", draw_text))
)
