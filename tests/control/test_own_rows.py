"""Knobs and features of one's own: a row in a registry is all that control needs."""

import numpy as np
import pytest

from optenv.control.controller import Controller, Interface, Neutral, check_base
from optenv.control.features import FEATURE_NAMES, FEATURES, Feature, bounds, flatten, unflatten
from optenv.control.guard import NEEDED_FEATURES, Guard
from optenv.control.knobs import KNOBS, Knob, rate_factor
from optenv.control.loop import ControlLoop

EPS = {
    "name": "eps", "why": "multiplies eps", "low": 0.1, "high": 10.0, "neutral": 1.0,
    "absolute": lambda a: 10.0**a, "moves": ("eps",), "move": lambda eps, factor: eps * factor,
}  # fmt: skip


@pytest.fixture
def eps(monkeypatch):
    monkeypatch.setitem(KNOBS, "eps", Knob(**EPS))


def test_an_own_knob_takes_its_values_under_both_controls(eps):
    for control, expected in (("absolute", 10.0**0.5), ("relative", 10.0**0.125)):
        loop = ControlLoop(Interface(knobs=("scale", "eps"), control=control), np.array([10.0]), 2)
        values = loop.apply(np.full((1, 2, 2), 0.5))
        np.testing.assert_allclose(values["eps"], np.full((1, 2), expected))


def test_a_knob_of_the_learning_rate_multiplies_the_others(monkeypatch):
    half = Knob(**EPS | {"name": "half", "moves": ("lr",), "move": lambda rate, factor: rate * factor})
    monkeypatch.setitem(KNOBS, "half", half)
    values = {"scale": np.array([2.0]), "half": np.array([0.5]), "dampen": np.array([0.25]), "clip": np.array([0.1])}
    assert rate_factor(values).tolist() == [0.75] and rate_factor({"clip": np.array([0.1])}) == 1.0


@pytest.mark.parametrize(
    "wrong", [{"absolute": lambda a: 10.0**a + 1e-12}, {"relative": lambda a: a}, {"move": lambda eps, factor: factor}]
)
def test_a_knob_that_is_not_neutral_at_zero_is_refused(wrong):
    with pytest.raises(ValueError, match=r"knob 'eps': expected .* to be neutral, \(1.0, 1.0, 0.5\); received"):
        Knob(**EPS | wrong)


@pytest.mark.parametrize("missing", ["moves", "move"])
def test_a_knob_that_moves_nothing_is_refused(missing):
    with pytest.raises(ValueError, match="knob 'eps': expected `moves` and `move`, to say what it does"):
        Knob(**{name: value for name, value in EPS.items() if name != missing})


def test_a_feature_of_the_wrong_shape_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(FEATURES, "odd", Feature("odd", "is of the wrong shape", 0.0, 1.0, lambda s: np.zeros((1, 2))))
    loop = ControlLoop(Interface(features=("odd", "descent")), np.array([10.0]), 2)
    with pytest.raises(ValueError, match=r"feature 'odd': expected shape \(1,\); received \(1, 2\)"):
        loop.observe()


def test_a_base_with_nothing_for_a_knob_is_refused_unless_the_knob_is_optional():
    controller = Neutral()
    controller.interface = Interface(knobs=("scale", "clip", "momentum"))
    check_base(controller, "SGD", ["lr", "momentum"])
    with pytest.raises(ValueError, match="knob 'momentum': expected a base optimizer with beta1 or momentum; received"):
        check_base(controller, "Adagrad", ["lr", "eps"])
    controller.optional_knobs = ("momentum",)
    check_base(controller, "Adagrad", ["lr", "eps"])


@pytest.fixture
def own_features(monkeypatch):
    for per_group, shape in ((False, (1,)), (True, (1, 2))):
        name = "own_of_group" if per_group else "own_of_run"
        row = Feature(name, "counts", -1.0, 1.0, lambda s, shape=shape: np.full(shape, 0.5), per_group)
        monkeypatch.setitem(FEATURES, name, row)


def test_an_interface_observes_the_features_that_it_names_in_its_order(own_features):
    names = ("own_of_run", "progress", "log_scale", "own_of_group")
    loop = ControlLoop(Interface(features=names), np.array([10.0]), 2)
    seen = loop.observe()
    assert seen[0].tolist() == [[0.5, 0.0, 0.0, 0.5]] * 2
    low, high = bounds(2, names)
    assert flatten(seen, names).shape == (1, 6) and low.tolist() == [-1, -1, -4, -1, -4, -1] and len(high) == 6
    np.testing.assert_array_equal(unflatten(flatten(seen, names), names), seen)


def test_an_own_feature_changes_nothing_for_those_who_do_not_ask_for_it(own_features):
    assert Interface().features == FEATURE_NAMES
    assert ControlLoop(Interface(), np.array([10.0]), 2).observe().shape == (1, 2, 12)


class Recorder(Controller):
    """Acts 0 and remembers what it saw."""

    def __init__(self):
        self.interface = Interface(features=("own_of_run", "own_of_group"), knobs=("scale",))

    def reset(self, num_runs, num_groups):
        self.seen = []

    def act(self, observation):
        self.seen.append(observation)
        return np.zeros((*observation.shape[:2], 1))


def test_a_guard_observes_what_it_needs_and_passes_on_what_its_controller_asked_for(own_features):
    guard = Guard(Recorder())
    assert set(guard.interface.features) == {*guard.controller.interface.features, *NEEDED_FEATURES}
    guard.reset(1, 2)
    loop = ControlLoop(guard.interface, np.array([10.0]), 2)
    loop.decide(guard)
    np.testing.assert_array_equal(guard.controller.seen[0], np.full((1, 2, 2), 0.5, np.float32))
