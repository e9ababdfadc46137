"""Knobs: what holds for every row of the registry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optenv.control.knobs import KNOBS, RATE, check_control, check_knobs

every_knob = pytest.mark.parametrize("knob", KNOBS.values(), ids=KNOBS)
OPTIONAL = [name for name, knob in KNOBS.items() if knob.moves not in ((), RATE)]
actions = st.floats(-1.0, 1.0)


@every_knob
def test_absolute_range_is_what_the_knob_declares(knob):
    values = knob.absolute(np.linspace(-1, 1, 41))
    assert values.min() == pytest.approx(knob.low) and values.max() == pytest.approx(knob.high)


@every_knob
@given(actions)
def test_every_absolute_value_is_in_range(knob, action):
    value = knob.absolute(np.array(action))
    assert knob.low * (1 - 1e-12) - 1e-12 <= value <= knob.high * (1 + 1e-12)


@every_knob
@given(st.floats(0.0, 1.0))
def test_every_relative_value_is_positive_or_in_range_and_finite(knob, share):
    low, high = knob.limits
    value = knob.relative(np.array(low + share * (high - low)))
    assert np.isfinite(value)
    assert knob.neutral != 1.0 or value > 0


@every_knob
def test_an_action_of_zero_is_exactly_neutral(knob):
    assert knob.absolute(np.zeros(3)).tolist() == [knob.neutral] * 3
    assert knob.relative(np.zeros(3)).tolist() == [knob.neutral] * 3
    assert knob.absolute(np.array(-0.0)) == knob.neutral


@every_knob
@given(actions, actions)
def test_larger_actions_give_larger_values(knob, first, second):
    low, high = sorted((first, second))
    assert knob.absolute(np.array(low)) <= knob.absolute(np.array(high))
    least, most = knob.limits
    low, high = (least + (a + 1) / 2 * (most - least) for a in (low, high))
    assert knob.relative(np.array(low)) <= knob.relative(np.array(high))


@every_knob
def test_relative_steps_reach_every_position_and_neutral_is_among_them(knob):
    low, high = knob.limits
    assert low <= 0.0 <= high
    assert 0 < knob.step <= high - low


@pytest.mark.parametrize("name", OPTIONAL)
@given(base=st.floats(0.0, 0.99999), shift=st.floats(-1.0, 1.0))
def test_optional_knobs_move_the_base_value_their_way_and_stay_valid(name, base, shift):
    knob = KNOBS[name]
    assert knob.move(base, knob.absolute(np.zeros(1)))[0] == base
    value = float(knob.move(base, knob.absolute(np.array(shift))))
    assert value >= 0.0
    rounding = 1e-12
    assert (value - base) * shift >= -rounding
    assert name == "weight_decay" or value < 1.0


def test_a_cap_on_the_decay_of_squares_lowers_a_longer_memory_and_leaves_a_shorter_one():
    cap = KNOBS["second_moment"]
    assert [float(cap.move(beta2, cap.absolute(np.array(-1.0)))) for beta2 in (0.95, 0.99, 0.999)] == [0.95, 0.99, 0.99]
    assert float(cap.move(0.999, cap.absolute(np.array(1.0)))) == 0.999


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("scal",), "unknown knob 'scal'; expected one of scale, .*Did you mean 'scale'"),
        (("scale", "scale"), "knobs: expected each name once"),
        ((), "knobs: expected a sequence of at least one of"),
        ("scale", "knobs: expected a sequence of at least one of"),
    ],
)
def test_unknown_repeated_or_missing_knobs_are_one_clear_error(names, message):
    with pytest.raises(ValueError, match=message):
        check_knobs(names)


def test_unknown_control_is_one_clear_error():
    with pytest.raises(ValueError, match="unknown control 'relativ'; expected one of absolute, relative. Did you mean"):
        check_control("relativ")
