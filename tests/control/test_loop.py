"""The control loop: from actions to knob values, and the contract with controllers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from optenv.control.controller import Controller, Interface, Neutral
from optenv.control.features import FEATURE_NAMES
from optenv.control.knobs import CONTROLS, KNOBS
from optenv.control.loop import ControlLoop

N, G, K = 2, 3, len(KNOBS)
every_control = pytest.mark.parametrize("control", CONTROLS)


def make_loop(control, **settings):
    return ControlLoop(Interface(knobs=tuple(KNOBS), control=control, **settings), np.full(N, 100.0), G)


@every_control
def test_zero_actions_are_exactly_neutral_however_many(control):
    loop = make_loop(control)
    for _ in range(5):
        values = loop.apply(np.zeros((N, G, K)))
    for name, knob in KNOBS.items():
        assert (values[name] == knob.neutral).all()


@every_control
@given(st.lists(arrays(float, (N, G, K), elements=st.floats(allow_nan=False)), min_size=1, max_size=5))
def test_whatever_the_actions_values_stay_in_range(control, actions):
    loop = make_loop(control)
    for action in actions:
        values = loop.apply(action)
    for i, (name, knob) in enumerate(KNOBS.items()):
        ends = np.array(knob.limits if control == "relative" else (-1.0, 1.0))
        low, high = (knob.relative if control == "relative" else knob.absolute)(ends)
        assert (low <= values[name]).all() and (values[name] <= high).all()
        assert values[name].shape == (N, G) and (np.abs(loop.positions[:, :, i]) <= np.abs(ends).max()).all()


def test_relative_actions_add_up_and_absolute_ones_do_not():
    up = np.full((N, G, K), 0.5)
    relative, absolute = make_loop("relative"), make_loop("absolute")
    first, second = relative.apply(up)["scale"], relative.apply(up)["scale"]
    np.testing.assert_allclose(second, first**2)
    np.testing.assert_array_equal(absolute.apply(up)["scale"], absolute.apply(up)["scale"])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros((N, G)), r"action: expected shape \[runs, groups, knobs\] = \(2, 3, 7\); received \(2, 3\)"),
        (np.full((N, G, K), np.nan), r"action: expected numbers in \[-1, 1\]; received NaN"),
    ],
)
def test_misshapen_and_nan_actions_are_one_clear_error_and_change_nothing(action, message):
    loop = make_loop("relative")
    with pytest.raises(ValueError, match=message):
        loop.apply(action)
    assert (loop.positions == 0).all()


def test_the_first_scale_gives_the_first_update_that_was_asked_for():
    loop = make_loop("relative", first_update=1e-2)
    loop.start_at(np.array([[1e-4, 1e-2, 1.0], [0.0, np.nan, np.inf]]))
    np.testing.assert_allclose(loop.values()["scale"], [[100.0, 1.0, 0.01], [1.0, 1.0, 1.0]])
    loop.start_at(np.full((N, G), 1e-30))
    np.testing.assert_allclose(loop.values()["scale"], 1e6)  # as far as the knob goes
    loop = make_loop("relative")
    loop.start_at(np.full((N, G), 1e-4))
    assert (loop.values()["scale"] == 1.0).all()


def test_replacing_one_run_leaves_the_others():
    loop = make_loop("relative")
    loop.apply(np.ones((N, G, K)))
    kept = loop.positions[0].copy()
    fresh = ControlLoop(loop.interface, np.array([7.0]), G)
    loop.put(np.array([1]), fresh)
    np.testing.assert_array_equal(loop.positions[0], kept)
    assert (loop.positions[1] == 0).all() and loop.signals.total.tolist() == [100.0, 7.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": ("progres", "descent")}, "unknown feature 'progres'.*Did you mean 'progress'"),
        ({"features": FEATURE_NAMES[::-1]}, "features: expected each name once, those of the run before those of each"),
        ({"features": ("descent", "descent")}, "features: expected each name once.*received descent, descent"),
        ({"features": ("progress",)}, "features: .*of which at least one; received progress"),
        ({"features": "progress"}, "features: expected a sequence of names; received 'progress'"),
        ({"knobs": ("clp",)}, "unknown knob 'clp'.*Did you mean 'clip'"),
        ({"control": "rel"}, "unknown control 'rel'; expected one of absolute, relative"),
        ({"control": "relative", "first_update": 0.0}, "first_update: expected a ratio between 0 and 1, or None"),
        ({"control": "relative", "first_update": float("nan")}, "first_update: expected a ratio between 0 and 1"),
        ({"first_update": 0.1}, "first_update: expected relative control of the knob 'scale'"),
        ({"control": "relative", "knobs": ("clip",), "first_update": 0.1}, "first_update: expected relative control"),
        ({"decisions": 0}, "decisions: expected a whole number from 1 to 1000000; received 0"),
    ],
)
def test_an_interface_that_no_host_offers_is_one_clear_error(settings, message):
    with pytest.raises(ValueError, match=message):
        Interface(**settings)


def test_the_neutral_controller_acts_zero_and_has_nothing_to_save(tmp_path):
    controller = Neutral()
    controller.reset(N, G)
    action = controller.act(np.zeros((N, G, len(FEATURE_NAMES))))
    assert action.shape == (N, G, len(controller.interface.knobs)) and not action.any()
    with pytest.raises(TypeError, match="Neutral has nothing to save"):
        controller.save(tmp_path / "x")
    assert isinstance(controller, Controller)
