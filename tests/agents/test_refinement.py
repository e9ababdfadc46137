"""Evolution after reinforcement learning: it begins with what was learned, and resumes exactly."""

from dataclasses import replace

import numpy as np
import pytest

import agents
from agents.evolution import checkpoint
from agents.evolution.flat import flatten
from agents.refinement import FOLDER
from agents.training import TrainSettings, read_settings, train
from optenv.control.policy import PolicyFile

TINY = TrainSettings(tasks=("quadratic:0",), budgets=(40,), slots=1, workers=0, rollouts=1, generations=2, hindsight=0)


@pytest.fixture(autouse=True)
def one_episode(monkeypatch):
    """What a recurrent policy imitates is not what is tested here."""
    monkeypatch.setattr("agents.training.EPISODES", 1)


@pytest.mark.parametrize("name", ["ppo", "recurrent_ppo"])
def test_the_search_begins_where_reinforcement_learning_ended_and_moves_on(name, tmp_path):
    alone = PolicyFile.read(train(replace(TINY, agent=name, generations=0), tmp_path / "alone", progress=False))
    path = train(replace(TINY, agent=name), tmp_path / "both", progress=False)
    refined = PolicyFile.read(path)
    distance = np.abs(flatten(refined) - flatten(alone)).max()
    assert 0.0 < distance < 0.05  # two steps of Adam, at most 0.015 each
    np.testing.assert_array_equal(refined.tensors["mean"], alone.tensors["mean"])
    assert refined.kind == alone.kind and refined.notes[FOLDER]["generations"] == 2
    assert agents.load(path).interface == alone.interface


def test_a_search_that_was_cut_off_ends_as_an_uninterrupted_one(tmp_path, monkeypatch):
    whole = train(TINY, tmp_path / "whole", progress=False)

    class Killed(BaseException):
        pass

    def save_then_die(*arguments):
        checkpoint.save_search(*arguments)
        raise Killed

    monkeypatch.setattr("agents.evolution.training.save_search", save_then_die)
    with pytest.raises(Killed):
        train(TINY, tmp_path / "cut", progress=False)
    monkeypatch.undo()
    resumed = train(read_settings(tmp_path / "cut"), tmp_path / "cut", resume=True, progress=False)
    np.testing.assert_array_equal(flatten(PolicyFile.read(resumed)), flatten(PolicyFile.read(whole)))
