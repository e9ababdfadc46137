"""Watching a controlled optimizer: its trace, its history and what it says of itself."""

import json

import numpy as np
import pytest
import torch
from torch import nn, optim

import optenv
from optenv.control.controller import Neutral
from optenv.wrapper.decision_log import MIN_RECORDS, DecisionLog, capacity


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": 60, "steps_per_action": 3} | settings)


def read(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    lines = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    return [line for line in lines if "step" in line]  # the others name the groups


def test_every_decision_is_a_line_of_the_trace(problem, fixed, tmp_path):
    path = tmp_path / "deep" / "trace.jsonl"
    controller = fixed(-0.3, knobs=("scale", "clip", "dampen"))
    steering = controlled(optim.SGD(problem.groups, lr=0.1), controller, trace=path)
    schedule = optim.lr_scheduler.ExponentialLR(steering, 0.9)
    problem.train(steering, 7, schedule)
    lines = read(path)
    assert [line["step"] for line in lines] == [0, 3, 6]
    assert set(lines[0]) == {"step", "loss", "skipped", "rate", "scale", "clip", "dampen"}
    assert lines[0]["loss"] is None and lines[1]["loss"] > 0
    scale = 100**-0.3
    for line in lines:
        assert line["rate"] == pytest.approx([0.1 * 0.9 ** line["step"] * scale] * 2, rel=1e-5)
        assert line["scale"] == pytest.approx([scale] * 2, rel=1e-5) and line["dampen"] == [0.0, 0.0]
    assert steering.history == lines


def test_dampening_is_part_of_the_effective_rate(problem, fixed):
    base = optim.AdamW(problem.groups, lr=torch.tensor(0.1))
    steering = controlled(base, fixed(0.25, knobs=("dampen",)))
    problem.train(steering, 1)
    assert steering.history[0]["rate"] == pytest.approx([0.075] * 2)


def test_a_trace_is_appended_to_and_never_holds_what_json_cannot(problem, tmp_path):
    path = tmp_path / "trace.jsonl"
    for _ in range(2):
        steering = controlled(optim.SGD(problem.groups, lr=0.1), Neutral(), trace=path)
        for loss in (float("nan"), float("inf")) * 3:
            problem.loss(0).backward()
            steering.step(loss=loss)
    assert [line["loss"] for line in read(path)] == [None] * 4


def test_without_a_trace_no_file_is_written(problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problem.train(controlled(optim.SGD(problem.groups, lr=0.1), Neutral()), 4)
    assert not list(tmp_path.iterdir())


def test_the_history_is_bounded_and_covers_the_whole_run_evenly():
    trace, groups = DecisionLog(), [{"lr": 0.1}] * 100
    for step in range(10 * capacity(100, 1) + 3):
        trace.add(step, 1.0, groups, {"scale": np.ones((1, 100))})
        assert len(trace._records) <= capacity(100, 1)
    steps = [record["step"] for record in trace.records()]
    assert steps[0] == 0 and steps[-1] > 8 * capacity(100, 1) and len(steps) >= capacity(100, 1) // 2
    assert len(set(np.diff(steps))) == 1


def test_a_run_of_forty_decisions_is_kept_whole_up_to_half_a_dozen_groups():
    assert min(map(capacity, (1, 2, 6))) >= 40 and capacity(10**6) == MIN_RECORDS


def test_what_it_says_of_itself_is_short_and_names_what_steers_what(fixed):
    groups = [{"params": [nn.Parameter(torch.ones(1))]} for _ in range(300)]
    scales = np.linspace(-0.5, 0.5, 300)[:, None]
    steering = controlled(optim.SGD(groups, lr=0.1), fixed(scales, knobs=("scale",)))
    text = repr(steering)
    assert "base: SGD, 300 parameter groups" in text and "controller: Fixed, absolute scale" in text
    assert "step 0 of 60, a decision every 3" in text and "paused" not in text
    steering.step(loss=1.0)
    steering.pause()
    text = repr(steering)
    assert "step 1 of 60" in text and "scale: 0.1 to 3.16" in text and "paused" in text
    assert len(text.splitlines()) < 10
    assert "of unknown" in repr(optenv.ControlledOptimizer(optim.SGD(groups, lr=0.1), Neutral()))
