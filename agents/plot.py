"""Pictures of what was recorded: a controlled optimizer's decisions, or a training's curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from optenv.figures import RunTrace, run_figure
from optenv.wrapper.sinks import read_lines

HIDDEN = ("scale",)  # the rate shows it, together with the schedule


def plot(run: Path, out: Path | None = None) -> Path:
    """Draw what `run` recorded.

    Args:
      run: a trace (`.jsonl`) of a controlled optimizer, or the folder of a training.
      out: where to; by default the trace's name with `.png`, or `training.png` in the folder.

    Returns:
      The path of the picture.

    Raises:
      FileNotFoundError: if there is no such trace or training.
      ImportError: if what draws or reads it is not installed.
      ValueError: if there is nothing in it yet.
    """
    if run.is_dir():
        from agents.plot_training import training_figure

        figure, path = training_figure(run), out or run / "training.png"
    else:
        figure, path = run_figure(run_trace(run)), out or run.with_suffix(".png")
    figure.savefig(path, dpi=150)
    return path


def run_trace(path: Path) -> RunTrace:
    """Return the loss and, per group, the effective rate and every other knob of a traced run.

    A decision holds until the next, which knows the mean loss in between; so the last one is not drawn. The
    first row, without a loss, says where the first interval begins.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no trace, or one of fewer than two decisions.
    """
    decisions = read_lines(path)
    if len(decisions) < 2:
        raise ValueError(f"{path}: expected a trace of at least two decisions; received {len(decisions)}")
    groups = list(dict.fromkeys(name for _, names in decisions for name in names))
    knobs = [name for name, value in decisions[0][0].items() if isinstance(value, list) and name not in HIDDEN]
    held = [decisions[0], *decisions[:-1]]
    return RunTrace(
        steps=[record["step"] for record, _ in decisions],
        loss=[float("nan"), *(_number(record["loss"]) for record, _ in decisions[1:])],
        baseline=None,
        knobs={knob: np.array([_row(*decision, knob, groups) for decision in held]) for knob in knobs},
        groups=groups,
    )


def _row(record: dict[str, Any], names: list[str], knob: str, groups: list[str]) -> list[float]:
    """Return one knob of every group, NaN for a group that was not there."""
    values = dict(zip(names, record.get(knob, []), strict=False))
    return [_number(values.get(group)) for group in groups]


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
