"""Controllers by name and the command line."""

import csv

import numpy as np
import pytest

import agents
from agents.check import observations, play
from agents.cli import main
from agents.policies.loading import load_policy, pretrained, pretrained_names
from agents.registry import MAKERS
from agents.rules.baselines import RandomScale
from optenv.benchmark.scores import SCORES
from optenv.benchmark.suites import SUITES


def test_a_name_loads_the_trained_controller_where_one_ships_and_a_new_one_elsewhere():
    for name in agents.names():
        expected = load_policy(pretrained(name)) if name in pretrained_names() else agents.make(name)
        seen = observations(np.random.default_rng(0), 2, 3, names=expected.interface.features)
        np.testing.assert_array_equal(play(agents.load(name), seen), play(expected, seen), err_msg=name)
    seen = observations(np.random.default_rng(0), 2, 3)
    assert play(agents.load("garo"), seen).any() and not play(agents.make("garo"), seen).any()


def test_a_registered_controller_of_ones_own_is_made_loaded_and_listed_by_its_name(monkeypatch):
    monkeypatch.setitem(MAKERS, "own", lambda spread=0.5: RandomScale(seed=7, spread=spread))
    assert "own" in agents.names()
    seen = observations(np.random.default_rng(0), 2, 3)
    np.testing.assert_array_equal(play(agents.load("own"), seen), play(RandomScale(seed=7, spread=0.5), seen))
    assert np.abs(play(agents.make("own", spread=0.1), seen)).max() <= 0.1


def test_unknown_names_are_one_clear_error():
    with pytest.raises(ValueError, match="unknown controller 'neutrall'.*Did you mean 'neutral'"):
        agents.load("neutrall")
    with pytest.raises(ValueError, match="unknown controller 'x'"):
        agents.make("x")
    with pytest.raises(FileNotFoundError, match="expected a controller file"):
        agents.load("runs/nothing/controller.safetensors")


def test_the_command_line_lists_and_complains_in_one_line(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "digits_mlp" in listed and "scale" in listed and "log_loss_decrease" in listed
    assert main(["train", "--reward", "los", "--rollouts", "1"]) == 2
    assert capsys.readouterr().err.startswith("optcontrol: unknown reward 'los'")


def test_the_command_line_writes_a_controller_and_its_losses_beside_those_of_schedules(tmp_path, capsys):
    asked = ["train", "--task", "quadratic", "--rollouts", "1", "--hindsight", "1", "--workers", "1"]
    assert main([*asked, "--suite", "quick", "--out", str(tmp_path)]) == 0
    with (tmp_path / "evaluation.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["score"] == "final"]
    assert {row["task"] for row in rows} == {case.task for case in SUITES["quick"].cases}

    def losses(method):
        return np.array([float(row["loss"]) for row in rows if row["method"].endswith(method)])

    # It sets its own first rate, so that it ends alike from all base rates; a constant rate does not.
    assert len(losses("/controller")) == len(losses("constant")) > len(losses("tuned")) > 0
    by_rate = [losses(m).reshape(-1, 2, 2).mean(axis=2) for m in ("/controller", "constant")]  # [tasks, rates]
    spreads = [np.log(each.max(axis=1) / each.min(axis=1)).max() for each in by_rate]
    assert spreads[0] < 0.1 < 1.0 < spreads[1]
    assert all((tmp_path / f"evaluation_{score}.png").read_bytes().startswith(b"\x89PNG") for score in SCORES)
    assert (tmp_path / "evaluation.md").read_text() in capsys.readouterr().out
    assert agents.load(tmp_path / "controller.safetensors").interface.first_update_norm == 0.35
