"""Pictures of a benchmark: intervals, performance profiles, heat maps and who beats whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optenv.benchmark import statistics
from optenv.benchmark.results import Results, Summary
from optenv.figures import draw, new_figure, rate_picture
from optenv.figures.picture import COLORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray
ROLE_COLORS = {"controller": COLORS[0], "reference": "#000000", "baseline": COLORS[1]}
THRESHOLDS = np.geomspace(0.5, 4.0, 121)
MAX_LINES = len(COLORS)
TINY = 1e-30  # of losses that are 0, on logarithmic axes
LIMIT = 4.0  # where scales of ratios end, so that one lost method does not flatten the others
RATIO = "test loss over the reference's"
_GREYS = "0.75"


def interval_figure(results: Results, rows: Sequence[Summary]) -> Figure:
    """Draw every method's geometric mean with its 95 % interval, and its worst task as an open circle."""
    figure, ax = _figure(6.4, 1.2 + 0.26 * len(rows))
    for place, row in enumerate(rows):
        color = ROLE_COLORS[row.role]
        low, mean, high = np.clip([row.mean.low, row.mean.value, row.mean.high], 0.3, 10.0)
        ax.plot([low, high], [place, place], color=color, linewidth=2.5, solid_capstyle="butt")
        ax.plot(mean, place, "o", color=color, markersize=6)
        ax.plot(min(row.worst.value, 10.0), place, "o", color=color, markersize=5, fillstyle="none")
    ax.axvline(1.0, color="0.4", linewidth=1.0, linestyle="--", zorder=1)
    ax.set(
        yticks=range(len(rows)), yticklabels=[row.method for row in rows], xscale="log", ylim=(len(rows) - 0.5, -0.5)
    )
    _ratio_ticks(ax.xaxis, max(2.0, max(min(row.worst.value, 10.0) for row in rows)))
    ax.set_xlabel(f"{RATIO}\nfilled: geometric mean and 95 % interval; open: worst task", fontsize=9)
    _role_legend(figure, ax, {row.role for row in rows})
    return figure


def profile_figure(results: Results, rows: Sequence[Summary]) -> Figure:
    """Draw the share of runs whose ratio is at most a threshold; the best profiles in colour, the others grey."""
    figure, ax = _figure(6.4, 3.8)
    ranked = sorted(rows, key=lambda row: -row.area)
    for place, row in reversed(list(enumerate(ranked))):
        share = statistics.performance_profile(results.runs[row.method].log_ratios, THRESHOLDS)
        shown = place < MAX_LINES
        ax.plot(
            THRESHOLDS,
            share,
            color=COLORS[place] if shown else _GREYS,
            linewidth=1.8 if shown else 0.9,
            linestyle="--" if shown and row.role != "controller" else "-",
            label=row.method if shown else "_",
            zorder=3 if shown else 2,
        )
    ax.axvline(1.0, color="0.4", linewidth=1.0, linestyle=":", zorder=1)
    ax.set(xscale="log", ylim=(0, 1.02))
    _ratio_ticks(ax.xaxis, LIMIT)
    ax.set_xlim(THRESHOLDS[0], THRESHOLDS[-1])
    ax.set_xlabel(f"threshold: {RATIO}", fontsize=9)
    ax.set_ylabel("share of runs at most that", fontsize=9)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def rate_figure(results: Results, rows: Sequence[Summary]) -> Figure:
    """Draw the heat map of test loss over base rate and method, geometric means over tasks and seeds."""
    several = [row for row in rows if results.runs[row.method].log_ratios.shape[1] > 1]
    own = [row for row in rows if row not in several]
    rates = results.suite.rates
    values = np.array([np.exp(results.runs[row.method].log_ratios.mean(axis=(0, 2))) for row in several])
    alone = np.array([[row.mean.value] * len(rates) for row in own])
    values = np.concatenate([values.reshape(-1, len(rates)), alone.reshape(-1, len(rates))])
    names = [row.method for row in several] + [f"{row.method} (own rate)" for row in own]
    return _heat_map(values, names, [f"{rate:.0e}" for rate in rates], "base learning rate", split=len(several))


def task_figure(results: Results, rows: Sequence[Summary]) -> Figure:
    """Draw the heat map of test loss over task and method, geometric means over base rates and seeds."""
    values = np.array([statistics.by_task(results.runs[row.method].log_ratios) for row in rows])
    return _heat_map(values, [row.method for row in rows], results.tasks, "")


