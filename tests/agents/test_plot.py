"""`optcontrol plot`: a trace or a training becomes a picture beside it."""

import json

import numpy as np
import pytest

from agents.cli import main
from agents.plot import run_trace

pytest.importorskip("matplotlib")


def write(path, decisions, groups):
    lines = [{"groups": groups}, *decisions]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def decision(step, loss, rate, **knobs):
    return {"step": step, "loss": loss, "rate": rate, "scale": rate, **knobs}


@pytest.fixture
def trace(tmp_path):
    decisions = [
        decision(0, None, [0.1, 0.2], clip=[1.0, 1.0], dampen=[0.0, 0.5]),
        decision(5, 2.0, [0.2, None], clip=[0.5, 1.0], dampen=[0.0, 0.5]),
        decision(10, 1.0, [0.3, 0.4], clip=[2.0, 1.0], dampen=[0.0, 0.5]),
    ]
    return write(tmp_path / "run.jsonl", decisions, ["first", "second"])


def test_a_decision_holds_from_its_step_to_the_next_beside_the_loss_in_between(trace):
    run = run_trace(trace)
    assert list(run.steps) == [0, 5, 10] and list(run.groups) == ["first", "second"]
    np.testing.assert_array_equal(run.loss, [np.nan, 2.0, 1.0])
    assert list(run.knobs) == ["rate", "clip", "dampen"]
    np.testing.assert_array_equal(run.knobs["rate"], [[0.1, 0.2], [0.1, 0.2], [0.2, np.nan]])
    np.testing.assert_array_equal(run.knobs["clip"], [[1.0, 1.0], [1.0, 1.0], [0.5, 1.0]])


def test_groups_that_come_and_go_keep_a_line_each(tmp_path):
    path = write(tmp_path / "run.jsonl", [decision(0, None, [0.1])], ["a"])
    late = [{"groups": ["b", "a"]}, decision(5, 1.0, [0.2, 0.3]), decision(9, 1.0, [0.2, 0.3])]
    path.write_text(path.read_text() + "".join(json.dumps(line) + "\n" for line in late))
    run = run_trace(path)
    assert list(run.groups) == ["a", "b"]
    np.testing.assert_array_equal(run.knobs["rate"], [[0.1, np.nan], [0.1, np.nan], [0.3, 0.2]])


def test_the_picture_lies_beside_the_trace_or_where_it_is_wanted(trace, tmp_path, capsys):
    assert main(["plot", str(trace)]) == 0
    assert trace.with_suffix(".png").stat().st_size > 10_000
    assert str(trace.with_suffix(".png")) in capsys.readouterr().out
    assert main(["plot", str(trace), "--out", str(tmp_path / "other.png")]) == 0
    assert (tmp_path / "other.png").read_bytes()[:4] == b"\x89PNG"


def test_a_training_s_curves_are_drawn_from_its_logs(tmp_path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    from agents.plot import read_scalars

    for log, steps in (("log_0", (0, 1, 2)), ("log_1", (2, 3))):  # resumed after step 1
        with tensorboard.SummaryWriter(tmp_path / log) as writer:
            for step in steps:
                writer.add_scalar("train/loss", 10.0 * (log == "log_0") + step, step)
                writer.add_scalar("time/fps", 3.0 + step, step)
    scalars = read_scalars(tmp_path)
    assert list(scalars) == ["train/loss"]
    np.testing.assert_array_equal(scalars["train/loss"], [[0, 10], [1, 11], [2, 2], [3, 3]])
    assert main(["plot", str(tmp_path)]) == 0
    assert (tmp_path / "training.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jsonl", "there is none"),
        ("short.jsonl", "expected a trace of at least two decisions; received 1"),
        ("folder", "expected a trace (.jsonl), or a training with TensorBoard logs"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_exit_status_2(tmp_path, capsys, name, message):
    write(tmp_path / "short.jsonl", [decision(0, None, [0.1])], ["a"])
    (tmp_path / "folder").mkdir()
    assert main(["plot", str(tmp_path / name)]) == 2
    complaint = capsys.readouterr().err
    assert message in complaint and complaint.count("\n") == 1


def test_a_page_on_a_run_holds_its_numbers_its_groups_and_its_picture(trace, capsys):
    assert main(["plot", str(trace), "--html"]) == 0
    page = trace.with_suffix(".html").read_text()
    assert capsys.readouterr().out == f"The page is in {trace.with_suffix('.html')}.\n"
    for said in ("first", "second", "<dt>last loss</dt><dd>1</dd>", "0.1, 0.1, 0.2, 0.2", "data:image/png;base64,"):
        assert said in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_page_is_of_a_trace(tmp_path, capsys):
    assert main(["plot", str(tmp_path), "--html"]) == 2
    assert "expected a trace (.jsonl) for a page; received a folder" in capsys.readouterr().err
