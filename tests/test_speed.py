"""What benchmarks/ measures speed with, and that a run alone is trained the faster way and to the same numbers."""

import cuda_device
import history
import numpy as np
import pytest
import torch
import training_loops

from optenv import tasks
from optenv.env import OptControlVectorEnv
from optenv.inner.trainer import make_trainer


@pytest.mark.parametrize("name", ["digits_conv", "char_gru", "char_transformer", "synthetic_classification:1"])
def test_a_run_alone_is_that_of_the_stacked_trainer_up_to_rounding(name):
    trainer = make_trainer(tasks.get(name), "sgd")  # Adam would make a whole step of a gradient that is rounding alone
    states = [trainer.start(np.array([3], np.uint64), alone=alone) for alone in (False, True)]
    values = {"scale": np.full((1, trainer.num_groups), 0.7), "clip": np.full((1, trainer.num_groups), 0.5)}
    for state in states:
        trainer.run(state, np.full(1, 0.1), values, 6)
    # The same sums in another order, six steps long.
    torch.testing.assert_close(states[0].params, states[1].params, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(*(trainer.evaluate(state, "valid") for state in states), rtol=1e-3)


def test_an_environment_of_one_run_trains_it_alone_and_one_of_two_does_not():
    for num_envs in (1, 2):
        env = OptControlVectorEnv(num_envs, task="digits_mlp")
        env.reset(seed=0)
        ((_, state),) = env._runs.states.values()
        assert state.alone == (num_envs == 1)


def test_the_cases_of_the_benchmark_take_the_steps_they_count():
    assert training_loops.made("digits_mlp")() == training_loops.EPISODE
    assert training_loops.task_loop(tasks.get("digits_mlp"), 3)() == 3
    for task in ("digits_mlp", "synthetic_classification:1"):  # by the fused kernel and by the rule
        assert training_loops.stacked_loop(tasks.get(task), 2, 3)() == 6


def test_ratios_are_recorded_once_a_release(tmp_path):
    path, rows = tmp_path / "history.csv", [{"task": "digits_mlp", "env steps/s": 9, "environment / loop": 0.5}]
    for release, figure in (("1", 0.5), ("2", 0.6), ("2", 0.7)):
        history.record(release, "throughput", {"alone": [rows[0] | {"environment / loop": figure}]}, path)
    key = "throughput", "alone", "digits_mlp", "environment / loop"
    assert history.read(path) == [("1", *key, "0.5"), ("2", *key, "0.7")]


def test_the_script_for_accelerators_measures_where_there_is_one_and_says_so_where_there_is_none(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["cuda_device.py", "--quick"])
    cuda_device.main()
    expected = "controlled / alone" if torch.cuda.is_available() else "nothing was measured"
    assert expected in capsys.readouterr().out


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_the_environment_trains_on_a_device_as_on_the_host():
    losses = []
    for device in ("cpu", "cuda"):
        env = OptControlVectorEnv(4, task="digits_mlp", device=device)
        env.reset(seed=0)
        losses.append([env.step(np.zeros(env.action_space.shape))[4]["loss"] for _ in range(5)])
    np.testing.assert_allclose(*losses, rtol=1e-3)  # the same sums in another order, 25 steps long
