"""Training: every algorithm, exact resumption, and what is left of a killed process."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import agents
from agents.arguments import Parser
from agents.cli import add_train
from agents.training import checkpoint
from agents.training.algorithms import ALGORITHMS
from agents.training.reinforcement import TrainSettings, from_options, read_settings, train
from optenv.control.features import FEATURE_NAMES
from optenv.control.policy_file import PolicyFile

TINY = TrainSettings(
    tasks=("quadratic",),
    optimizers=("adamw",),
    budgets=(40,),
    environments=2,
    workers=0,
    rollouts=2,
    hindsight=1,
    checkpoint_every=1,
)


@pytest.fixture(autouse=True)
def one_episode(monkeypatch):
    """What a policy imitates is not what is tested here."""
    monkeypatch.setattr("agents.training.reinforcement.EPISODES", 1)


def tensors(path: Path) -> dict[str, np.ndarray]:
    return dict(PolicyFile.read(path).tensors)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_exported_controller_acts_as_the_trained_model_does(name, tmp_path):
    path = train(replace(TINY, agent=name), tmp_path, progress=False)
    controller = agents.load(path)
    controller.reset(2, 3)
    observation = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
    content = torch.load(tmp_path / checkpoint.NAME, weights_only=False)
    statistics = content["observation"]
    normal = (observation.reshape(6, 16) - statistics["mean"]) / np.sqrt(statistics["var"] + 1e-8)
    model = ALGORITHMS[name].load_class().load(io.BytesIO(content["model"]), device="cpu")
    expected, _ = model.predict(np.clip(normal, -10, 10).astype(np.float32), deterministic=True)
    # float32 there, float64 here
    np.testing.assert_allclose(controller.act(observation).reshape(6, 2), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["ppo", "recurrent_ppo"])
def test_a_resumed_training_ends_bit_for_bit_as_an_uninterrupted_one(name, tmp_path, monkeypatch):
    settings = replace(TINY, agent=name, rollouts=3, hindsight=int(name == "ppo"))
    whole = train(settings, tmp_path / "whole", progress=False)

    class Killed(BaseException):
        pass

    saved = []

    def save_then_die(*arguments):
        checkpoint.save_checkpoint(*arguments)
        saved.append(1)
        if len(saved) == 2:
            raise Killed

    monkeypatch.setattr("agents.training.reinforcement.save_checkpoint", save_then_die)
    with pytest.raises(Killed):
        train(settings, tmp_path / "cut", progress=False)
    monkeypatch.undo()
    resumed = train(read_settings(tmp_path / "cut"), tmp_path / "cut", resume=True, progress=False)
    for key, value in tensors(whole).items():
        np.testing.assert_array_equal(tensors(resumed)[key], value, err_msg=key)


def test_a_training_killed_between_its_trials_and_its_first_checkpoint_ends_the_same(tmp_path):
    whole = train(TINY, tmp_path / "whole", progress=False)
    (tmp_path / "cut").mkdir()
    for file in ("settings.json", "trials-1.npz", "trials-2.npz", "trials-3.npz"):
        shutil.copy(tmp_path / "whole" / file, tmp_path / "cut" / file)
    resumed = train(TINY, tmp_path / "cut", resume=True, progress=False)
    for key, value in tensors(whole).items():
        np.testing.assert_array_equal(tensors(resumed)[key], value, err_msg=key)


def test_a_killed_process_leaves_a_checkpoint_that_resumes(tmp_path):
    code = (
        "from pathlib import Path; from agents.training.reinforcement import TrainSettings, train\n"
        "train(TrainSettings(tasks=('quadratic',), budgets=(40,), environments=1, workers=0, rollouts=10000,"
        f"hindsight=0, checkpoint_every=1), Path({str(tmp_path)!r}), progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 300
    while not (tmp_path / checkpoint.NAME).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    settings = read_settings(tmp_path)
    content = torch.load(tmp_path / checkpoint.NAME, weights_only=False)
    assert content["model"]
    path = train(replace(settings, rollouts=1), tmp_path, resume=True, progress=False)
    assert agents.load(path).interface == settings.interface


def test_training_with_worker_processes_draws_the_same_tasks(tmp_path):
    settings = replace(TINY, rollouts=1, hindsight=0)
    alone = train(settings, tmp_path / "alone", progress=False)
    workers = train(replace(settings, workers=2), tmp_path / "workers", progress=False)
    for key, value in tensors(alone).items():
        np.testing.assert_allclose(tensors(workers)[key], value, atol=1e-4, err_msg=key)


def test_a_controller_learns_a_trivial_environment(tmp_path):
    """From far too low a rate, the loss falls only where the scale is raised: the policy has to learn to raise it."""
    settings = replace(
        TINY,
        tasks=("quadratic:0",),
        knobs=("scale",),
        features=FEATURE_NAMES,
        first_update_norm=None,
        lr=1e-5,
        rollouts=12,
        reward="log_loss_decrease",
    )
    controller = agents.load(train(settings, tmp_path, progress=False))
    controller.reset(1, 1)
    from optenv.control.loop import ControlLoop

    observation = ControlLoop(settings.interface, np.array([40.0]), 1).observe()
    assert controller.act(observation).item() > 0.05  # about 0.1, by processor; 0 is neutral


def test_a_training_from_scratch_imitates_nothing(tmp_path, monkeypatch):
    imitated = []
    monkeypatch.setattr("agents.training.reinforcement._imitate", lambda *_: imitated.append(1))
    for flags, times in (([], 1), (["--from-scratch"], 0)):
        asked = from_options(add_train(Parser()).parse_args(["--task", "quadratic:0", "--rollouts", "1", *flags]))
        train(replace(asked, budgets=(40,), environments=1, workers=0), tmp_path / "".join(flags), progress=False)
        assert len(imitated) == times
        imitated.clear()


def test_resuming_without_a_checkpoint_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a run folder"):
        read_settings(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected a checkpoint or trials to resume from"):
        train(TINY, tmp_path, resume=True, progress=False)


def test_an_unknown_agent_names_the_nearest():
    with pytest.raises(ValueError, match="unknown agent 'pppo'.*Did you mean 'ppo'"):
        ALGORITHMS["pppo"]
