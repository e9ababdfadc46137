"""Figures show what they are given, at a constant size, without touching matplotlib's global state."""

import sys

import numpy as np
import pytest

from optenv import figures
from optenv.figures.run import short_names


def make_trace(length=6, num_groups=3, offset=0.0):
    steps = np.arange(length) * 5
    loss = np.exp(-steps / 50) + offset
    knobs = {name: np.full((length, num_groups), 0.5) for name in ("scale", "clip", "dampen")}
    return figures.RunTrace(steps, loss, 2 * loss, knobs, [f"layers.{i}" for i in range(num_groups)])


def labels(axes):
    return [line.get_label() for line in axes.get_lines()]


@pytest.mark.parametrize("length", [0, 1, 50])
@pytest.mark.parametrize("num_groups", [1, figures.MAX_LINES + 1])
def test_every_frame_of_a_video_has_the_same_size(length, num_groups):
    frame = figures.figure_to_rgb(figures.draw(figures.run_picture(make_trace(length, num_groups))))
    assert frame.dtype == np.uint8
    assert frame.shape == (730, 640, 3)  # even: video codecs refuse odd sizes
    assert frame.min() < 100 and frame.max() == 255


def test_loss_panel_shows_the_run_beside_its_neutral_twin():
    loss_panel = figures.draw(figures.run_picture(make_trace())).axes[0]
    assert labels(loss_panel) == ["controlled", "neutral twin"]
    np.testing.assert_array_equal(loss_panel.get_lines()[1].get_ydata(), 2 * loss_panel.get_lines()[0].get_ydata())


def test_a_run_without_a_twin_has_one_loss_curve():
    trace = make_trace()
    alone = figures.RunTrace(trace.steps, trace.loss, None, trace.knobs, trace.groups)
    assert labels(figures.draw(figures.run_picture(alone)).axes[0]) == ["controlled"]


@pytest.mark.parametrize(("offset", "scale"), [(0.0, "log"), (-1.0, "linear"), (np.nan, "log")])
def test_loss_axis_is_logarithmic_when_all_losses_are_positive(offset, scale):
    trace = make_trace(offset=np.array([0, 0, 0, 0, 0, offset]))
    assert figures.draw(figures.run_picture(trace)).axes[0].get_yscale() == scale


def test_one_line_per_group_up_to_twelve_groups_then_a_heat_map():
    lines = figures.draw(figures.run_picture(make_trace(num_groups=figures.MAX_LINES))).axes[1]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines.get_lines()}) == figures.MAX_LINES
    heat_map = figures.draw(figures.run_picture(make_trace(num_groups=figures.MAX_LINES + 1))).axes[1]
    assert len(heat_map.get_lines()) == 0 and len(heat_map.collections) == 1


def test_knob_axes_carry_unit_and_scale():
    _, scale, _, dampen = figures.draw(figures.run_picture(make_trace())).axes
    assert (scale.get_ylabel(), scale.get_yscale()) == ("scale\n(× base rate)", "log")
    assert (dampen.get_ylabel(), dampen.get_yscale()) == ("dampen\n(fraction)", "linear")


def test_a_trace_of_other_shape_is_refused():
    with pytest.raises(ValueError, match=r"knob 'clip' has shape \(6, 2\); expected \(6, 3\)"):
        figures.RunTrace(range(6), np.ones(6), None, {"clip": np.ones((6, 2))}, ["a", "b", "c"])


@pytest.mark.parametrize("names", [["a"], ["a", "a.b"], ["a.b", "a.b"], ["a." + "x" * 40, "a." + "y" * 40]])
def test_short_names_fit_and_are_never_empty(names):
    assert all(0 < len(name) <= 20 for name in short_names(names))


def test_rate_picture_has_a_panel_per_task_and_a_line_per_method_and_reference():
    rates, losses = np.logspace(-5, -1, 5), np.linspace(1, 2, 5)
    curves = {task: {"controller": losses, "cosine": 2 * losses} for task in "abcde"}
    figure = figures.draw(figures.rate_picture(rates, curves, references={"a": 0.9}))
    assert [axes.get_title() for axes in figure.axes] == list("abcde")
    assert "tuned" in labels(figure.axes[0]) and "tuned" not in labels(figure.axes[1])
    assert all((axes.get_xscale(), axes.get_yscale()) == ("log", "log") for axes in figure.axes)
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"controller", "cosine", "tuned"}


def test_a_diverged_run_is_a_cross_at_its_rate():
    rates = [1e-3, 1e-2, 1e-1]
    panel = figures.draw(figures.rate_picture(rates, {"task": {"constant": [1.0, np.inf, np.nan]}})).axes[0]
    crosses = [line for line in panel.get_lines() if line.get_marker() == "x" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in crosses] == [[1e-2, 1e-1]]
    assert "diverged" in labels(panel)


def test_rate_picture_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="expected at least one task"):
        figures.rate_picture([1e-3], {})
    with pytest.raises(ValueError, match=r"final loss of 'cosine' has shape \(2,\); expected \(1,\)"):
        figures.rate_picture([1e-3], {"task": {"cosine": [1.0, 2.0]}})


def test_figures_leave_pyplot_and_its_settings_alone():
    import matplotlib

    settings = dict(matplotlib.rcParams)
    figures.figure_to_rgb(figures.draw(figures.run_picture(make_trace())))
    assert dict(matplotlib.rcParams) == settings
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_missing_matplotlib_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"optcontrol\[plot\]"):
        figures.draw(figures.run_picture(make_trace()))


def test_every_panel_of_a_run_is_titled_by_what_it_shows():
    trace = make_trace()
    titles = [axes.get_title() for axes in figures.draw(figures.run_picture(trace)).axes]
    assert titles[: 1 + len(trace.knobs)] == ["loss", *trace.knobs]
