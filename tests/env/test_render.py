"""Pictures and texts of a run."""

import numpy as np
import pytest

from optenv.env import OptControlEnv
from optenv.env.episode_record import EpisodeRecord
from optenv.env.render import MAX_BARS, RENDERERS, draw_text, sparklines, trace
from optenv.env.vector_env import METADATA


@pytest.mark.parametrize("mode", METADATA["render_modes"])
def test_every_render_mode_draws_from_the_first_observation_to_the_last(tiny_task, mode):
    env = OptControlEnv(task=tiny_task, num_inner_steps=10, render_mode=mode)
    env.reset(seed=0)
    frames = [env.render()]
    for _ in range(2):
        env.step(env.action_space.sample())
        frames.append(env.render())
    assert set(RENDERERS) == set(METADATA["render_modes"])
    if mode == "rgb_array":
        assert all(frame.dtype == np.uint8 and frame.shape == frames[0].shape == (730, 640, 3) for frame in frames)
        assert all((a != b).any() for a, b in zip(frames, frames[1:], strict=False))
    else:
        assert [frame.splitlines()[0] for frame in frames] == ["step 0", "step 5", "step 10"]


def test_without_a_render_mode_nothing_is_drawn_and_no_twin_is_run(tiny_task):
    env = OptControlEnv(task=tiny_task)
    env.reset(seed=0)
    assert env.render() is None and env.vector._twins is None


def test_what_is_drawn_is_the_run_beside_its_uncontrolled_twin(make_envs, play):
    env, uncontrolled = make_envs(2, render_mode="ansi", num_inner_steps=30), make_envs(2, num_inner_steps=30)
    _, infos = env.reset(seed=0)
    twins = [uncontrolled.reset(seed=0)[1]["loss"]]
    losses = [infos["loss"], *(step[4]["loss"] for step in play(env, 4))]
    neutral = np.zeros(env.action_space.shape, np.float32)
    twins += [uncontrolled.step(neutral)[4]["loss"] for _ in range(4)]
    for row, record in enumerate(env._records):
        drawn = trace(record, env.group_names(row))
        assert drawn.steps == [0, 5, 10, 15, 20]
        np.testing.assert_array_equal(drawn.loss, np.stack(losses)[:, row])
        np.testing.assert_array_equal(drawn.baseline, np.stack(twins)[:, row])
        assert set(drawn.knobs) == set(env.settings.knobs)
        assert (np.asarray(drawn.knobs["scale"])[0] == 1).all()


def test_a_new_episode_begins_a_new_picture(make_envs, play):
    env = make_envs(2, render_mode="ansi", num_inner_steps=10)
    env.reset(seed=0)
    play(env, 3)
    assert [record.steps for record in env._records] == [[0, 5]] * 2
    assert [text.splitlines()[0] for text in env.render()] == ["step 5"] * 2


def test_groups_that_only_pad_are_not_drawn(make_envs, tiny_family, play):
    env = make_envs(8, task=tiny_family, render_mode="ansi")
    env.reset(seed=0)
    play(env, 2)
    for row, text in enumerate(env.render()):
        assert [line.split()[0] for line in text.splitlines()[4:]] == [
            f"layer{k}" for k in range(env.num_groups()[row])
        ]


def test_the_text_says_what_was_done():
    record = EpisodeRecord()
    record.steps, record.loss, record.twin = [0.0, 5.0], [2.0, 0.5], [2.0, 1.0]
    record.knobs = [
        {"scale": np.ones(2), "dampen": np.zeros(2)},
        {"scale": np.array([1.5, 0.25]), "dampen": np.zeros(2)},
    ]
    expected = """\
step 5
loss          0.5       █▁
neutral twin  1         █▅
group         scale        dampen
stem            1.5             0
head           0.25             0"""
    assert draw_text(record, ("stem", "head")) == expected
    many = draw_text(record, [f"layer{k}" for k in range(2)]).splitlines()
    assert len(many) == 6


def test_of_many_groups_the_first_are_written():
    record = EpisodeRecord()
    record.steps, record.loss, record.twin = [0.0], [2.0], [np.nan]
    record.knobs = [{"scale": np.ones(40)}]
    text = draw_text(record, [f"layer{k}" for k in range(40)])
    assert len(text.splitlines()) == 17 and text.endswith("and 28 more")


@pytest.mark.parametrize(
    ("curve", "bars"),
    [
        ([1.0], "▁"),
        ([3.0, 3.0], "▁▁"),
        ([-1.0, 0.0, 1.0], "▁▅█"),
        ([np.nan, np.inf], "··"),
        ([1.0, np.inf, 100.0], "▁·█"),
    ],
)
def test_a_curve_of_any_losses_is_a_row_of_bars(curve, bars):
    assert sparklines([curve]) == [bars]


def test_a_long_curve_keeps_its_ends():
    (bars,) = sparklines([np.linspace(1, 2, 1000)])
    assert len(bars) == MAX_BARS and bars[0] == "▁" and bars[-1] == "█"
