"""Policy files: what is written is read, and a file that does not fit is one clear error."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from safetensors.numpy import save_file

from agents.policies.feed_forward.controller import MlpController
from agents.policies.loading import KINDS, load_policy
from optenv.control.controller import Interface
from optenv.control.features import FEATURE_NAMES
from optenv.control.policy_file import FORMAT, VERSION, PolicyFile

F, H = len(FEATURE_NAMES), 4
INTERFACE = Interface(knobs=("scale", "clip"), control="relative", first_update=0.01)
SETTINGS = {"hidden": "tanh", "output": "tanh"}


def tensors(**changes):
    rng = np.random.default_rng(0)
    shapes = {"mean": (F,), "weight0": (H, F), "bias0": (H,), "weight1": (2, H), "bias1": (2,)}
    drawn = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {k: v for k, v in (drawn | {"std": np.ones(F, np.float32)} | changes).items() if v is not None}


def metadata(**changes):
    rows = {"format": FORMAT, "version": str(VERSION), "kind": "mlp", "notes": "{}"}
    rows |= {"interface": json.dumps(asdict(INTERFACE)), "settings": json.dumps(SETTINGS)} | changes
    return {k: v for k, v in rows.items() if v is not None}


def interface(**changes):
    return json.dumps(asdict(INTERFACE) | changes)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "controller.safetensors"


def test_a_saved_controller_is_the_same_when_loaded_and_saved_again(path, tmp_path):
    PolicyFile("mlp", INTERFACE, tensors(), SETTINGS, {"seed": 3}).write(path)
    controller = load_policy(path)
    observation = np.random.default_rng(1).normal(size=(2, 3, F))
    action = controller.act(observation)
    assert action.shape == (2, 3, 2) and (np.abs(action) <= 1).all() and controller.interface == INTERFACE
    controller.save(tmp_path / "again.safetensors")
    np.testing.assert_array_equal(load_policy(tmp_path / "again.safetensors").act(observation), action)
    assert PolicyFile.read(path).notes == {"seed": 3}
    assert not list(tmp_path.glob("*.part"))


def test_the_policy_is_the_network_it_says(path):
    t = tensors()
    x = np.random.default_rng(1).normal(size=(1, 1, F))
    hidden = np.tanh((x - t["mean"]) @ t["weight0"].T + t["bias0"])
    expected = np.tanh(hidden @ t["weight1"].T + t["bias1"])
    np.testing.assert_allclose(MlpController(PolicyFile("mlp", INTERFACE, t, SETTINGS)).act(x), expected, rtol=1e-6)


def test_a_missing_file_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"controller.safetensors: expected a controller file"):
        load_policy(path)


def test_a_file_of_another_kind_is_refused(path):
    path.write_bytes(b"\x80\x04\x95 a pickle, or anything")
    with pytest.raises(ValueError, match="expected a safetensors file; it is damaged or something else"):
        load_policy(path)


def test_a_truncated_file_is_refused_wherever_it_was_cut(path):
    PolicyFile("mlp", INTERFACE, tensors(), SETTINGS).write(path)
    whole = path.read_bytes()
    for length in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="expected a safetensors file; it is damaged"):
            load_policy(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": None}, f"expected format '{FORMAT}'; received None"),
        ({"format": "another"}, f"expected format '{FORMAT}'; received 'another'"),
        ({"version": str(VERSION + 1)}, f"expected file version {VERSION} or older; received '{VERSION + 1}'"),
        ({"version": None}, f"expected file version {VERSION} or older"),
        ({"version": "new"}, f"expected file version {VERSION} or older; received 'new'"),
        ({"kind": "mpl"}, "unknown kind of controller 'mpl'.*Did you mean 'mlp'"),
        ({"interface": interface(knobs=["scale", "warp"])}, "unknown knob 'warp'"),
        ({"interface": interface(features=["los", "descent"])}, "unknown feature 'los'"),
        ({"interface": interface(control="sideways")}, "unknown control 'sideways'"),
        ({"interface": interface(speed=3)}, "unexpected keyword argument 'speed'"),
        ({"interface": interface(decisions="many")}, "decisions: expected a whole number from 1 .*; received 'many'"),
        ({"interface": "{"}, "controller.safetensors: expected a controller file .*; expected JSON"),
        ({"interface": "[]"}, "expected an object by name; received list"),
        ({"interface": None}, "'interface' is missing"),
        (
            {"settings": json.dumps({"hidden": "tan", "output": "tanh"})},
            "unknown activation 'tan'.*Did you mean 'tanh'",
        ),
        ({"settings": "[1]"}, "expected an object by name; received list"),
    ],
)
def test_a_foreign_newer_or_damaged_file_is_one_clear_error(path, changes, message):
    save_file(tensors(), path, metadata(**changes))
    with pytest.raises(ValueError, match=message):
        load_policy(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight0": np.full((H, F), np.nan, np.float32)}, "expected finite numbers in 'weight0'"),
        ({"mean": np.full(F, np.inf, np.float32)}, "expected finite numbers in 'mean'"),
        ({"std": np.zeros(F, np.float32)}, "expected positive numbers in 'std'"),
        ({"bias1": None}, "expected tensors .*; missing bias1"),
        ({"mean": None}, "expected tensors .*; missing mean"),
        ({"weight0": None}, "expected tensors .*; missing"),
        ({"weight0": np.ones((H, F + 1), np.float32)}, f"expected 'weight0' of shape .{H}, {F}., floats"),
        ({"bias1": np.ones((3,), np.float32)}, "expected 'bias1' of shape .2,., floats; received .3,."),
        ({"bias0": np.ones((), np.float32)}, "expected 'weight0' of shape .1, 12., floats"),
        ({"mean": np.ones(F + 1, np.float32)}, f"expected 'mean' of shape .{F},., floats"),
    ],
)
def test_tensors_that_are_no_policy_are_one_clear_error(path, changes, message):
    save_file(tensors(**changes), path, metadata())
    with pytest.raises(ValueError, match=message):
        load_policy(path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_refuses_a_file_without_tensors(path, kind):
    settings = {**SETTINGS, "history_length": 2, "extended": False, "groups": 2}
    save_file({"nothing": np.zeros(1)}, path, metadata(kind=kind, settings=json.dumps(settings)))
    with pytest.raises(ValueError, match="policy file: expected tensors"):
        load_policy(path)
