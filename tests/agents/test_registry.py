"""Controllers by name and the command line."""

import pytest

import agents
from agents.cli import main


def test_every_name_loads():
    for name in agents.names():
        controller = agents.load(name)
        controller.reset(1, 2)


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


def test_the_command_line_trains_evaluates_and_reports(tmp_path, capsys):
    arguments = [
        "train",
        "--task",
        "quadratic",
        "--rollouts",
        "1",
        "--hindsight",
        "1",
        "--workers",
        "0",
        "--suite",
        "quick",
    ]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "geometric mean" in printed and "controller.safetensors" in printed
    assert {"evaluation.csv", "evaluation.md", "evaluation.png", "controller.safetensors"} <= {
        p.name for p in tmp_path.iterdir()
    }
