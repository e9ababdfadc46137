"""A controller that is trained on the page: its lessons, its file, and its pictures."""

import math

import numpy as np
import pytest

from agents.playground.lessons import lesson_picture, lesson_rows, lesson_share, lesson_summary
from agents.playground.run_settings import LearnSettings
from agents.playground.validation import InvalidSetting

pytest.importorskip("stable_baselines3")
SETTINGS = LearnSettings(task="wine", steps=20, rollouts=2, knobs=("scale", "clip"))


@pytest.fixture(scope="module")
def events():
    from agents.playground.learner import learn

    return list(learn(SETTINGS))


def test_references_come_first_then_a_lesson_for_every_rollout(events):
    from agents.playground.learner import Lesson, Reference

    assert [event.controller for event in events[:2]] == ["neutral", "cosine"]
    assert all(isinstance(event, Reference) for event in events[:2])
    lessons = events[2:]
    assert all(isinstance(event, Lesson) for event in lessons)
    assert [lesson.rollout for lesson in lessons] == [0, 1, 2]
    for lesson in lessons:
        assert math.isfinite(lesson.reward) and lesson.loss > 0
        assert set(lesson.run[-1].values) == {"scale", "clip"} and lesson.run[-1].step == 20
    assert len({lesson.loss for lesson in lessons}) == 3  # it learned something, good or bad
    assert lesson_share(events, SETTINGS) == 1.0 and lesson_share(events[:4], SETTINGS) == 0.5


def test_the_return_is_the_fall_of_the_log_loss(events):
    lesson = events[-1]
    first, last = lesson.run[0].loss, lesson.run[-1].loss
    assert lesson.reward == pytest.approx(float((np.log(first) - np.log(last)).mean()))


def test_its_file_steers_a_run_of_somebodys_own(events, tmp_path):
    import torch

    import agents
    from agents.playground.learner import file_of
    from optenv import ControlledOptimizer

    path = tmp_path / "controller.safetensors"
    path.write_bytes(file_of(events[-1].policy))
    model = torch.nn.Linear(3, 1)
    optimizer = ControlledOptimizer(torch.optim.AdamW(model.parameters()), agents.load(str(path)), total_steps=20)
    for _ in range(20):
        loss = model(torch.ones(4, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(loss=loss)
    assert math.isfinite(loss.item())


def test_pictures_and_rows_hold_every_lesson(events):
    references, lessons = events[:2], events[2:]
    reward, loss = lesson_picture(SETTINGS, lessons, references).panels
    assert [line.label for line in reward.layers] == ["AdamW + ppo", "AdamW", "AdamW + cosine"]
    np.testing.assert_array_equal(loss.layers[0].y, [lesson.loss for lesson in lessons])
    rows = lesson_summary(lessons, references)
    assert [row["loss"] for row in rows] == sorted(row["loss"] for row in rows)
    assert {row["rollout"] for row in lesson_rows(lessons)} == {0, 1, 2}


def test_wrong_settings_get_a_sentence():
    with pytest.raises(InvalidSetting, match="at least one knob"):
        LearnSettings(knobs=())
    with pytest.raises(InvalidSetting, match="multiple of 20"):
        LearnSettings(steps=30)
    with pytest.raises(InvalidSetting, match="family of tasks"):
        LearnSettings(task="synthetic_sequence")
