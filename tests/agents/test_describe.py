"""`optcontrol list NAME` describes whatever has a name."""

import pytest
import torch

import agents
import optenv
from agents.cli import main
from agents.describe import all_names, describe


@pytest.mark.parametrize("name", sorted(set(all_names())))
def test_everything_with_a_name_is_described_by_more_than_its_kind(name):
    first, *others = describe(name).split("\n")
    assert first.startswith(f"{name}: ") and len(" ".join(others).split()) >= 8


def test_a_description_says_the_numbers_the_reason_and_the_source(capsys):
    assert main(["list", "wine"]) == 0
    printed = capsys.readouterr().out
    assert "wine: task, split held_out" in printed and "batch_size: 16" in printed and "178 wines" in printed
    assert "low: 0.01\nhigh: 10.0\nneutral: 1.0" in describe("scale")
    assert "peak" in describe("auto") and "bowl" in describe("quadratic") and "rise(p" in describe("cosine")
    assert "Kingma and Ba 2015" in describe("adam") and "defaults: {'beta1': 0.9" in describe("adam")
    assert "telescopes" in describe("log_loss_decrease")
    assert "| trained on |" in describe("ppo")


def test_an_unknown_name_is_one_line_with_the_nearest(capsys):
    assert main(["list", "digits_ml"]) == 2
    assert capsys.readouterr().err.endswith("Did you mean 'digits_mlp'?\n")


def test_a_controlled_optimizer_says_which_controller_steers_it(tmp_path):
    def text(controller):
        base = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
        return repr(optenv.ControlledOptimizer(base, controller, total_steps=10))

    path = tmp_path / "mine.safetensors"
    agents.load("ppo").save(path)
    shipped = text(agents.load("ppo"))
    assert "controller: MlpController('ppo', file " in shipped and ", format 1), relative scale" in shipped
    assert f"controller: MlpController('mine', file {path}, format 1), relative scale" in text(agents.load(path))
    assert "controller: AutoController, " in text(agents.load("auto"))
