"""Mistakes on the command line: one sentence on standard error, an exit status that is not 0, nothing begun or lost."""

import errno
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import agents
from agents.cli import AGENTS, main
from agents.training.algorithms import ALGORITHMS
from agents.training.reinforcement import TrainSettings, train
from agents.training.run_folder import begin, replace_file
from optenv.benchmark.methods import BASELINES, CALIBRATED
from optenv.benchmark.suites import SUITES
from optenv.control.knobs import KNOBS
from optenv.control.policy_file import PolicyFile
from optenv.inner.optimizers import OPTIMIZERS
from optenv.rewards import REWARDS

ROOT = Path(__file__).parents[2]
COMPARE = ["compare", "--controllers", "neutral", "--task", "wine", "--steps", "5", "--seeds", "1", "--lr", "0.01"]


def command(arguments, **options):
    """Start `python -m agents` with these arguments."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"} | options.pop("env", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-m", "agents", *arguments], env=environment, text=True, **pipes)


def refused(arguments, capsys):
    """The one line that a mistake is told in."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("optcontrol: ") and printed.err.count("\n") == 1 and not printed.out
    return printed.err


MISTAKES = [
    ("train --agent pppo", "unknown agent 'pppo'.*Did you mean 'ppo'"),
    ("train --agent", "--agent: expected one argument"),
    ("train --task", "--task: expected at least one argument"),
    ("train --task quadratik", "unknown task 'quadratik'"),
    ("train --task quadratic --optimizer adamw adamv", "unknown optimizer 'adamv'"),
    ("train --optimizer sgd adagrad --knobs scale momentum", "momentum"),
    ("train --suite optimizers --knobs scale beta2", "knob .beta2.: expected a base optimizer"),
    ("compare --controllers adaptive --optimizer rmspropp", "unknown optimizer"),
    ("train --knobs", "--knobs: expected at least one argument"),
    ("train --agent garo --knobs skale", "unknown knob 'skale'"),
    ("train --agent garo --knobs clip", "--knobs: the training of garo does not read it"),
    ("train --agent opt2vec --hindsight 3", "--hindsight: the training of opt2vec does not read it"),
    ("train --agent garo --from-scratch", "--from-scratch: the training of garo does not read it"),
    ("train --from-scratch --hindsight 3", "--hindsight: a training from scratch has no teacher"),
    ("train --agent opt2vec --optimizer sgd", "unknown optimizer of opt2vec 'sgd'; expected one of adam, adamw"),
    ("train --control relativ", "unknown control 'relativ'"),
    ("train --agent garo --reward los", "unknown reward 'los'"),
    ("train --suite held", "unknown suite 'held'"),
    ("train --rollouts 0", r"--rollouts: expected positive numbers up to 1,000,000; received \[0\]"),
    ("train --rollouts -3", "--rollouts: expected positive numbers"),
    ("train --rollouts 1.5", "--rollouts: invalid int value: '1.5'"),
    ("train --workers 0", "--workers: expected positive numbers"),
    ("train --backend rey", "unknown backend 'rey'.*Did you mean 'ray'"),
    ("train --ray-address auto", "--ray-address: expected with --backend ray alone; received with loky"),
    ("train --hindsight -5", r"--hindsight: expected 0, or positive numbers up to 1,000,000; received \[-5\]"),
    ("train --agent garo --hindsight 0", "--hindsight: expected positive numbers for garo"),
    ("train --seed -1", "--seed: expected 0, or positive numbers"),
    ("train --seed 99999999999", "--seed: expected 0, or positive numbers up to"),
    ("train --first-update-norm nan", "--first-update-norm: expected"),
    ("train --first-update-norm -1", "--first-update-norm: expected"),
    ("train --lr nan", r"--lr: expected positive numbers; received \[nan\]"),
    ("train --lr -1", "--lr: expected positive numbers"),
    ("train --lr inf", "--lr: expected positive numbers"),
    ("train --lr 0.1 0.01", "lr: expected a positive number, or a range"),
    ("train --lr 0.1 0.2 0.3", "lr: expected a positive number, or a range"),
    ("train --lr", "--lr: expected at least one argument"),
    ("compare --controllers", "--controllers: expected at least one argument"),
    ("compare --controllers neutral --task", "--task: expected at least one argument"),
    ("compare --controllers neutral --lr", "--lr: expected at least one argument"),
    ("compare --controllers neutral --lr nan", "--lr: expected positive numbers"),
    ("compare --controllers neutral --lr fast", "--lr: invalid float value: 'fast'"),
    ("compare --controllers neutral --seeds 0", "--seeds: expected positive numbers"),
    ("compare --controllers neutral --seeds -1", "--seeds: expected positive numbers"),
    ("compare --controllers neutral --steps 99999999999999999999", "--steps: expected positive numbers up to"),
    ("compare --controllers neutral --workers 0", "--workers: expected positive numbers"),
    ("compare --controllers neutral --workers -1", "--workers: expected positive numbers"),
    ("benchmark --suite heldout", "unknown suite 'heldout'.*, all.*Did you mean"),
    ("benchmark --baselines calibratd", "unknown baseline 'calibratd'.*Did you mean 'calibrated'"),
    ("benchmark --jobs -2", "jobs: expected a positive number, or -1 for all cores; received -2"),
    ("benchmark --device tpu", "--device: expected cpu, cuda or cuda:N; received 'tpu'"),
    ("benchmark --device meta", "--device: expected cpu, cuda or cuda:N"),
    ("benchmark --device cuda:999", "--device: expected cpu, or one of [0-9]+ CUDA devices of this machine"),
    ("benchmark --ray-address nonsense", "--ray-address: expected with --backend ray alone"),
    ("playground --port 0", "--port: expected positive numbers up to 65,535"),
    ("playground --port 99999", "--port: expected positive numbers up to 65,535"),
    ("playground --port http", "--port: invalid int value: 'http'"),
    ("playground --address no.such.host.invalid", "expected a free port of this machine"),
    ("trian", "invalid choice: 'trian'.*train"),
    ("", "the following arguments are required: command"),
    ("list --all", "unrecognized arguments: --all"),
]


