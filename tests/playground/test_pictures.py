"""Pictures and files: one description, two canvases, and settings in every export."""

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from agents.playground.export import FORMATS, Exhibit, to_csv, to_html, to_json, to_png
from agents.playground.function_settings import FUNCTION, FunctionSettings
from agents.playground.landscape import FRAMES, LIFT, Ground, clip_path, curves, exits, landscape
from agents.playground.measures import race_rows, summary_rows
from agents.playground.run_settings import SweepSettings, TrainingSettings
from agents.playground.settings import from_dict, from_file
from agents.playground.steering import Progress
from agents.playground.trainings import (
    Trial,
    finished,
    knob_picture,
    loss_picture,
    mean_loss,
    run_rows,
    run_summary,
    share_done,
    sweep_picture,
    sweep_rows,
    sweep_summary,
)
from optenv.figures import draw, figure_to_rgb
from optenv.figures.picture import Axis, Crosses, Field, Line, Panel, Picture
from optenv.figures.plotly_canvas import plotly_figure

plotly = pytest.importorskip("plotly")
BOX = (-1.0, 1.0, -1.0, 1.0)
SETTINGS = FunctionSettings(
    function="rosenbrock",
    start=(-1.5, 2.0),
    optimizers=("gd", "adam", "sgd"),
    iterations=60,
    options={"gd": {"lr": 0.01}, "sgd": {"lr": 5e-3}},
)


@pytest.fixture(scope="module")
def result():
    return SETTINGS.run()


def exhibit(result):
    pictures = {"paths": landscape(result, view="contour", log=True, colors="cividis"), "curves": curves(result)}
    return Exhibit(SETTINGS, summary_rows(result, 1e-3), race_rows(result), pictures)


def test_a_path_is_cut_at_the_border_where_it_crosses_and_gaps_are_left_outside():
    path = np.array([[0.0, 0.0], [0.5, 0.5], [2.0, 0.5], [2.0, -0.5], [0.0, -0.5], [np.nan, np.nan]])
    expected = [[0, 0], [0.5, 0.5], [1, 0.5], [np.nan, np.nan], [np.nan, np.nan], [1, -0.5], [0, -0.5], [np.nan] * 2]
    np.testing.assert_allclose(clip_path(path, BOX), expected)
    assert np.isnan(clip_path(np.array([[2.0, 2.0], [3.0, 3.0]]), BOX)).all()
    np.testing.assert_array_equal(clip_path(np.zeros((1, 2)), BOX), np.zeros((1, 2)))
    crossing = clip_path(np.array([[-2.0, 0.0], [2.0, 0.0]]), BOX)
    np.testing.assert_allclose(crossing[np.isfinite(crossing).all(-1)], [[-1, 0], [1, 0]])


@pytest.mark.parametrize("view", ["contour", "surface"])
def test_paths_that_leave_or_diverge_are_shown_so_and_nothing_is_drawn_outside(result, view):
    assert result.diverged_at[0] >= 0 and result.diverged_at[1] < 0
    picture = landscape(result, view=view, log=True, colors="cividis")
    assert "diverges" in [layer.label for layer in picture.panels[0].layers]
    low_x, high_x, low_y, high_y = result.function.bounds
    for layer in (*picture.panels[0].layers, *(line for frame in picture.panels[0].frames for line in frame)):
        if isinstance(layer, Line) and np.isfinite(np.asarray(layer.x, float)).any():
            assert np.nanmin(layer.x) >= low_x and np.nanmax(layer.x) <= high_x
            assert np.nanmin(layer.y) >= low_y and np.nanmax(layer.y) <= high_y
    out = exits(result)[0]
    assert out is not None and (np.isclose(out, (low_x, low_y)).any() or np.isclose(out, (high_x, high_y)).any())


