"""The loss around a path: the plane is that of the principal components, and its losses are the task's."""

import numpy as np
import pytest

from agents.playground.landscape import paths_over
from agents.playground.plane import Plane, evaluate, explore, plane_rows, principal_plane
from agents.playground.run_settings import PlaneSettings
from agents.playground.steering import Progress, follow
from optenv.figures.picture import Axis

SETTINGS = PlaneSettings(task="wine", steps=20, controllers=("neutral", "ppo"), seed=3)


@pytest.fixture(scope="module")
def events():
    return list(explore(SETTINGS))


def test_the_plane_of_points_in_a_plane_holds_them_whole():
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.normal(size=(30, 2)))[0].T
    points = generator.normal(size=(9, 2)) * (3.0, 1.0) @ basis + 5.0
    center, axes, share = principal_plane(np.vstack([points, np.full(30, np.nan)]))
    assert share == pytest.approx(1.0)
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(center + (points - center) @ axes.T @ axes, points, atol=1e-10)


def test_every_run_is_shown_live_and_the_plane_comes_last(events):
    *runs, plane = events
    assert all(isinstance(event, Progress) for event in runs) and isinstance(plane, Plane)
    assert plane.controllers == SETTINGS.controllers and plane.steps[0] == 0 and plane.steps[-1] == 20
    assert plane.paths.shape == (2, len(plane.steps), 2) and 0.5 < plane.share <= 1.0
    np.testing.assert_array_equal(plane.paths[0, 0], plane.paths[1, 0])  # the same weights at the start
    low_x, high_x, low_y, high_y = plane.bounds
    assert (plane.paths > (low_x, low_y)).all() and (plane.paths < (high_x, high_y)).all()
    last = {event.controller: float(event.loss[0]) for event in runs}
    np.testing.assert_array_equal(plane.path_losses[:, -1], [last["neutral"], last["ppo"]])


def test_the_loss_at_the_weights_of_a_run_is_the_runs_own():
    seeds, rates = np.array([SETTINGS.seed], np.uint64), np.array([SETTINGS.lr])
    weights, losses = [], []
    for progress, runs in follow(SETTINGS, "ppo", seeds, rates):
        weights.append(runs.states[0][1].params[0].double().numpy().copy())
        losses.append(float(progress.loss[0]))
    np.testing.assert_allclose(evaluate(SETTINGS, np.stack(weights)), losses, rtol=1e-5)  # one float32 batch or many


def test_the_plane_is_drawn_in_two_and_three_dimensions_and_listed(events):
    plane = events[-1]
    for view in ("contour", "surface"):
        axes = Axis("first"), Axis("second")
        picture = paths_over(plane.ground(log=True), plane.race("adamw"), plane.steps, axes, view=view, colors="magma")
        (panel,) = picture.panels
        assert [line.label for line in panel.frames[-1] if line.label] == ["AdamW", "AdamW + ppo"]
        assert panel.frame_names[-1] == "20" and (panel.z is not None) == (view == "surface")
    rows = plane_rows(plane)
    assert len(rows) == 2 * len(plane.steps) + plane.losses.size


def test_a_run_that_diverges_ends_its_path_and_not_the_page():
    settings = PlaneSettings(task="wine", optimizer="sgd", lr=100.0, steps=40, controllers=("neutral", "cosine"))
    plane = list(explore(settings))[-1]
    assert isinstance(plane, Plane) and np.isfinite(plane.losses).any()