@pytest.mark.parametrize(("arguments", "complaint"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_a_mistake_is_one_line_before_anything_is_begun(arguments, complaint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert re.search(complaint, refused(arguments.split(), capsys))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("arguments", [["train"], COMPARE, ["benchmark"]], ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("inside", [False, True])
def test_a_file_in_the_place_of_the_folder_is_known_before_the_work(arguments, inside, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    assert "expected a folder" in refused([*arguments, "--out", str(file / "run" if inside else file)], capsys)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("arguments", [["train"], COMPARE, ["benchmark"]], ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_known_before_the_work(arguments, number, tmp_path, capsys, monkeypatch):
    def closed(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.TemporaryFile", closed)
    assert os.strerror(number) in refused([*arguments, "--out", str(tmp_path)], capsys)


def test_a_disk_that_is_full_costs_neither_the_old_file_nor_leaves_a_part(tmp_path, monkeypatch):
    replace_file(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space left on device.*file"):
        replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_fills_up_during_the_work_is_one_line(tmp_path):
    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    arguments = [*COMPARE[:2], "neutral", "cosine", *COMPARE[3:], "--workers", "1", "--out", str(tmp_path)]
    process = command(arguments, preexec_fn=small)
    _, complaints = process.communicate(timeout=300)
    last = [line for line in re.split("[\r\n]+", complaints) if line][-1]
    assert process.returncode == 2 and last.startswith("optcontrol: ") and "Traceback" not in complaints


def test_a_folder_that_holds_a_run_is_not_overwritten_unless_told(tmp_path, capsys, monkeypatch):
    settings = TrainSettings(tasks=("quadratic",), budgets=(40,), environments=1, workers=0, rollouts=1)
    begin(tmp_path, settings, resume=False, progress=())
    asked = ["train", "--agent", "opt2vec", "--out", str(tmp_path)]
    before = (tmp_path / "settings.json").read_bytes()
    complaint = refused(asked, capsys)
    assert "--resume" in complaint and "--overwrite" in complaint
    (tmp_path / "settings.json").rename(tmp_path / "controller.safetensors")
    assert "--overwrite" in refused(asked, capsys)
    assert (tmp_path / "controller.safetensors").read_bytes() == before

    def trained(*_, resume):
        raise ValueError(f"reached, {resume}")

    monkeypatch.setattr("agents.training.opt2vec.recipe.train", trained)
    assert "reached, False" in refused([*asked, "--overwrite"], capsys)


@pytest.mark.parametrize("more", [["--out", "x"], ["--rollouts", "3"], ["--agent", "garo"], ["--overwrite"]])
def test_what_a_resumed_training_would_not_read_is_refused(more, tmp_path, capsys):
    assert f"{more[0]}: a training that is resumed" in refused(["train", "--resume", str(tmp_path), *more], capsys)


def test_beginning_anew_leaves_nothing_of_the_run_before(tmp_path):
    settings = TrainSettings()
    for name in ("checkpoint.pt", "trials-1.npz", "controller.safetensors", "other.txt"):
        (tmp_path / name).write_text("old")
    (tmp_path / "log_0").mkdir()
    (tmp_path / "log_0" / "events").write_text("old")
    patterns = ("checkpoint.pt", "trials-*.npz", "log_*")
    assert not begin(tmp_path, settings, resume=False, progress=patterns)
    assert {path.name for path in tmp_path.iterdir()} == {"settings.json", "other.txt"}
    (tmp_path / "checkpoint.pt").write_text("new")
    assert not begin(tmp_path, settings, resume=True, progress=patterns) and (tmp_path / "checkpoint.pt").is_file()
    (tmp_path / "controller.safetensors").write_text("new")
    assert begin(tmp_path, settings, resume=True, progress=patterns)


def test_a_run_that_was_killed_before_its_first_checkpoint_is_resumed_to_the_same_end(tmp_path):
    settings = TrainSettings(tasks=("quadratic",), budgets=(40,), environments=1, workers=0, rollouts=1, seed=3)
    begin(tmp_path / "cut", settings, resume=False, progress=())
    paths = [train(settings, tmp_path / name, resume=name == "cut", progress=False) for name in ("cut", "whole")]
    one, other = (PolicyFile.read(path).tensors for path in paths)
    assert all(np.array_equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("begun", [False, True])
def test_after_ctrl_c_a_resume_is_promised_only_where_there_is_one(begun, tmp_path, capsys, monkeypatch):
    def interrupted(settings, folder, *, resume):
        if begun:
            begin(folder, settings, resume=resume, progress=())
        raise KeyboardInterrupt

    monkeypatch.setattr("agents.training.opt2vec.recipe.train", interrupted)
    assert main(["train", "--agent", "opt2vec", "--out", str(tmp_path)]) == 130
    hint = f"go on with --resume {tmp_path}" if begun else "there is nothing to resume yet"
    assert capsys.readouterr().err == f"optcontrol: interrupted; {hint}\n"


def test_a_reader_that_leaves_early_is_one_line_and_a_status():
    with command(["list"]) as process:
        process.stdout.close()
        complaint = process.stderr.read()
    assert process.returncode == 1 and complaint == "optcontrol: standard output was closed before all was written\n"


def test_standard_output_on_a_full_disk_is_one_line_and_a_status():
    with open("/dev/full", "w") as full, command(["list"], stdout=full) as process:
        complaint = process.stderr.read()
    assert process.returncode == 2 and complaint == "optcontrol: No space left on device\n"


@pytest.mark.parametrize("module", ["agents", "agents.cli"])
def test_python_m_is_the_command(module):
    ran = subprocess.run([sys.executable, "-m", module, "--version"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0 and re.fullmatch(r"optcontrol (\d+\.\d+\.\d+|\(not installed\))\n", ran.stdout)


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("train", [*AGENTS, *OPTIMIZERS, *REWARDS, *SUITES, *KNOBS]),
        ("compare", [*agents.names(), *SUITES, *OPTIMIZERS]),
        ("benchmark", [*agents.names(), *SUITES, "all", *BASELINES, CALIBRATED]),
    ],
)
def test_help_lists_every_valid_name(name, listed, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    words = set(re.findall(r"[\w.-]+", re.sub(r"-\n +", "-", capsys.readouterr().out)))
    assert set(listed) <= words


def test_an_unknown_agent_is_told_every_agent_there_is(capsys):
    complaint = refused(["train", "--agent", "x"], capsys)
    assert all(name in complaint for name in (*ALGORITHMS, "garo", "opt2vec")) and set(ALGORITHMS) < set(AGENTS)


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def listens(port):
    try:
        socket.create_connection(("localhost", port), timeout=5).close()
        return True
    except OSError:
        return False


def wait_until(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert condition()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_the_playground_asks_nothing_and_its_server_ends_with_the_command(end, tmp_path):
    pytest.importorskip("streamlit")
    port = free_port()
    arguments = ["playground", "--port", str(port)]
    environment = {"HOME": str(tmp_path), "BROWSER": "true", "DISPLAY": ":0"}  # with a display it would ask
    told = tmp_path / "told.txt"
    with told.open("w") as file:
        output = {"stdin": subprocess.PIPE, "stdout": file, "stderr": file}
        process = command(arguments, env=environment, start_new_session=True, **output)
    with process:
        wait_until(lambda: "URL" in told.read_text() or process.poll() is not None)
        # It tells the URL, then sets up its signals, then answers: an answer after the URL means that Ctrl-C will do.
        assert urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=60).read() == b"ok"
        process.send_signal(end)
        assert process.wait(120) == (0 if end == signal.SIGINT else -end)
        wait_until(lambda: not listens(port))
    assert "mail" not in told.read_text().lower() and "Traceback" not in told.read_text()


def test_a_port_that_is_taken_is_an_error(capsys):
    pytest.importorskip("streamlit")
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        assert f"--port {port}" in refused(["playground", "--port", str(port)], capsys)
