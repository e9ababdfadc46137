"""Imitation: what a teacher records, and that policies of every kind learn to answer as it does."""

import numpy as np
import pytest

import agents
from agents.rules import auto
from agents.training.imitation import NOISE, ScheduleTeacher
from agents.training.reinforcement import TrainSettings, train
from optenv import tasks
from optenv.benchmark.run import run_controller
from optenv.control.controller import Interface
from optenv.control.features import FEATURE_NAMES
from optenv.inner.trainer import make_trainer

INTERFACE = Interface(knobs=("scale", "dampen"), control="relative", first_update_norm=0.35)


PEAK = np.log(auto.PEAK / 0.35)


def demonstration(interface, reveal_budget=True):
    """A teacher that has steered four runs of 80 steps: what it saw, and what is to be answered."""
    teacher = ScheduleTeacher(interface, np.random.default_rng(0))
    trainer, rates = make_trainer(tasks.get("quadratic:1")), np.full(4, 1e-3)
    run_controller(trainer, teacher, np.arange(4), rates, 80, reveal_budget=reveal_budget, guard=False)
    return np.stack(teacher.seen), np.stack(teacher.wanted)


@pytest.mark.parametrize(("reveal_budget", "end"), [(True, -1.9), (False, PEAK)])
def test_the_schedule_is_followed_in_spite_of_the_noise_down_to_the_first_scale_or_at_its_peak(reveal_budget, end):
    seen, wanted = demonstration(INTERFACE, reveal_budget)
    position = seen[..., FEATURE_NAMES.index("log_scale")] * np.log(10.0)
    assert abs(position[4].mean() - PEAK) < 3 * NOISE  # e-fold at a time at most, from 0
    assert abs(position[-1].mean() - end) < 1.0 and not wanted[..., 1].any()
    # Noise moves it off the schedule by NOISE each time, and the answer is the way back.
    assert 0.1 < np.abs(wanted[10:30, :, 0]).mean() < 2 * NOISE


@pytest.mark.parametrize("agent", ["ppo", "recurrent_ppo"])
def test_a_policy_that_has_only_imitated_answers_as_the_teacher_in_runs_it_has_not_seen(agent, tmp_path, monkeypatch):
    monkeypatch.setattr("agents.training.reinforcement.EPISODES", 3)
    chosen = {"tasks": ("quadratic:1",), "budgets": (80,), "knobs": INTERFACE.knobs, "features": INTERFACE.features}
    settings = TrainSettings(agent=agent, environments=3, workers=0, rollouts=0, **chosen)
    policy = agents.load(train(settings, tmp_path, progress=False))
    seen, wanted = demonstration(settings.interface)
    policy.reset(seen.shape[1], 1)
    answers = np.stack([policy.act(rows[:, None])[:, 0] for rows in seen])
    # The last decisions differ from all others, and are few.
    assert np.square(answers - wanted)[:-5].mean() < 0.25 * np.square(wanted)[:-5].mean()


def test_a_schedule_cannot_be_taught_where_scale_is_not_turned_relatively():
    with pytest.raises(ValueError, match="expected relative control of 'scale' first"):
        ScheduleTeacher(Interface(knobs=("scale",)), np.random.default_rng(0))
