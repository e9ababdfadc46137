"""The teacher with hindsight: what it is fitted to, and that an interrupted collection is the uninterrupted one."""

import threading
from functools import partial

import numpy as np
import torch
from joblib import parallel_config

from agents.training.curriculum import Curriculum
from agents.training.hindsight.teacher import fit, interpolated
from agents.training.hindsight.trials import (
    GROUPS,
    OFFSETS,
    PEAKS,
    SEEDS,
    WATCHED,
    Trials,
    collect,
    draw_and_try,
    joined,
    try_peaks,
)
from agents.training.imitation import warmup_linear
from optenv.control.controller import Interface
from optenv.control.features import FEATURE_NAMES

INTERFACE = Interface(knobs=("scale",), control="relative", first_update=0.01)
CURRICULUM = Curriculum(tasks=("quadratic:3",), budgets=(40,), settings={"lr": 1e-3})


def test_a_peak_loses_what_its_neighbours_lost_and_a_mean_between_them():
    regret = torch.arange(len(PEAKS)).float().square().expand(3, -1)
    lost = interpolated(
        regret, torch.tensor(PEAKS).repeat(3, 1), torch.tensor([PEAKS[2], 0.5 * (PEAKS[2] + PEAKS[3]), 99.0])
    )
    torch.testing.assert_close(lost, torch.tensor([4.0, 6.5, (len(PEAKS) - 1) ** 2]), atol=0.01, rtol=0.0)


def test_a_trial_holds_runs_that_differ_in_their_peak_alone():
    trials = try_peaks(CURRICULUM.draw(np.random.default_rng(0)), INTERFACE, seed=1)
    assert trials.views.shape == (SEEDS, len(PEAKS), len(WATCHED), GROUPS, len(FEATURE_NAMES))
    assert (trials.regret.min(axis=1) == 0.0).all() and (trials.regret.max(axis=1) > 0.1).all()
    scale = trials.views[0, :, WATCHED.index(2), 0, FEATURE_NAMES.index("log_scale")] * np.log(10.0)
    np.testing.assert_allclose(scale, np.clip(PEAKS, -2.0, 2.0), atol=0.03)  # two decisions, 1 nat each at most


def test_the_teacher_finds_the_best_peak_from_what_tells_it():
    generator = np.random.default_rng(0)
    views = generator.normal(size=(60, len(PEAKS), len(WATCHED), GROUPS, len(FEATURE_NAMES))).astype(np.float16)
    low = np.arange(60) % 2 == 0
    views[..., FEATURE_NAMES.index("noise")] = np.where(low, -1.0, 1.0)[:, None, None, None]
    views[..., FEATURE_NAMES.index("progress")] = 0.5
    views[..., FEATURE_NAMES.index("log_scale")] = 1.0
    best = np.where(low, PEAKS[2], PEAKS[4])[:, None]
    tried = np.tile(PEAKS, (60, 1)).astype(np.float32)
    trials = Trials(
        views,
        np.abs(tried - best),
        np.zeros(views.shape[:-1], np.float16),
        tried,
        np.ones((60, len(WATCHED)), np.float32),
    )
    seen = views[:, 0, 0, 0].astype(np.float32)
    actions = warmup_linear(seen, fit(trials, seed=0).choose(seen), INTERFACE)
    # At half of the budget the schedule stands at the peak less log 2, and this run at log 10.
    np.testing.assert_allclose(actions, np.clip(best[:, 0] - np.log(2.0) - np.log(10.0), -1.0, 1.0), atol=0.2)


def test_an_interrupted_collection_ends_as_an_uninterrupted_one(tmp_path):
    trial, settings = (
        partial(draw_and_try, CURRICULUM, INTERFACE, seed=(3,)),
        {"workers": 1, "num_features": 12, "progress": False},
    )
    whole = collect(trial, tmp_path / "whole.npz", number=3, **settings)
    collect(trial, tmp_path / "cut.npz", number=1, **settings)
    resumed = collect(trial, tmp_path / "cut.npz", number=3, **settings)
    np.testing.assert_array_equal(whole.regret, resumed.regret)
    np.testing.assert_array_equal(whole.views, resumed.views)


def test_trials_are_handed_to_the_backend_in_force(tmp_path):
    draw, threads = partial(draw_and_try, CURRICULUM, INTERFACE, seed=(3,)), set()

    def trial(index):
        threads.add(threading.get_ident())
        return draw(index)

    with parallel_config(backend="threading"):  # processes would leave the set as it is
        collect(trial, tmp_path / "trials.npz", number=2, num_features=12, workers=2, progress=False)
    assert threads and threading.get_ident() not in threads


def test_the_second_round_tries_peaks_around_those_that_the_network_chooses():
    trials = try_peaks(CURRICULUM.draw(np.random.default_rng(0)), INTERFACE, seed=1)
    network = fit(trials, seed=0)
    around = try_peaks(CURRICULUM.draw(np.random.default_rng(0)), INTERFACE, seed=1, network=network)
    chosen = network.choose(around.views.reshape(-1, len(FEATURE_NAMES)).astype(np.float32))
    np.testing.assert_allclose(around.chosen.ravel(), chosen, atol=0.05)
    np.testing.assert_allclose(around.added[0], OFFSETS)
    assert len(joined(trials, around)) == len(trials) + len(around)
