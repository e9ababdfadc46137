"""Evolution strategies: the estimate climbs, members share runs fairly, and a training resumes exactly."""

from dataclasses import replace

import numpy as np
import pytest

import agents
from agents.curriculum import training_members
from agents.evolution import training
from agents.evolution.checkpoint import NAME, load_search, save_search
from agents.evolution.flat import flatten, unflatten
from agents.evolution.generation import explore
from agents.evolution.population import Population, final_losses
from agents.evolution.strategy import Search, Strategy, antithetic, ascend, directions, estimate, standardised, utility
from agents.evolution.training import EvolutionSettings, evolve, read_settings
from agents.garo.policy import untrained
from optenv import tasks
from optenv.benchmark.run import make_trainer, run_controller
from optenv.control.controller import Interface, Neutral
from optenv.control.gated import EMITTED, GruController
from optenv.control.loop import ControlLoop
from optenv.control.policy import MlpController, PolicyFile

SHORT = Interface(knobs=EMITTED, control="relative", decisions=10)
TINY = EvolutionSettings(
    agent="garo", tasks=("quadratic:0",), budgets=(20,), generations=3, slots=2, pairs=4, workers=1, lr=1e-3
)


def policy(seed=0, width=4):
    """An untrained policy whose head is not zero."""
    file = untrained(seed, width, interface=SHORT)
    head = np.random.default_rng(seed).normal(size=file.tensors["weight0"].shape).astype(np.float32)
    return replace(file, tensors={**file.tensors, "weight0": head})


def test_weights_survive_the_way_to_a_vector_and_back():
    file = policy()
    vector = flatten(file)
    again = unflatten(file, vector)
    for name, tensor in file.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor, err_msg=name)
    assert len(vector) == sum(t.size for name, t in file.tensors.items() if name not in ("mean", "std"))
    with pytest.raises(ValueError, match=f"expected {len(vector)} numbers"):
        unflatten(file, vector[1:])


def test_the_utility_does_not_see_the_unit_of_a_loss_and_bounds_what_one_run_can_earn():
    losses = np.random.default_rng(0).lognormal(sigma=3.0, size=(8, 3))
    losses[2, 1] = np.inf
    earned = utility(losses)
    np.testing.assert_allclose(utility(1e3 * losses), earned, atol=1e-9)
    assert (earned <= 1.0).all() and (earned >= -3.0).all()
    assert utility(np.array([[1.0], [2.0], [np.inf], [np.inf], [np.nan]])).tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_a_diverged_run_costs_more_than_any_run_earns():
    earned = utility(np.array([[1.0], [1.0], [1.0], [1e-20], [np.inf]]))
    assert -earned[4] > 2.0 * earned[3] > 0.0


def test_a_noisy_task_counts_as_one_whose_loss_falls_by_decades_and_one_without_a_difference_does_not():
    drawn = np.random.default_rng(0).normal(size=8)
    large, small, nothing = (standardised(unit * drawn).std() for unit in (1.0, 0.1, 1e-4))
    assert 0.5 < small / large < 1.0 and nothing < 0.01


def test_the_search_climbs_a_quadratic():
    wanted, search = np.linspace(-1.0, 1.0, 30), Search.start(np.zeros(30))
    strategy = Strategy(sigma=0.1, learning_rate=0.05)
    for generation in range(120):
        drawn = directions((0, generation), 8, 30)
        earned = -np.square(antithetic(search.mean, drawn, strategy.sigma) - wanted).sum(axis=1)
        search = ascend(search, estimate(drawn, earned, strategy.sigma), strategy, 120)
    # An eighth of the distance it began with; 960 directions in 30 dimensions.
    assert np.linalg.norm(search.average - wanted) < np.linalg.norm(wanted) / 8


def test_every_member_of_a_population_acts_as_it_does_alone():
    members = [GruController(policy(seed)) for seed in range(3)]
    trainer, seeds, rates = make_trainer(tasks.get("quadratic:1"), "sgd"), np.arange(2), np.full(2, 1e-2)
    together = final_losses(trainer, members, seeds, rates, 20)
    for member, losses in zip(members, together, strict=True):
        alone = run_controller(trainer, member, seeds, rates, 20).loss
        np.testing.assert_allclose(losses, alone, rtol=1e-4)  # stacks of other sizes round otherwise
    assert not np.allclose(together[0], together[1], rtol=1e-4)


