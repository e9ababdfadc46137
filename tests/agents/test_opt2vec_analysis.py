"""Embeddings are collected, projected and drawn; configurations are swept, and a sweep goes on where it was."""

import numpy as np
import pytest

import agents
from agents.training.curriculum import members
from agents.training.opt2vec.embeddings import PROJECTIONS, collect, embedding_figure, project
from agents.training.opt2vec.sweep import SPACE, Effort, development, sweep


@pytest.fixture(scope="module")
def found():
    return collect(agents.load("opt2vec"), ["quadratic:3", "synthetic_regression:6"], total=40, runs=2)


def test_an_embedding_for_every_decision_run_and_group_with_what_is_known_of_it(found):
    groups = {"quadratic:3": 5, "synthetic_regression:6": int((found.task == "synthetic_regression:6").sum() / 80)}
    assert found.vectors.shape == (40 * 2 * sum(groups.values()), 64) and np.isfinite(found.vectors).all()
    assert {len(values) for values in found.labels.values()} == {len(found.vectors)}
    progress = found.labels["progress"]
    assert progress.min() == 0.0 and progress.max() == 39 / 40
    assert len(set(found.labels["base rate"])) == 4 and found.labels["rate"].std() > 0


def test_embeddings_are_those_of_the_controller_in_its_run(found):
    policy, quadratic = agents.load("opt2vec"), found.task == "quadratic:3"
    policy.reset(1, 1)
    policy.act(np.zeros((1, 1, 12), np.float32))
    assert policy.embedding.shape == (1, 1, 64)
    late = quadratic & (found.labels["progress"] > 0.9)
    early = quadratic & (found.labels["progress"] < 0.1)
    between = np.linalg.norm(found.vectors[late].mean(0) - found.vectors[early].mean(0))
    assert between > 2.0 * found.vectors[late].std(0).mean()  # it knows where in the run it is


@pytest.mark.parametrize("method", PROJECTIONS)
def test_projections_are_planes_and_repeat(method, found):
    few = found.vectors[:60]
    plane = project(few, method)
    assert plane.shape == (60, 2) and np.isfinite(plane).all()
    assert np.array_equal(plane, project(few, method))


def test_an_unknown_projection_is_named():
    with pytest.raises(ValueError, match="Did you mean 'PCA'"):
        project(np.zeros((5, 3)), "PCE")
    with pytest.raises(ValueError, match="quadratic:0"):
        collect(agents.load("opt2vec"), ["quadratic"])


def test_the_figure_has_a_panel_for_every_projection_and_label(found, tmp_path):
    pytest.importorskip("matplotlib")
    figure = embedding_figure(found, most=60)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == len(PROJECTIONS) * len(found.labels)
    figure.savefig(tmp_path / "embeddings.png")
    assert (tmp_path / "embeddings.png").stat().st_size > 10_000


TINY = Effort(
    meta_steps=1,
    tasks_per_step=1,
    fitting_steps=0,
    inner_steps=1,
    train=("quadratic:0",),
    judge=("quadratic:14",),
    seeds=1,
)


def test_a_sweep_tries_configurations_and_goes_on_where_it_was(tmp_path):
    optuna = pytest.importorskip("optuna", reason="sweeps need Optuna, the extra 'sweep'")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = tmp_path / "sweep.db"
    first = sweep(storage, 1, effort=TINY)
    assert len(first.trials) == 1 and set(first.best_params) == set(SPACE)
    again = sweep(storage, 2, effort=TINY)
    assert len(again.trials) == 2 and again.trials[0].params == first.trials[0].params
    assert len(sweep(storage, 2, effort=TINY).trials) == 2


def test_configurations_are_judged_on_members_that_are_left_out():
    assert "quadratic:14" in development() and not set(development()) & set(members())