@pytest.mark.parametrize("view", ["contour", "surface"])
def test_the_animation_can_be_played_paused_and_stepped_in_both_views(result, view):
    figure = plotly_figure(landscape(result, view=view, log=False, colors="viridis"))
    names = [frame.name for frame in figure.frames]
    assert names[0] == "0" and names[-1] == "60" and len(names) == FRAMES + 1
    play, pause = figure.layout.updatemenus[0].buttons
    assert play.method == pause.method == "animate" and play.args[0] is None and list(pause.args[0]) == [None]
    assert [step.label for step in figure.layout.sliders[0].steps] == names
    moving = [figure.data[k] for k in figure.frames[0].traces]
    assert all(len(frame.data) == len(moving) for frame in figure.frames)
    kinds = {"contour": "scatter", "surface": "scatter3d"}
    assert {trace.type for trace in moving} == {kinds[view]}
    # A head sits where its method was at that iteration.
    heads = [k for k, trace in enumerate(moving) if trace.mode == "markers"]
    head = figure.frames[20].data[heads[1]]
    at = int(names[20])
    assert (head.x[0], head.y[0]) == pytest.approx(tuple(result.points[1, at]))


def test_both_canvases_draw_the_same_description(result):
    picture = curves(result)
    drawn, figure = draw(picture), plotly_figure(picture)
    named = {line.get_label(): line for line in drawn.axes[0].get_lines() if not line.get_label().startswith("_")}
    traces = {trace.name: trace for trace in figure.data if trace.showlegend}
    assert list(named) == list(traces) == result.labels
    for name, line in named.items():
        assert line.get_color() == traces[name].line.color
        np.testing.assert_array_equal(np.float32(line.get_ydata()), np.asarray(traces[name].y))
    assert [ax.get_ylabel() for ax in drawn.axes] == [figure.layout.yaxis.title.text, figure.layout.yaxis2.title.text]


def test_paths_appear_as_they_were_run(result):
    frames = landscape(result, view="contour", log=True, colors="cividis").panels[0].frames
    lengths = [np.isfinite(np.asarray(frame[2].x)).sum() for frame in frames]  # of Adam's path
    assert lengths[0] == 1 and lengths == sorted(lengths) and lengths[-1] == 61
    np.testing.assert_array_equal(frames[-1][2].x, result.points[1, :, 0])


def test_short_logarithmic_axes_say_their_numbers_in_full_and_long_ones_powers_of_ten():
    def ticks(values):
        line = Line([0, 1], values)
        return plotly_figure(Picture((Panel(Axis("x"), Axis("y", "log"), (line,)),))).layout.yaxis.ticktext

    assert {"0.1", "0.2", "0.5", "1"} <= set(ticks([0.11, 2.3])) and ticks([1e-9, 1.0]) is None


def test_a_landscape_is_an_image_below_the_lines(result):
    figure = plotly_figure(landscape(result, view="contour", log=True, colors="cividis"))
    (image,) = figure.layout.images
    assert image.layer == "below" and image.source.startswith("data:image/png;base64,")
    assert (image.x, image.y, image.sizex, image.sizey) == (-2.0, 3.0, 4.0, 4.0)
    assert not any(trace.type == "contour" for trace in figure.data)


def test_every_axis_has_a_label(result):
    for picture in (landscape(result, view="surface", log=True, colors="magma"), curves(result)):
        for panel in picture.panels:
            assert panel.x.label and panel.y.label and (panel.z is None or panel.z.label)


def test_twenty_eight_methods_all_look_different():
    from optenv.figures.picture import style

    assert len({style(k) for k in range(28)}) == 28


def test_heights_on_the_surface_lie_on_it():
    ground = Ground.of(FUNCTION["levy"], log=False, grid=41)
    points = np.stack(np.meshgrid(ground.x, ground.y), -1).reshape(-1, 2)
    lift = LIFT * np.ptp(ground.heights)
    np.testing.assert_allclose(ground.height(points), ground.heights.ravel() + lift)


def test_exports_hold_the_numbers_and_the_settings_that_reproduce_them(result):
    shown = exhibit(result)
    text = to_csv(shown).decode()
    assert from_dict(json.loads(text.splitlines()[0].removeprefix("# "))) == SETTINGS
    rows = list(csv.DictReader(io.StringIO(text.partition("\n")[2])))
    adam = [row for row in rows if row["method"] == "Adam"]
    np.testing.assert_array_equal([float(row["x"]) for row in adam], result.points[1, :, 0])
    assert len([row for row in rows if row["method"] == "GD"]) == result.diverged_at[0]
    assert from_file(to_json(shown)) == SETTINGS
    np.testing.assert_array_equal(SETTINGS.run().points, result.points)


def test_a_picture_is_written_without_a_browser_and_carries_its_settings(result):
    from PIL import Image

    image = Image.open(io.BytesIO(to_png(exhibit(result))))
    assert image.size[0] == 800 and image.size[1] > 1000
    assert from_dict(json.loads(image.text["settings"])) == SETTINGS