def test_a_population_refuses_what_does_not_divide_and_strangers():
    with pytest.raises(ValueError, match="expected a multiple of 2 runs; received 3"):
        Population([Neutral(), Neutral()]).reset(3, 1)
    with pytest.raises(ValueError, match="one interface for all"):
        Population([Neutral(), GruController(policy())])


def test_a_job_finds_the_same_every_time_and_another_seed_other_directions():
    job, other = TINY.jobs(0, 10)
    file = policy()
    first, again, differently = (explore(j, file, flatten(file), 0.1, GruController) for j in (job, job, other))
    np.testing.assert_array_equal(first.gradient, again.gradient)
    assert not np.allclose(first.gradient, differently.gradient)
    assert first.spread > 0.0


def test_evolution_learns_to_raise_a_rate_that_is_far_too_low(tmp_path):
    settings = replace(TINY, generations=8, pairs=8, learning_rate=0.15, lr=1e-5, unknown=0.0)
    file = untrained(0, 4, interface=SHORT)
    path = evolve(file, GruController, settings, tmp_path, progress=False)
    trained = GruController(PolicyFile.read(path))
    trained.reset(1, 1)
    assert trained.act(ControlLoop(SHORT, np.array([20.0]), 1).observe())[0, 0, 0] > 0.1


def test_a_resumed_training_ends_bit_for_bit_as_an_uninterrupted_one(tmp_path, monkeypatch):
    whole = evolve(policy(), GruController, TINY, tmp_path / "whole", progress=False)

    class Killed(BaseException):
        pass

    def save_then_die(folder, search, log):
        save_search(folder, search, log)
        if search.generation == 2:
            raise Killed

    monkeypatch.setattr(training, "save_search", save_then_die)
    with pytest.raises(Killed):
        evolve(policy(), GruController, TINY, tmp_path / "cut", progress=False)
    monkeypatch.undo()
    settings = read_settings(tmp_path / "cut")
    assert settings.generations == TINY.generations
    resumed = evolve(policy(), GruController, settings, tmp_path / "cut", resume=True, progress=False)
    for name, tensor in PolicyFile.read(whole).tensors.items():
        np.testing.assert_array_equal(PolicyFile.read(resumed).tensors[name], tensor, err_msg=name)


def test_worker_processes_find_what_one_process_finds(tmp_path):
    settings = replace(TINY, generations=1)
    alone = evolve(policy(), GruController, settings, tmp_path / "alone", progress=False)
    workers = evolve(policy(), GruController, replace(settings, workers=2), tmp_path / "workers", progress=False)
    for name, tensor in PolicyFile.read(alone).tensors.items():
        np.testing.assert_array_equal(PolicyFile.read(workers).tensors[name], tensor, err_msg=name)


def test_a_feed_forward_policy_is_evolved_by_the_same_call(tmp_path):
    file = agents.load("ppo")._file
    settings = replace(TINY, agent="ppo", optimizers=("adamw",), budgets=(40,), generations=1, sigma=0.02)
    path = evolve(file, MlpController, settings, tmp_path, progress=False)
    trained = agents.load(path)
    assert isinstance(trained, MlpController) and trained.interface == file.interface
    assert not np.array_equal(PolicyFile.read(path).tensors["weight0"], file.tensors["weight0"])
    np.testing.assert_array_equal(PolicyFile.read(path).tensors["mean"], file.tensors["mean"])


def test_a_missing_damaged_or_foreign_checkpoint_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a checkpoint to resume from"):
        load_search(tmp_path, 3)
    with pytest.raises(FileNotFoundError, match="expected a run folder"):
        read_settings(tmp_path)
    save_search(tmp_path, Search.start(np.zeros(3)), [])
    with pytest.raises(ValueError, match="expected 4 weights, as the policy has; received 3"):
        load_search(tmp_path, 4)
    content = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="it is damaged"):
        load_search(tmp_path, 3)


def test_the_members_by_which_choices_are_made_are_not_trained_on():
    members = training_members()
    assert "quadratic:13" in members and not {"quadratic:14", "quadratic:15"} & set(members)
    assert {name.partition(":")[0] for name in members} == set(tasks.names("train"))
