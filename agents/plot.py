"""Pictures of what was recorded: a controlled optimizer's decisions, or a training's curves."""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optenv.benchmark import page
from optenv.errors import needed_for
from optenv.figures import RunTrace, draw, run_picture
from optenv.figures.picture import Axis, Line, Panel, Picture, style
from optenv.files import reading
from optenv.wrapper.decision_log import read_lines

MOST_NUMBERS = 30_000_000
if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
HIDDEN = ("scale",)  # the rate shows it, together with the schedule


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give `parser` what is to be drawn."""
    parser.add_argument("recorded", type=Path, metavar="RUN", help="a trace (.jsonl), or the folder of a training")
    parser.add_argument("--out", type=Path, default=None, metavar="FILE", help="default: beside RUN's file, or in it")
    parser.add_argument("--html", action="store_true", help="write a page of its own on a trace: figures and picture")
    parser.set_defaults(run=_plot)
    return parser


def _plot(options: argparse.Namespace) -> None:
    if options.html:
        print(f"The page is in {report(options.recorded, options.out)}.")
    else:
        print(f"The picture is in {plot(options.recorded, options.out)}.")


def report(run: Path, out: Path | None = None) -> Path:
    """Write a self-contained page on a traced run: what the loss and every group's knobs did, in numbers and a picture.

    Args:
      run: a trace (`.jsonl`) of a controlled optimizer.
      out: where to; by default the trace's name with `.html`.

    Returns:
      The path of the page.

    Raises:
      FileNotFoundError: if there is no such trace.
      ImportError: if matplotlib is not installed.
      ValueError: if it is no trace, or one of fewer than two decisions.
    """
    if run.is_dir():
        raise ValueError(f"{run}: expected a trace (.jsonl) for a page; received a folder")
    trace, path, png = run_trace(run), out or run.with_suffix(".html"), BytesIO()
    draw(run_picture(trace)).savefig(png, format="png", dpi=130)
    steps, loss = np.asarray(trace.steps), np.asarray(trace.loss)
    known = loss[np.isfinite(loss)]
    facts = {"steps": f"{steps[0]} to {steps[-1]}", "decisions": str(len(steps)), "groups": str(len(trace.groups))}
    if len(known):
        facts |= {"first loss": f"{known[0]:.4g}", "least loss": f"{known.min():.4g}", "last loss": f"{known[-1]:.4g}"}
    header = ["group", *(f"{knob}: first, least, greatest, last" for knob in trace.knobs)]
    cells = {knob: np.asarray(values) for knob, values in trace.knobs.items()}
    rows = [[group, *(_extent(v[:, g]) for v in cells.values())] for g, group in enumerate(trace.groups)]
    parts = [page.heading(run.name, 1), page.definitions(facts), page.heading("Loss and knobs")]
    parts += [page.pictures({"loss, and " + ", ".join(trace.knobs): png.getvalue()}), page.heading("Groups")]
    path.write_text(page.page(run.name, [*parts, page.table(header, rows)]))
    return path


def _extent(values: np.ndarray) -> str:
    """Return a knob's first, least, greatest and last value; a dash where none is known."""
    known = values[np.isfinite(values)]
    return ", ".join(f"{v:.3g}" for v in (known[0], known.min(), known.max(), known[-1])) if len(known) else "-"


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
        figure, path = training_figure(run), out or run / "training.png"
    else:
        figure, path = draw(run_picture(run_trace(run))), out or run.with_suffix(".png")
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
    if (size := len(decisions) * len(groups) * len(knobs)) > MOST_NUMBERS:
        raise ValueError(f"{path}: expected a trace of at most {MOST_NUMBERS} numbers; received {size}")
    held = [decisions[0], *decisions[:-1]]
    return RunTrace(
        steps=[record["step"] for record, _ in decisions],
        loss=[float("nan"), *(_number(record["loss"]) for record, _ in decisions[1:])],
        baseline=None,
        knobs={knob: np.stack([_row(*decision, knob, groups) for decision in held]) for knob in knobs},
        groups=groups,
    )


def _row(record: dict[str, Any], names: list[str], knob: str, groups: list[str]) -> np.ndarray:
    """Return one knob of every group, NaN for a group that was not there."""
    values = dict(zip(names, record.get(knob) or [], strict=False))
    return np.array([_number(values.get(group)) for group in groups])


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


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
    with needed_for("a picture of a training"):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    with reading(folder, "a trace (.jsonl), or a training with TensorBoard logs"):
        return _read_scalars(folder, EventAccumulator)


def _read_scalars(folder: Path, accumulator: Any) -> dict[str, np.ndarray]:
    files = (file for file in folder.rglob("events.out.tfevents.*") if file.is_file())  # a pipe would never end
    logs = sorted({file.parent for file in files}, key=lambda log: log.stat().st_mtime)
    if not logs:
        raise FileNotFoundError(folder)
    scalars: dict[str, dict[int, float]] = {}
    for log in logs:  # a resumed training goes on in a folder of its own
        events = accumulator(str(log))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            scalars.setdefault(tag, {}).update((event.step, event.value) for event in events.Scalars(tag))
    return {t: np.array(sorted(p.items()), float) for t, p in sorted(scalars.items()) if not t.startswith("time/")}
