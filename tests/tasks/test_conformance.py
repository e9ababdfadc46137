"""What holds for every registered task and the members of every registered family."""

import pickle

import pytest
import torch
from torch.func import grad, vmap

from optenv import tasks
from optenv.tasks.real.fixed import Resplit


def members(name):
    """Of a family with hundreds of members, twenty spread over it."""
    found = tasks.members(tasks.get(name))
    return found[:: max(1, len(found) // 20)]


TASKS = [task for name in tasks.names() for task in members(name)]
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def minibatch(task, data, seed):
    if not data.train:
        return ()
    rows = torch.randint(len(data.train[0]), (task.batch_size,), generator=seeded(seed))
    return tuple(tensor[rows] for tensor in data.train)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@every_task
def test_parameters_and_data_are_determined_by_the_generator(task):
    first, again, other = (task.init(seeded(seed)) for seed in (1, 1, 2))
    assert list(first) == list(again)
    assert same(first.values(), again.values())
    assert not same(first.values(), other.values())
    assert same(task.draw(seeded(1)).train, task.draw(seeded(1)).train)


@every_task
def test_parameters_are_fresh_float32_tensors_whose_groups_are_adjacent(task):
    params = task.init(seeded(0))
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in params.values())
    owners = [name.rpartition(".")[0] for name in params]
    changes = sum(a != b for a, b in zip(owners, owners[1:], strict=False))
    assert changes + 1 == len(tasks.group_names(params))
    assert all(owners)


@every_task
def test_every_draw_has_the_same_shapes_and_a_validation_set_of_its_own(task):
    first, second = task.draw(seeded(1)), task.draw(seeded(2))
    for part in ("train", "valid", "test"):
        assert [t.shape for t in getattr(first, part)] == [t.shape for t in getattr(second, part)]
        assert len({len(t) for t in getattr(first, part)}) <= 1
    exact = getattr(task, "examples", None) == 0  # its one batch is the whole function
    assert exact or not first.train or not same(first.train, first.valid)


@every_task
def test_a_test_set_is_drawn_alike_every_time_and_shares_nothing_with_what_decides(task):
    first, again = (task.draw(seeded(1)) for _ in range(2))
    assert same(first.held_back(), again.held_back()) and same(first.train, again.train)
    if len(first.held_back()) == 0 or same(first.held_back(), first.valid):
        return  # the validation set stands in
    if isinstance(getattr(task, "source", None), Resplit):
        return  # a small table, in which rows may be equal
    assert [t.shape[1:] for t in first.held_back()] == [t.shape[1:] for t in first.valid]
    assert all(len(t) >= 1000 for t in first.held_back())
    if first.train[0].is_floating_point():  # of windows of tokens few differ
        test, *others = (
            set(map(tuple, part[0].flatten(1).tolist())) for part in (first.held_back(), first.train, first.valid)
        )
        assert not any(test & other for other in others)


@every_task
def test_loss_and_gradients_are_finite_and_the_lower_bound_holds(task):
    params, data = task.init(seeded(3)), task.draw(seeded(4))
    for batch in (minibatch(task, data, 5), data.valid, data.test or data.valid):
        value = task.loss(params, batch)
        assert value.shape == () and value.dtype == torch.float32
        assert task.lower_bound <= value < torch.inf
        assert all(gradient.isfinite().all() for gradient in grad(task.loss)(params, batch).values())


@every_task
def test_three_stacked_runs_have_the_losses_of_three_single_runs(task):
    runs = [task.init(seeded(seed)) for seed in range(3)]
    batches = [minibatch(task, task.draw(seeded(seed)), seed) for seed in range(3)]
    stacked = {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
    batch = tuple(torch.stack(tensors) for tensors in zip(*batches, strict=True))
    single = torch.stack([task.loss(run, batch) for run, batch in zip(runs, batches, strict=True)])
    # Products of stacked matrices add up in another order than single ones.
    torch.testing.assert_close(vmap(task.loss)(stacked, batch), single, rtol=1e-4, atol=1e-6)


@every_task
def test_global_random_state_is_neither_read_nor_changed(task):
    drawn = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            before = torch.get_rng_state()
            params, data = task.init(seeded(0)), task.draw(seeded(0))
            task.loss(params, minibatch(task, data, 0))
            assert torch.equal(before, torch.get_rng_state())
        drawn.append((*params.values(), *data.train))
    assert same(*drawn)


@every_task
def test_tasks_survive_pickling(task):
    copy = pickle.loads(pickle.dumps(task))
    assert same(copy.init(seeded(0)).values(), task.init(seeded(0)).values())


def improves(task):
    """Whether 60 steps of AdamW lower the validation loss, and the test loss with it."""
    data = task.draw(seeded(1))
    params = {name: value.requires_grad_() for name, value in task.init(seeded(2)).items()}
    held_back = data.valid, data.held_back()
    before = [task.loss(params, batch).item() for batch in held_back]
    optimizer = torch.optim.AdamW(params.values(), lr=3e-3)
    for step in range(60):
        optimizer.zero_grad()
        task.loss(params, minibatch(task, data, step)).backward()
        optimizer.step()
    return all(task.loss(params, batch).item() < loss for batch, loss in zip(held_back, before, strict=True))


@pytest.mark.parametrize("name", tasks.names())
def test_adamw_lowers_the_validation_loss_and_the_test_loss(name):
    # Of a family most members: some have few examples and many wrong labels; the small ones are there to be overfitted.
    outcomes = [improves(task) for task in members(name)]
    assert sum(outcomes) >= (0.6 if name.startswith("small_") else 0.8) * len(outcomes)


@pytest.mark.parametrize("name", tasks.names("train"))
def test_members_of_a_family_have_numbers_of_groups_that_divide_sixty(name):
    counts = {len(tasks.group_names(task.init(seeded(0)))) for task in tasks.members(tasks.get(name))}
    assert counts <= {1, 2, 3, 4, 5, 6, 10, 12}
    assert len(counts) >= 4
    assert max(counts) == tasks.get(name).max_groups


@pytest.mark.parametrize("name", tasks.names("train"))
def test_members_of_a_family_stay_small_and_their_batches_too(name):
    for task in tasks.members(tasks.get(name)):
        assert sum(value.numel() for value in task.init(seeded(0)).values()) <= 32_000
        assert task.batch_size == 1 or 16 <= task.batch_size <= 128
