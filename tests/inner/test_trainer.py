"""Runs that are trained together are the runs they would be alone."""

import shutil

import numpy as np
import pytest
import torch

from optenv import tasks
from optenv.inner.architecture_batches import ArchitectureBatches
from optenv.inner.optimizers import OPTIMIZERS
from optenv.inner.processor import denormals_flushed
from optenv.inner.randomness import generator
from optenv.inner.trainer import make_trainer as make_one

KNOBS = ("scale", "clip", "dampen")
N, STEPS = 5, 4


def make_trainer(task="synthetic_classification:1", optimizer="adamw", **settings):
    return make_one(tasks.get(task), optimizer, **settings)


def seeds(*numbers):
    return np.array(numbers, np.uint64)


def train(trainer, state, rate, intervals=3, **turned):
    rng = np.random.default_rng(0)
    values = {k: rng.uniform(0.2, 1.0, (len(state), trainer.num_groups)) for k in KNOBS} | turned
    return [trainer.run(state, rate, values, STEPS) for _ in range(intervals)]


def tensors(state):
    return [state.params, *state.slots.values(), state.last_loss, state.clip_reference, *state.memory.tensors()]


@pytest.mark.parametrize("task", ["synthetic_classification:1", "digits_conv", "quadratic:0", "function_ackley"])
def test_a_diverging_run_changes_no_bit_of_its_neighbours(task):
    trainer = make_trainer(task, "sgd")
    states = [trainer.start(seeds(*range(N))) for _ in range(2)]
    rate = np.full(N, 1e-3)
    wild = rate.copy()
    wild[2] = np.inf
    calm, disturbed = (train(trainer, state, r) for state, r in zip(states, (rate, wild), strict=True))
    others = np.arange(N) != 2
    assert not torch.isfinite(states[1].params[2]).all()
    for a, b in zip(*map(tensors, states), strict=True):
        assert torch.equal(a[others].nan_to_num(), b[others].nan_to_num())
    assert all((a.loss[others] == b.loss[others]).all() for a, b in zip(calm, disturbed, strict=True))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_is_the_same_beside_others_and_alone(optimizer):
    trainer = make_trainer(optimizer=optimizer)
    together, alone = trainer.start(seeds(3, 1, 4)), trainer.start(seeds(1))
    values = {"scale": np.full((1, trainer.num_groups), 0.7), "clip": np.full((1, trainer.num_groups), 0.5)}
    trainer.run(together, np.full(3, 0.01), {k: np.repeat(v, 3, axis=0) for k, v in values.items()}, 6)
    trainer.run(alone, np.full(1, 0.01), values, 6)
    # Matrix products of another batch size may round otherwise.
    torch.testing.assert_close(together.params[1], alone.params[0], rtol=1e-4, atol=1e-5)


def test_the_same_seeds_give_the_same_bits():
    first, again = (make_trainer() for _ in range(2))
    states = [trainer.start(seeds(7, 8)) for trainer in (first, again)]
    for trainer, state in zip((first, again), states, strict=True):
        train(trainer, state, np.full(2, 0.01))
    assert all(torch.equal(a, b) for a, b in zip(*map(tensors, states), strict=True))


def test_a_rate_of_every_step_equals_one_step_at_a_time():
    trainer = make_trainer()
    whole, cut = trainer.start(seeds(1, 2)), trainer.start(seeds(1, 2))
    rates = np.geomspace(1e-3, 1e-1, 2 * STEPS).reshape(STEPS, 2)
    trainer.run(whole, rates, {}, STEPS)
    for rate in rates:
        trainer.run(cut, rate, {}, 1)
    assert torch.equal(whole.params, cut.params)


def test_trying_the_first_update_leaves_the_run_as_it_was():
    trainer = make_trainer()
    state = trainer.start(seeds(1, 2))
    before = [t.clone() for t in tensors(state)]
    ratio = trainer.first_update(state, np.array([1e-3, 1e-2]))
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(before, tensors(state), strict=True))
    np.testing.assert_allclose(
        ratio[1] / ratio[0] * (np.linalg.norm(before[0][1]) / np.linalg.norm(before[0][0])), 10, 0.2
    )
    assert (state.step == 0).all()


def test_rows_restarted_in_any_order_hold_fresh_runs_and_the_others_stay():
    """Rows move between the batches of a family, whose stacks grow, shrink and are refilled."""
    rng = np.random.default_rng(0)
    batches = ArchitectureBatches([make_trainer(f"quadratic:{member}", "sgd") for member in range(3)])
    rows, member, seed = np.arange(8), rng.integers(3, size=8), rng.integers(2**62, size=8).astype(np.uint64)
    batches.start(rows, member, seed)
    for _ in range(12):
        restarted = np.flatnonzero(rng.random(8) < 0.4)
        member[restarted] = rng.integers(3, size=len(restarted))
        seed[restarted] = rng.integers(2**62, size=len(restarted))
        batches.start(restarted, member[restarted], seed[restarted])
        expected = [
            batches.trainers[m].evaluate(batches.trainers[m].start(seeds(s)))[0]
            for m, s in zip(member, seed, strict=True)
        ]
        np.testing.assert_allclose(batches.evaluate(np.arange(8), "valid"), expected, rtol=1e-5)
        assert sorted(np.concatenate([own for own, _ in batches.states.values()]).tolist()) == list(range(8))


@pytest.mark.parametrize("task", ["synthetic_regression:2", "friedman", "wine"])
def test_a_run_is_tested_on_the_data_that_are_held_back_from_it(task):
    trainer = make_trainer(task)
    state = trainer.start(seeds(4, 9, 4))
    train(trainer, state, np.full(3, 0.01))
    views = trainer.layout.views(state.params)
    runs = [{name: view[k] for name, view in views.items()} for k in range(3)]
    sets = [trainer.task.draw(generator(int(seed), 1)).held_back() for seed in state.seed]
    expected = [float(trainer.task.loss(run, data)) for run, data in zip(runs, sets, strict=True)]
    np.testing.assert_allclose(trainer.evaluate(state, "test"), expected, rtol=1e-4)
    np.testing.assert_allclose(trainer.evaluate(state, "test", np.array([1])), expected[1:2], rtol=1e-4)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own deprecations
def test_compiled_steps_are_the_eager_ones_up_to_rounding():
    eager, compiled = make_trainer("wine"), make_trainer("wine", compile=True)
    states = [trainer.start(seeds(1, 2, 3)) for trainer in (eager, compiled)]
    results = [train(t, s, np.full(3, 0.01)) for t, s in zip((eager, compiled), states, strict=True)]
    for a, b in zip(*map(tensors, states), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a.loss, b.loss, rtol=1e-4)
        np.testing.assert_allclose(a.products.ww, b.products.ww, rtol=1e-4)
    np.testing.assert_allclose(eager.evaluate(states[0], "probe"), compiled.evaluate(states[1], "probe"), rtol=1e-4)


@pytest.mark.parametrize("before", [False, True])
def test_denormals_are_flushed_inside_and_the_setting_is_restored(before):
    def vanishes():
        return bool(torch.full((1,), 1e-38).mul_(0.1) == 0.0)

    if not torch.set_flush_denormal(before):
        pytest.skip("this processor cannot flush denormal numbers")
    try:
        with pytest.raises(KeyError), denormals_flushed():
            assert vanishes()
            raise KeyError
        assert vanishes() == before
    finally:
        torch.set_flush_denormal(False)
