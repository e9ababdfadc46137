"""The guard: what it leaves alone, what it takes away, and when it gives it back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import agents
from agents.check import check_controller
from optenv import tasks
from optenv.benchmark.run import constant, run_controller, run_schedule
from optenv.control import guard
from optenv.control.controller import Controller, Interface, Neutral
from optenv.control.features import FEATURE_NAMES
from optenv.control.guard import Guard, authority_of
from optenv.control.knobs import CONTROLS
from optenv.control.loop import ControlLoop
from optenv.inner.trainer import make_trainer

KNOBS = ("scale", "clip", "dampen")
every_control = pytest.mark.parametrize("control", CONTROLS)
SETTINGS = {"absolute": {}, "relative": {}, "first update": {"control": "relative", "first_update": 0.01}}


class Told(Controller):
    """Acts as it is told: a number, or a function of the number of the decision."""

    def __init__(self, action, control="absolute", authority=None, **settings):
        self.interface = Interface(**{"knobs": KNOBS, "control": control} | settings)
        self._action, self.authority = action, authority

    def reset(self, num_runs, num_groups):
        self._count = 0

    def regroup(self, sources):
        pass

    def act(self, observation):
        self._count += 1
        action = self._action(self._count) if callable(self._action) else self._action
        return np.broadcast_to(np.asarray(action, float), (*observation.shape[:2], len(self.interface.knobs))).copy()


def views(num_runs=1, num_groups=2, **features):
    seen = np.zeros((num_runs, num_groups, len(FEATURE_NAMES)), np.float32)
    for name, value in features.items():
        seen[..., FEATURE_NAMES.index(name)] = value
    return seen


def begun(controller, num_runs=1, num_groups=2, **settings):
    guarded = Guard(controller, **settings)
    guarded.reset(num_runs, num_groups)
    return guarded


EXPLODED = {"significance": -1.0, "regret": 2.0}


@every_control
def test_while_nothing_goes_wrong_actions_pass_bit_for_bit(control):
    action = np.random.default_rng(0).uniform(-0.05, 0.05, (20, 1, 2, 3))
    guarded = begun(Told(lambda t: action[t - 1], control))
    for t in range(20):
        assert np.array_equal(guarded.act(views(significance=-0.3, regret=0.4)), action[t])
    assert (guarded.trust == 1.0).all()


def test_the_shipped_policy_runs_the_same_under_a_guard_where_nothing_goes_wrong():
    least = []

    class Watched(Guard):
        def act(self, observation):
            action = super().act(observation)
            least.append(self.confidence())
            return action

    trainer = make_trainer(tasks.get("synthetic_regression").member(14))
    seeds, rates = np.arange(3), np.array([1e-4, 1e-3, 1e-2])
    alone = run_controller(trainer, agents.load("ppo"), seeds, rates, 80, guard=False)
    under = run_controller(trainer, Watched(agents.load("ppo")), seeds, rates, 80)
    untroubled = np.min(least, axis=0) == 1.0
    assert untroubled.any()
    np.testing.assert_array_equal(alone.loss[untroubled], under.loss[untroubled])


@every_control
def test_a_loss_that_is_not_finite_fades_control_to_neutral_and_backs_off_longer_each_time(control):
    loop = ControlLoop(Interface(control=control), np.full(1, 100.0), 2)
    guarded, pauses = begun(Told(0.2, control)), []
    for _ in range(3):
        guarded.alarm(np.array([True]))
        pause = 0
        while True:
            values = loop.apply(guarded.act(views(log_scale=np.log10(loop.values()["scale"]))))
            if guarded.trust[0] > 0.0:
                break
            neutral = (values["scale"] == 1.0).all() and (values["dampen"] == 0.0).all() and (values["clip"] == 1).all()
            assert neutral or (control == "relative" and pause == 0)  # a position moves by one step at most
            pause += 1
        pauses.append(pause)
    assert pauses == [guard.FIRST_PAUSE + 1, 2 * guard.FIRST_PAUSE + 1, 4 * guard.FIRST_PAUSE + 1]
    for _ in range(40):
        guarded.act(views())
    seen = views(log_scale=guarded.position[..., 0] / np.log(10))
    assert guarded.trust[0] == 1.0 and (guarded.act(seen) == 0.2).all()


def test_a_loss_that_explodes_is_trouble_and_one_that_wavers_is_not():
    for seen, trusted in ((EXPLODED, 0.0), ({"significance": -0.5, "regret": 3.0}, 1.0), ({"regret": 5.0}, 1.0)):
        guarded = begun(Told(0.3))
        guarded.act(views(**seen))
        assert guarded.trust[0] == trusted


def test_a_significant_rise_costs_half_the_trust_and_calm_gives_it_back():
    guarded = begun(Told(0.4))
    assert guarded.act(views(significance=-0.9, regret=0.5)) == pytest.approx(0.2)
    assert guarded.act(views(significance=-0.9, regret=0.5)) == pytest.approx(0.1)
    for _ in range(15):
        action = guarded.act(views())
    assert (action == 0.4).all()


def test_each_run_is_judged_by_itself():
    guarded = begun(Told(0.3), num_runs=3)
    seen = views(3)
    seen[1] = views(**EXPLODED)[0]
    assert guarded.act(seen)[:, 0, 0].tolist() == [0.3, 0.0, 0.3]


@every_control
def test_control_that_keeps_taking_itself_back_averages_out(control):
    guarded = begun(Told(lambda t: 1.0 if t % 2 else -1.0, control))
    loop = ControlLoop(guarded.interface, np.full(1, 100.0), 2)
    scales = []
    for _ in range(30):
        scales.append(loop.apply(guarded.act(views(log_scale=np.log10(loop.values()["scale"]))))["scale"].copy())
    assert np.abs(np.log(scales[-10:])).max() < 0.1 and np.abs(np.log(scales[:2])).max() > 0.5


def test_a_schedule_that_rises_and_falls_is_not_taken_for_one_that_jumps_about():
    for name in ("one_cycle", "cosine", "warmup_stable_decay", "linear"):
        guarded = begun(agents.load(name))
        for progress in np.linspace(0.0, 0.975, 40):
            guarded.act(views(progress=progress, horizon=0.6))
        assert guarded.confidence()[0] == 1.0


def test_a_controller_that_chose_its_own_scale_fades_to_the_lower_of_its_first_and_its_last_good_one():
    for move, expected in ((0.2, 0.0), (-0.2, -1.0)):
        guarded = begun(Told(move, **SETTINGS["first update"]))
        loop = ControlLoop(guarded.interface, np.full(1, 100.0), 2)
        loop.start_at(np.full((1, 2), 1e-5))  # a thousand times the user's rate
        first = loop.positions[0, 0, 0]

        def act(loop=loop, guarded=guarded, first=first, **features):
            place = (loop.positions[..., 0] - first) / np.log(10)
            loop.apply(guarded.act(views(log_scale=place, **features)))

        for _ in range(6):
            act()
        for _ in range(4):
            act(significance=-0.2, regret=0.5)  # it goes on, but the loss has been lower
        for _ in range(3):
            act(**EXPLODED)
        np.testing.assert_allclose(loop.positions[..., 0] - first, expected, atol=1e-6)
        assert not loop.positions[..., 2].any()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@given(st.lists(arrays(float, (1, 2, 3), elements=st.floats(-1, 1)), min_size=1, max_size=8))
def test_whatever_a_controller_does_its_rate_stays_within_its_authority(settings, actions):
    asked, most = (0.05, 4.0), (0.1, 20.0)
    told = Told(lambda t: actions[t - 1], **{"control": "relative", "authority": asked} | settings)
    guarded = begun(told, max_authority=most)
    loop = ControlLoop(guarded.interface, np.full(1, np.nan), 2, guarded.authority)
    loop.start_at(np.full((1, 2), 1e-9))
    for _ in actions:
        scale = loop.apply(guarded.act(views()))["scale"]
        assert ((scale >= 0.1 * (1 - 1e-12)) & (scale <= 4.0 * (1 + 1e-12))).all()


@every_control
def test_a_guard_keeps_the_authority_even_in_a_host_that_does_not(control):
    guarded = begun(Told(1.0, control), max_authority=2.0)
    loop = ControlLoop(guarded.interface, np.full(1, np.nan), 2)
    for _ in range(5):
        scale = loop.apply(guarded.act(views(log_scale=np.log10(loop.values()["scale"]))))["scale"]
    np.testing.assert_allclose(scale, 2.0)


def test_authority_is_what_the_controller_asks_for_and_the_user_narrows():
    free = Told(0.0, **SETTINGS["first update"])
    assert authority_of(free) == pytest.approx((1e-6, 1e6))
    assert authority_of(Told(0.0, "relative")) == (0.01, 10.0)
    assert authority_of(Told(0.0, authority=(0.5, 2.0)), 10.0) == (0.5, 2.0)
    assert authority_of(free, 10.0) == (0.1, 10.0)
    assert authority_of(Neutral(), (0.001, 1.0)) == (0.01, 1.0)


@pytest.mark.parametrize("most", [0.5, -1.0, 0.0, (2.0, 3.0), (0.1,), "ten", float("nan"), float("inf")])
def test_an_authority_without_neutral_in_it_is_one_clear_error(most):
    with pytest.raises(ValueError, match="max_authority: expected a factor of at least 1, or a pair"):
        Guard(Neutral(), max_authority=most)


@every_control
def test_a_guard_goes_on_from_its_state(control):
    rng = np.random.default_rng(0)
    action, seen = rng.uniform(-1, 1, (20, 1, 2, 3)), rng.uniform(-1, 1, (20, 1, 1, 12)).repeat(2, 2)
    one, two = (begun(Told(lambda t: action[t - 1], control)) for _ in range(2))
    for t in range(10):
        one.act(seen[t])
    two.load_state_dict(one.state_dict())
    two.controller._count = 10
    for t in range(10, 20):
        assert np.array_equal(one.act(seen[t]), two.act(seen[t]))
    assert one.trust[0] < 1.0


def test_groups_that_stay_keep_their_place_and_new_ones_are_neutral():
    guarded = begun(Told(np.array([[0.3], [0.1]]), "relative"))
    guarded.act(views())
    guarded.controller._action = 0.0
    guarded.regroup(np.array([1, -1, 0]))
    assert guarded.position[0, :, 0].tolist() == [0.1, 0.0, 0.3]
    assert guarded.act(views(num_groups=3)).shape == (1, 3, 3)


def test_a_guarded_controller_conforms():
    check_controller(lambda: Guard(agents.load("adaptive")))


ADVERSARIES = {
    "random": lambda t: np.random.default_rng(t).uniform(-1.0, 1.0, 3),
    "maximal": 1.0,
    "minimal": -1.0,
    "sign-flipping": lambda t: (-1.0) ** t,
}


@pytest.fixture(scope="module")
def steep():
    """Runs of SGD that are finite at a constant rate, and would not be at ten times of it."""
    trainer = make_trainer(tasks.get("teacher_student").member(14), "sgd")
    return trainer, np.arange(3), np.full(3, 0.03), 60


def test_without_a_guard_random_control_breaks_runs_of_sgd(steep):
    assert np.isfinite(run_schedule(steep[0], constant, *steep[1:]).loss).all()
    loss = run_controller(steep[0], Told(ADVERSARIES["random"], "relative"), *steep[1:], guard=False).loss
    assert not np.isfinite(loss).any()


@every_control
@pytest.mark.parametrize("action", ADVERSARIES.values(), ids=ADVERSARIES)
def test_under_a_guard_no_adversary_does(steep, control, action):
    loss = run_controller(steep[0], Told(action, control), *steep[1:]).loss
    assert np.isfinite(loss).all()


def test_the_more_a_controller_takes_back_the_less_it_is_trusted():
    trusts = []
    for back in (0.1, 0.2, 0.4):
        guarded = begun(Told(lambda t, back=back: back if t % 2 else -back, "relative"))
        for _ in range(60):
            guarded.act(views(log_scale=guarded.position[..., 0] / np.log(10)))
        trusts.append(guarded.confidence()[0])
    # In proportion to the fourth power of what is allowed over what was found.
    np.testing.assert_allclose(trusts, [1.0, 0.5**4, 0.25**4], rtol=0.02)


def test_random_control_under_a_guard_is_hardly_worse_than_none():
    trainer = make_trainer(tasks.get("synthetic_classification").member(14))
    seeds, rates = np.arange(3), np.full(3, 0.01)
    base = run_schedule(trainer, constant, seeds, rates, 80).loss
    rng = np.random.default_rng(0)
    wild = run_controller(trainer, Told(lambda t: rng.uniform(-1, 1, 3)), seeds, rates, 80).loss
    assert np.exp(np.log(wild / base).mean()) < 1.1