def duel_figure(results: Results, rows: Sequence[Summary]) -> Figure:
    """Draw the probability that the method of a row ends with a lower loss than that of a column."""
    logs = [results.runs[row.method].log_ratios for row in rows]
    values = np.array([[statistics.probability_of_improvement(a, b) for b in logs] for a in logs])
    names = [row.method for row in rows]
    figure, ax = _figure(2.2 + 0.36 * len(rows), 1.7 + 0.3 * len(rows))
    image = ax.imshow(values, cmap="PuOr_r", vmin=0.0, vmax=1.0, aspect="auto")
    for i, j in np.ndindex(*values.shape):
        color = "white" if abs(values[i, j] - 0.5) > 0.35 else "black"
        ax.text(j, i, f"{100 * values[i, j]:.0f}", ha="center", va="center", fontsize=7, color=color)
    _name_axes(ax, names, names)
    bar = figure.colorbar(image, ax=ax, pad=0.02, aspect=25, format=lambda share, _: f"{share:.0%}")
    bar.ax.tick_params(labelsize=8)
    bar.set_label("row beats column", fontsize=9)
    return figure


def curve_figure(results: Results) -> Figure:
    """Draw every task's test loss over the base rate, a curve for each method, geometric means over seeds."""
    rates, name = results.suite.rates, results.reference
    means = {
        method: np.exp(np.log(np.maximum(runs.loss, TINY)).mean(axis=2))  # [T, R]
        for method, runs in results.runs.items()
    }
    shown = {m: mean for m, mean in means.items() if mean.shape[1] == len(rates) and m != name}
    curves = {task: {m: mean[t] for m, mean in shown.items()} for t, task in enumerate(results.tasks)}
    alone = means[name].shape[1] == 1
    references = dict(zip(results.tasks, means[name][:, 0], strict=True)) if alone else None
    return draw(rate_picture(rates, curves, references=references, loss_label=f"test loss, {results.score.title}"))


PICTURES: dict[str, tuple[str, Callable[[Results, Sequence[Summary]], Any]]] = {
    "intervals": ("Test loss over the reference's", interval_figure),
    "rates": ("Test loss over base learning rate and method", rate_figure),
    "tasks": ("Test loss over task and method", task_figure),
    "profiles": ("Performance profiles", profile_figure),
    "duels": ("Probability of improvement, percent", duel_figure),
}


def _heat_map(values: Array, names: Sequence[str], columns: Sequence[str], label: str, *, split: int = 0) -> Figure:
    """Draw ratios on a logarithmic scale around 1: blue is better than tuned, red worse."""
    figure, ax = _figure(2.9 + 0.62 * len(columns), 1.2 + 0.27 * len(names) + 0.05 * max(map(len, columns)))
    from matplotlib.colors import LogNorm

    image = ax.imshow(values, cmap="RdBu_r", norm=LogNorm(1 / LIMIT, LIMIT), aspect="auto")
    for i, j in np.ndindex(*values.shape):
        text = f"{values[i, j]:.2f}" if values[i, j] < 9.95 else f"{values[i, j]:.0f}"
        color = "white" if abs(np.log(values[i, j])) > 0.75 * np.log(LIMIT) else "black"
        ax.text(j, i, text, ha="center", va="center", fontsize=7.5, color=color)
    if 0 < split < len(names):
        ax.axhline(split - 0.5, color="black", linewidth=1.2)
    _name_axes(ax, names, columns)
    ax.set_xlabel(label, fontsize=9)
    bar = figure.colorbar(image, ax=ax, pad=0.02, aspect=25, extend="both")
    bar.set_ticks([0.25, 0.5, 1, 2, 4], labels=["0.25", "0.5", "1", "2", "4"])
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=8)
    bar.set_label(RATIO, fontsize=9)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    """Make a figure with one panel."""
    figure = new_figure(width, height, dpi=110)
    ax = figure.add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    return figure, ax


def _name_axes(ax: Any, names: Sequence[str], columns: Sequence[str]) -> None:
    slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(len, columns)) > 6 else {}
    ax.set_yticks(range(len(names)), names)
    ax.set_xticks(range(len(columns)), columns, **slanted)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _ratio_ticks(axis: Any, high: float) -> None:
    from matplotlib.ticker import NullLocator

    ticks = [tick for tick in (0.25, 0.5, 0.7, 1, 1.4, 2, 3, 4, 6, 10) if tick <= high * 1.05]
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())


def _role_legend(figure: Figure, ax: Any, roles: set[str]) -> None:
    names = {"controller": "controller, any base rate", "reference": "tuned per task", "baseline": "not tuned per task"}
    for role, name in names.items():
        if role in roles:
            ax.plot([], [], "o", color=ROLE_COLORS[role], label=name)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=3)
