"""Settings: checked with sentences, carried by links and files, never more than a page's own."""

import json

import pytest

from agents.playground.function_settings import FunctionSettings
from agents.playground.optimizers import OPTIMIZERS
from agents.playground.presets import PRESETS
from agents.playground.run_settings import SweepSettings, TrainingSettings
from agents.playground.settings import PAGES, from_dict, from_file, from_link, to_link
from agents.playground.validation import InvalidSetting

SETTINGS = [
    *(cls() for cls in PAGES.values()),
    *(preset.settings for preset in PRESETS.values()),
    FunctionSettings(start=None, seed=7, options={"sgd": {"nesterov": True}, "mars": {"mars_type": "lion"}}),
    FunctionSettings(function="own", formula="x^2 + |y|", domain=(-1.0, 2.0, 0.0, 3.0), start=(1.0, 1.0)),
    TrainingSettings(task="synthetic_sequence:3", optimizer="lion", controllers=("ppo",), shown="ppo"),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_link_and_a_file_restore_the_settings(settings):
    assert from_link(to_link(settings)) == settings
    assert from_file(json.dumps(settings.to_dict()).encode()) == settings
    assert len(to_link(settings)) < 1000


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"iterations": 0}, "iterations: expected a whole number from 1 to 5000; received 0"),
        ({"iterations": 1e9}, "iterations: expected a whole number"),
        ({"noise": float("nan")}, "noise: expected a number from 0 to 1e"),
        ({"noise": "loud"}, "noise: expected a number"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"function": "rosenbrok"}, "unknown function 'rosenbrok'.*Did you mean 'rosenbrock'"),
        ({"function": ["levy"]}, "unknown function"),
        ({"optimizers": "adam"}, "optimizer: expected at most"),
        ({"optimizers": ["adma"]}, "unknown optimizer 'adma'.*Did you mean"),
        ({"controllers": ["../../secret.safetensors"]}, "unknown controller"),
        ({"start": [99, 0]}, "x: expected a number from -5 to 5"),
        ({"start": [1]}, "start: expected two numbers"),
        ({"options": {"adam": {"lr": 0}}}, "lr: expected a number"),
        ({"options": {"adam": 3}}, "options: expected values by name"),
        ({"options": {"sgd": {"nesterov": 7}}}, "nesterov: expected"),
        ({"colors": "rainbow"}, "unknown colors"),
        ({"cache": True}, "which this page does not have"),
        ({"page": "secrets"}, "no settings of the playground"),
        ({"page": "training", "task": "idx:/etc"}, "unknown task 'idx'"),
        ({"page": "training", "task": "synthetic_sequence"}, "is a family of tasks"),
        ({"page": "training", "lr": -1}, "lr: expected a number"),
        ({"page": "training", "optimizer": "sophia"}, "unknown optimizer"),
        ({"page": "learning_rate", "low": 0.1, "high": 0.1}, "has to be below the greatest"),
        ({"page": "learning_rate", "count": 10**9}, "count: expected a whole number from 2 to 41"),
    ],
)
def test_silly_values_get_a_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_dict({"page": "functions", **wrong})


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\xfe", b"{", b"null", b"[" * 100_000])
def test_files_that_hold_no_settings_get_a_sentence(content):
    with pytest.raises(InvalidSetting, match="settings"):
        from_file(content)


@pytest.mark.parametrize("text", ["", "x", "%%%", to_link(FunctionSettings())[:-6]])
def test_damaged_links_get_a_sentence(text):
    with pytest.raises(InvalidSetting, match="link is damaged"):
        from_link(text)


def test_a_link_cannot_blow_up():
    import base64
    import zlib

    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * 10**8 + b"{}")).decode()
    with pytest.raises(InvalidSetting, match="link is damaged"):
        from_link(bomb)


def test_nothing_to_compare_and_too_much_get_a_sentence():
    with pytest.raises(InvalidSetting, match="choose at least one optimizer"):
        FunctionSettings(optimizers=()).run()
    with pytest.raises(InvalidSetting, match="more than the 40"):
        FunctionSettings(optimizers=tuple(OPTIMIZERS), controllers=("neutral", "ppo", "cosine")).run()
    with pytest.raises(InvalidSetting, match="choose at least one controller"):
        SweepSettings(controllers=()).methods()


def test_a_penalty_runs_every_method_with_and_without_it():
    labels = [m.label for m in FunctionSettings(optimizers=("adam",), controllers=("ppo",), l1=0.1, l2=0.1).methods()]
    assert labels == ["Adam", "Adam + L1 + L2", "Adam + ppo", "Adam + ppo + L1 + L2"]


def test_a_random_start_comes_from_the_seed():
    settings = FunctionSettings(start=None, iterations=1)
    first, again = settings.run().points, settings.run().points
    assert (first == again).all()
    assert (FunctionSettings(start=None, iterations=1, seed=1).run().points[0, 0] != first[0, 0]).all()


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_runs_and_somebody_wins(preset):
    from agents.playground.measures import standings

    short = FunctionSettings(**{**vars(preset.settings), "iterations": 100})
    rows = standings(short.run(), 1e-3)
    assert sum(row.winner for row in rows) == 1
    assert ("diverge" in preset.name or preset.name == "Too high a rate") == any(row.diverged_at for row in rows)


def test_rates_of_a_sweep_are_even_in_the_logarithm_and_reach_both_ends():
    rates = SweepSettings(low=1e-4, high=1e-1, count=4).rates()
    assert rates[0] == 1e-4 and rates[-1] == 1e-1
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
