"""OptBrain in numpy: neutral until it knows, learns from the sketched gradient, saves all, and stays small."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agents import OptBrain
from agents.policies.optbrain.brain import INPUTS, PATIENCE, RAISES, REACH, Brain
from agents.policies.optbrain.credit import (
    CAP,
    FREE_ABOVE,
    LOWER_BELOW,
    LOWER_BELOW_WITHOUT_BUDGET,
    RAISE_ABOVE,
    credit,
)
from agents.policies.optbrain.numpy_optimizer import EVERY

NEUTRAL = (1.0, 1.0, 0.0)
CURVATURE = np.geomspace(0.1, 1.0, 40)


def descend(brain, rate, steps, noise=0.0, seed=0):
    """Train a quadratic bowl, in as many groups as the brain has; return the losses and the decisions made."""
    generator = np.random.default_rng(seed)
    weights = [np.ones(40) for _ in range(brain.num_groups)]
    losses, made = [], []
    for _ in range(steps):
        losses.append(sum(0.5 * float(CURVATURE @ w**2) for w in weights))
        made.append(brain.get_decisions(loss=losses[-1]))
        for group, w in enumerate(weights):
            grad = CURVATURE * w + noise * generator.normal(size=40)
            brain.record_grads(group, grad)
            scale, _, dampen = made[-1][group]
            w -= rate * scale * (1.0 - dampen) * grad
        brain.finish_step()
    return losses, made


def test_it_runs_as_published_where_torch_gymnasium_and_stable_baselines_cannot_be_imported():
    code = """
import sys
for name in ("torch", "gymnasium", "stable_baselines3", "safetensors"): sys.modules[name] = None
from agents import OptBrain
import numpy as np
brain, weights = OptBrain(None, n_groups=5), np.ones((5, 30))
for step in range(200):
    decisions = brain.get_decisions(loss=float((weights**2).sum()))
    for group in range(5):
        grad_flat = 2 * weights[group]
        brain.record_grads(group, grad_flat)
        scale, clip, dampen = decisions[group]
        weights[group] -= 1e-3 * scale * (1 - dampen) * grad_flat
    brain.finish_step()
