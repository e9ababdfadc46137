"""Where a trace goes: a file of JSON lines, or TensorBoard."""

import copy
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn, optim

import optenv
from optenv.wrapper.decision_log import MAX_SCALARS, JsonLines, TensorBoard, group_names, open_writer, read_lines


class Writer:
    """A TensorBoard writer that remembers what it was given."""

    def __init__(self):
        self.scalars = {}

    def add_scalar(self, tag, value, step):
        self.scalars.setdefault(tag, []).append((step, value))


def controlled(groups, controller, trace):
    return optenv.ControlledOptimizer(optim.SGD(groups, lr=0.1), controller, steps_per_action=3, trace=trace)


def scalars_in(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_one_rule_says_where_a_trace_goes(tmp_path):
    pytest.importorskip("tensorboard")
    assert open_writer(None) is None
    assert isinstance(open_writer(tmp_path / "run.jsonl"), JsonLines)
    assert isinstance(open_writer(str(tmp_path / "run.jsonl")), JsonLines)
    assert isinstance(open_writer(tmp_path / "runs"), TensorBoard)
    assert isinstance(open_writer(Writer()), TensorBoard)
    with pytest.raises(TypeError, match=r"trace: expected a path ending in .jsonl, a directory .*; received int"):
        open_writer(3)
    assert not list(tmp_path.iterdir()), "nothing is written before the first decision"


def test_every_decision_is_in_a_tensorboard_directory_by_group(problem, fixed, tmp_path):
    pytest.importorskip("tensorboard")
    steering = controlled(problem.groups, fixed(-0.3, knobs=("scale", "clip")), tmp_path)
    problem.train(steering, 7)
    scalars, history = scalars_in(tmp_path), steering.history
    assert set(scalars) == {"control/loss", *(f"control_{k}/{g}" for k in ("rate", "scale", "clip") for g in "02")}
    assert [step for step, _ in scalars["control_rate/0"]] == [0, 3, 6]
    assert [step for step, _ in scalars["control/loss"]] == [3, 6]
    assert scalars["control_rate/2"][1][1] == pytest.approx(history[1]["rate"][1])


def test_a_copy_of_a_traced_optimizer_writes_to_the_same_directory(problem, fixed, tmp_path):
    pytest.importorskip("tensorboard")
    steering = controlled(problem.groups, fixed(0.0), tmp_path)
    problem.train(steering, 1)
    copied = copy.deepcopy(steering)
    for _ in range(3):
        copied.step(loss=1.0)
    assert [step for step, _ in scalars_in(tmp_path)["control_rate/0"]] == [0, 3]


def test_a_writer_of_the_user_s_own_gets_the_scalars(problem, fixed):
    writer = Writer()
    problem.train(controlled(problem.groups, fixed(0.0), writer), 4)
    assert [step for step, _ in writer.scalars["control_scale/0"]] == [0, 3]
    assert [step for step, _ in writer.scalars["control/loss"]] == [3]


def test_of_many_groups_tensorboard_gets_the_lowest_the_median_and_the_highest(fixed):
    writer, number = Writer(), MAX_SCALARS + 1
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": 0.1 * (g + 1)} for g in range(number)]
    controlled(groups, fixed(0.0, knobs=("scale",)), writer).step(loss=1.0)
    tags = [f"control_{knob}/{which}" for knob in ("rate", "scale") for which in ("lowest", "median", "highest")]
    assert list(writer.scalars) == tags
    rates = [writer.scalars[tag][0][1] for tag in tags[:3]]
    assert rates == pytest.approx([0.1, 0.1 * (MAX_SCALARS / 2 + 1), 0.1 * number])


def test_without_tensorboard_the_error_names_the_extra_and_json_lines_still_work(problem, fixed, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"needs tensorboard, .* pip install \"optcontrol\[plot\]\""):
        controlled(problem.groups, fixed(0.0), tmp_path)
    problem.train(controlled(problem.groups, fixed(0.0), tmp_path / "run.jsonl"), 1)


def test_a_file_names_its_groups_where_they_change_and_reads_back_as_the_history(problem, fixed, tmp_path):
    path = tmp_path / "run.jsonl"
    steering = controlled(problem.groups, fixed(0.0), path)
    problem.train(steering, 4)
    steering.add_param_group({"params": [nn.Parameter(torch.ones(1))], "name": "late"})
    problem.train(steering, 3)
    names = [json.loads(line)["groups"] for line in path.read_text().splitlines() if "groups" in line]
    assert names == [["0", "2"], ["0", "2", "late"]]
    decisions = read_lines(path)
    assert [record for record, _ in decisions] == steering.history
    assert [groups for _, groups in decisions] == [names[0], names[0], names[1]]


def test_of_a_run_resumed_from_a_checkpoint_the_last_word_counts(tmp_path):
    path = tmp_path / "run.jsonl"
    lines = [{"groups": ["a"]}] + [{"step": s, "loss": v, "rate": [0.1]} for s, v in ((0, 1), (3, 2), (6, 3), (3, 4))]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 6, "lo')
    assert [(record["step"], record["loss"]) for record, _ in read_lines(path)] == [(0, 1), (3, 4)]


@pytest.mark.parametrize("line", ["hello", "[1]", '{"epoch": 3}'])
def test_a_file_that_is_no_trace_is_one_clear_error(tmp_path, line):
    path = tmp_path / "other.jsonl"
    path.write_text(f"{line}\n{line}\n")
    with pytest.raises(ValueError, match="expected decisions of a controlled optimizer, .*; line 1 is"):
        read_lines(Path(path))


def test_groups_without_a_name_of_their_own_are_numbered():
    names = group_names([{"name": "a"}, {}, {"name": "b"}, {"name": "b"}, {"name": None}])
    assert names == ["a", "group 1", "group 2", "group 3", "group 4"]