def test_a_page_needs_no_network_and_carries_its_settings(result):
    page = to_html(exhibit(result)).decode()
    assert not re.search(r'<script[^>]+src=|<link[^>]+href="http', page)
    assert page.count("Plotly.newPlot") >= 2 and page.count("Plotly.addFrames") >= 1
    inside = re.search(r'<script type="application/json" id="settings">(.*?)</script>', page, re.DOTALL)
    assert inside and from_dict(json.loads(inside.group(1))) == SETTINGS


def test_a_page_cannot_be_broken_out_of():
    settings = TrainingSettings()
    shown = Exhibit(settings, [{"<b>": "</script><script>alert(1)</script>"}], [], {})
    assert "<script>alert" not in to_html(shown).decode()


def progress(name, step, loss, groups=2, total=10, runs=1):
    values = {"scale": np.full((runs, groups), 0.5 + step)}
    names = tuple(f"layer{g}" for g in range(groups))
    return Progress(name, step, total, np.full(runs, loss), values, names, np.array([1e-3] * runs))


def test_training_pictures_show_every_controller_and_the_knobs_of_one():
    events = [progress(name, step, 1.0 / (1 + step)) for step in (0, 5, 10) for name in ("neutral", "ppo")]
    settings = TrainingSettings(controllers=("neutral", "ppo"))
    trials = [Trial(settings, events)]
    (panel,) = loss_picture(trials).panels
    assert [layer.label for layer in panel.layers] == ["AdamW", "AdamW + ppo"] and panel.y.scale == "log"
    picture = knob_picture(events[1::2])
    (lines,) = picture.panels  # each knob that is turned, once; no other
    assert lines.y.label.split("\n")[0] == "scale" and len(lines.layers) == 2
    np.testing.assert_array_equal(lines.layers[0].y, [5.5, 10.5])
    (heat,) = knob_picture([progress("ppo", 5, 1.0, groups=30)]).panels
    assert isinstance(heat.layers[0], Field)
    nothing = [replace(event, values={}) for event in events[::2]]
    assert knob_picture(nothing) is None
    assert figure_to_rgb(draw(picture)).ndim == 3 and plotly_figure(picture).data
    assert share_done(events[:4], settings) == pytest.approx(0.5) and share_done(events, settings) == 1.0
    assert {row["group"] for row in run_rows(trials)} == {"layer0", "layer1"}
    assert [row["controller"] for row in run_summary(trials)] == ["neutral", "ppo"]


def test_a_sweep_is_drawn_once_a_controller_is_through_and_a_lost_run_is_a_cross():
    settings = SweepSettings(count=2, num_seeds=2, steps=10, low=1e-3, high=1.0)
    assert sweep_picture([progress("ppo", 5, np.nan, runs=4)], settings) is None
    lost = Progress("neutral", 10, 10, np.array([1.0, 4.0, 1.0, np.inf]), {}, ("a",), np.array([1e-3, 1e-3, 1.0, 1.0]))
    events = [lost, progress("ppo", 10, 0.5, runs=4)]
    picture = sweep_picture(events, settings)
    crosses = [layer for layer in picture.panels[0].layers if isinstance(layer, Crosses)]
    assert [list(np.asarray(c.x)) for c in crosses] == [[1.0], []]
    assert plotly_figure(picture).layout.annotations[-1].text == "✕"
    flat, best = sweep_summary(events, settings)
    assert best["best"] == pytest.approx(2.0) and best["worst"] == np.inf and flat["worst_over_best"] == 1.0
    assert len(sweep_rows(events, settings)) == 8 and sweep_rows(events, settings)[1]["seed"] == 1
    assert set(finished(events)) == {"neutral", "ppo"}
    np.testing.assert_allclose(mean_loss(np.array([[1.0, 4.0], [0.0, 2.0], [1.0, np.inf]])), [2.5, 1.0, np.inf])
    np.testing.assert_allclose(mean_loss(np.array([[1.0, 4.0], [1.0, np.inf]])), [2.0, np.inf])


def test_every_format_has_a_writer_a_name_and_a_media_type():
    assert list(FORMATS) == ["CSV", "JSON", "PNG", "HTML"]
    assert all(callable(write) and ending and "/" in media for write, ending, media in FORMATS.values())