brain.save(sys.argv[1]); brain.load(sys.argv[1])
assert brain.get_brain_state()["learned"] and decisions[4][0] > 1.5, decisions
"""
    path = "big_brain.npz"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=root, capture_output=True, text=True, env={"PYTHONPATH": str(root)}
    )
    (root / path).unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr


def test_it_is_exactly_neutral_before_it_has_learned_anything():
    _, made = descend(OptBrain(None, n_groups=3), 1e-3, EVERY * PATIENCE - 5)
    assert all(decisions == {0: NEUTRAL, 1: NEUTRAL, 2: NEUTRAL} for decisions in made)


def test_a_far_too_low_rate_is_raised_and_the_loss_ends_lower():
    alone, _ = descend(OptBrain(None, n_groups=2, brain_update_every=10_000), 1e-3, 600)
    losses, made = descend(OptBrain(None, n_groups=2), 1e-3, 600)
    assert made[-1][0][0] > 0.9 * REACH
    assert losses[-1] < 0.3 * alone[-1]


def test_a_rate_that_overshoots_is_lowered():
    _, made = descend(OptBrain(None, n_groups=1), 1.98, 400)
    assert made[-1][0][0] < 0.9


def test_noise_alone_does_not_move_the_rate():
    brain, generator = OptBrain(None, n_groups=1), np.random.default_rng(0)
    for _ in range(2000):
        decisions = brain.get_decisions(loss=1.0 + 0.1 * generator.normal())
        brain.record_grads(0, generator.normal(size=500))
        brain.finish_step()
    assert 0.8 < decisions[0][0] < 1.25
    assert np.abs(brain.controller.brain.weights[:, 0]).max() < 0.5  # gradients of noise do not agree


def test_with_the_budget_known_the_rate_settles_towards_its_end_and_without_it_does_not():
    scales = {}
    for total in (None, 600):
        _, made = descend(OptBrain(None, n_groups=1, total_steps=total), 0.2, 600, noise=1.0)
        scales[total] = made[-1][0][0]
    assert scales[600] < 0.3 < 0.7 < scales[None]


def test_decisions_stay_within_a_hundredth_of_the_users_rate_and_what_it_may_reach():
    _, made = descend(OptBrain(None, n_groups=1, brain_lr=50.0), 1e-4, 300)
    assert max(d[0][0] for d in made) == pytest.approx(REACH, rel=0.1)  # what a group observes moves its own a little
    _, made = descend(OptBrain(None, n_groups=1, brain_lr=50.0, total_steps=600), 0.05, 600, noise=1.0)
    assert min(d[0][0] for d in made) >= 0.01


def test_one_policy_serves_all_groups_and_does_not_grow_with_them():
    sizes = {n: OptBrain(None, n_groups=n).get_brain_state()["weights"].size for n in (1, 47)}
    assert sizes[1] == sizes[47]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_losses_and_gradients_never_reach_the_weights_of_the_brain(bad):
    brain, clean = OptBrain(None, n_groups=2), np.linspace(0.5, 1.0, 30)
    for step in range(300):
        brain.get_decisions(loss=bad if step % 7 == 0 else 1.0 / (1 + step))
        brain.record_grads(0, clean)
        brain.record_grads(1, np.where(np.arange(30) == 3, bad, clean) if step % 5 == 0 else clean)
        brain.finish_step()
    state = brain.get_brain_state()
    assert np.isfinite(state["weights"]).all() and np.isfinite(state["descent"]).all()
    assert state["weights"].any()  # it learned all the same
    assert all(np.isfinite(d).all() for d in map(np.array, state["decisions"].values()))


def test_a_saved_brain_goes_on_exactly_as_it_would_have(tmp_path):
    brain, path = OptBrain(None, n_groups=2, seed=3), tmp_path / "exactly.this"
    descend(brain, 1e-3, 157)
    brain.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["exactly.this"]
    other = OptBrain(None, n_groups=2, brain_hidden=4, seed=9)
    other.load(path)
    assert descend(other, 1e-3, 150) == descend(brain, 1e-3, 150)


def test_loading_executes_nothing(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, format=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="expected a brain file"):
        OptBrain(None, n_groups=1).load(path)


def test_a_brain_of_another_number_of_groups_is_refused_and_changes_nothing(tmp_path):
    path, brain = tmp_path / "b.npz", OptBrain(None, n_groups=3)
    OptBrain(None, n_groups=2).save(path)
    descend(brain, 1e-3, 100)
    before = brain.get_brain_state()
    with pytest.raises(ValueError, match="expected the brain of 3 parameter groups; received 2"):
        brain.load(path)
    assert brain.get_brain_state()["decisions"] == before["decisions"]
    assert np.array_equal(brain.get_brain_state()["weights"], before["weights"])


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "other"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "b.npz"
    brain = OptBrain(None, n_groups=2)
    descend(brain, 1e-3, 100)
    brain.save(path)
    content = path.read_bytes()
    half = len(content) // 2
    written = {
        "cut": content[:half],
        "flipped": content[:half] + bytes(255 - b for b in content[half : half + 40]) + content[half + 40 :],
        "text": b"not a brain",
    }
    if damage == "other":
        np.savez(path, a=np.zeros(3))
    else:
        path.write_bytes(written[damage])
    with pytest.raises(ValueError, match="b.npz"):
        OptBrain(None, n_groups=2).load(path)


def test_a_file_with_numbers_that_are_not_finite_is_refused(tmp_path):
    brain = OptBrain(None, n_groups=1)
    descend(brain, 1e-3, 100)
    brain.controller.brain.weights[0, 0, 0] = np.nan
    brain.save(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="'weights' finite"):
        OptBrain(None, n_groups=1).load(tmp_path / "b.npz")


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.npz: expected a brain file"):
        OptBrain(None, n_groups=1, pretrained="nowhere.npz")


def test_a_pretrained_brain_begins_with_what_it_had_learned_and_goes_on(tmp_path):
    first = OptBrain(None, n_groups=1, brain_lr=0.1)
    _, made = descend(first, 1e-3, 200)
    first.save(tmp_path / "b.npz")
    second = OptBrain(None, n_groups=2, brain_lr=0.1, pretrained=tmp_path / "b.npz")
    _, again = descend(second, 1e-3, 300)
    assert again[20][0][0] == pytest.approx(made[-1][0][0], rel=0.3) and again[20][0][0] > 1.2
    assert again[-1][1][0] > again[20][1][0]


@pytest.mark.parametrize("size", [10, 20_000])
def test_state_and_file_stay_below_50_kb_with_47_groups_whatever_the_model(tmp_path, size):
    brain = OptBrain(None, n_groups=47)
    generator = np.random.default_rng(0)
    for step in range(35):
        brain.get_decisions(loss=1.0 + step)
        for group in range(47):
            brain.record_grads(group, generator.normal(size=size))
        brain.finish_step()
    brain.save(tmp_path / "b.npz")
    assert (tmp_path / "b.npz").stat().st_size <= 50_000


def test_reward_teaches_all_three_decisions_and_explores_only_once_paid():
    brain = Brain(seed=1)
    inputs, progress = np.zeros((4, 2, len(INPUTS))), np.full(4, -1.0)
    target = np.array([0.4, -0.5, 0.6])
    brain.begin(4)
    assert not brain.decide(inputs, progress).any()
    for _ in range(1500):
        actions = brain.decide(inputs, progress)
        brain.reward(-np.square(actions - target).mean(axis=(1, 2)))
    assert np.allclose(actions.mean(axis=(0, 1)), target, atol=0.25)
    brain.begin(4)  # what reward taught stays
    assert np.allclose(brain.decide(inputs, progress).mean(axis=(0, 1)), target, atol=0.3)


def test_evidence_between_the_set_points_moves_nothing():
    ones = np.ones(50)
    for progress, lower in ((-1.0, LOWER_BELOW_WITHOUT_BUDGET), (0.1, LOWER_BELOW)):
        descent = np.linspace(lower, RAISE_ABOVE, 50)
        assert not credit(descent, ones, ones, ones > 0.0, progress * ones, 0.01 * ones).any()


def test_rates_rise_only_early_while_gradients_agree_and_the_curve_is_straight():
    one, ones, early = np.array([0.8]), np.ones(1), np.ones(1, bool)
    assert credit(one, ones, ones, early, -ones, ones)[0] > 0.5
    assert credit(one, 0.0 * ones, ones, early, -ones, ones)[0] == 0.0
    assert credit(one, ones, 0.1 * ones, early, -ones, ones)[0] == 0.0
    assert credit(one, ones, ones, ~early, -ones, ones)[0] == 0.0


@pytest.mark.parametrize("total", [None, 100])
def test_descent_that_appears_only_later_raises_nothing(total):
    brain = Brain()
    brain.begin(1)
    straight = np.arcsinh(40.0 / np.arange(1, 101)) / np.arcsinh(40.0)  # each fall the mean one of the run so far
    for decision in range(100):
        descent = 0.8 if decision >= RAISES else 0.0
        inputs = np.array([[[straight[decision], 0.0, 0.8, descent]]])
        actions = brain.decide(inputs, np.array([-1.0 if total is None else decision / total]))
    assert not actions.any()
    assert _raised_at_once(total) > 0.5


def test_a_bound_holds_for_the_run_as_a_whole_and_stays_while_the_budget_settles():
    brain, inputs, far = Brain(), np.zeros((1, 2, len(INPUTS))), np.array([[4.0 * CAP, 0.0]])
    for progress, moved in ((0.7, 0.01 * far), (0.8, far), (0.9, 0.0 * far)):
        brain.begin(1)
        brain.decide(inputs, np.array([0.0]), moved=0.0 * far)
        first = brain.decide(inputs, np.array([0.1]), moved=far)
        assert first[0, 0, 0] == first[0, 1, 0] == pytest.approx(-np.log(4.0) / np.log(100.0))
        assert np.array_equal(brain.decide(inputs, np.array([progress]), moved=moved), first)


def test_weights_that_still_go_far_downhill_are_not_bounded():
    brain, inputs = Brain(), np.zeros((1, 1, len(INPUTS)))
    brain.begin(1)
    inputs[..., INPUTS.index("descent")] = FREE_ABOVE
    for _ in range(3):
        assert not brain.decide(inputs, np.array([0.0]), moved=np.array([[9.0 * CAP]])).any()


def test_without_weights_in_numpy_alone_nothing_is_bounded():
    _, made = descend(OptBrain(None, n_groups=1), 0.5, EVERY * PATIENCE - 5)
    assert all(decisions == {0: NEUTRAL} for decisions in made)


def test_a_run_of_few_decisions_has_time_to_raise_all_the_same():
    _, made = descend(OptBrain(None, n_groups=1, total_steps=300), 1e-3, 300)  # 12 % of it are four decisions
    assert made[150][0][0] > 0.9 * REACH


def _raised_at_once(total):
    """The same descent from the start on: the action of the last decision that may raise."""
    brain = Brain()
    brain.begin(1)
    for decision in range(RAISES):
        fall = np.arcsinh(40.0 / (1 + decision)) / np.arcsinh(40.0)
        inputs = np.array([[[fall, 0.0, 0.8, 0.8]]])
        actions = brain.decide(inputs, np.array([-1.0 if total is None else decision / total]))
    return actions[0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "n_groups: expected a whole number of at least 1; received None"),
        ({"n_groups": 0}, "n_groups: expected a whole number of at least 1; received 0"),
        ({"n_groups": 1, "brain_hidden": 0}, "brain_hidden"),
        ({"n_groups": 1, "brain_update_every": 0}, "brain_update_every"),
        ({"n_groups": 1, "brain_lr": float("nan")}, "rate"),
        ({"n_groups": 1, "total_steps": -5}, "total_steps"),
    ],
)
def test_a_wrong_argument_is_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        OptBrain(None, **arguments)


def test_an_unknown_group_is_named():
    with pytest.raises(ValueError, match="group: expected a number from 0 to 1; received 2"):
        OptBrain(None, n_groups=2).record_grads(2, np.zeros(3))
