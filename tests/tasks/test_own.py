"""Tasks from a user's functions and modules."""

import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional as F

from optenv import tasks

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
Y = X.sum(1, keepdim=True)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def module_task(build, **settings):
    data = {"train": (X[:40], Y[:40]), "valid": (X[40:], Y[40:])}
    return tasks.from_module(name="own", build=build, loss=F.mse_loss, **(data | settings))


def perceptron():
    return nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Dropout(0.5), nn.Linear(8, 1))


def test_functions_and_tensors_make_a_task():
    task = tasks.from_functions(
        name="line",
        init=lambda generator: {"line.weight": torch.randn(3, 1, generator=generator)},
        loss=lambda params, batch: F.mse_loss(batch[0] @ params["line.weight"], batch[1]),
        train=(X[:40], Y[:40]),
        valid=(X[40:50], Y[40:50]),
        test=(X[50:], Y[50:]),
        batch_size=10,
        lower_bound=-1.0,
    )
    data = task.draw(seeded(0))
    assert data is task.draw(seeded(1))
    assert (task.name, task.batch_size, task.lower_bound) == ("line", 10, -1.0)
    assert all(task.loss({"line.weight": torch.ones(3, 1)}, batch) < 1e-12 for batch in (data.valid, data.test))


def test_where_there_is_no_test_set_the_validation_set_stands_in():
    data = module_task(perceptron).draw(seeded(0))
    assert data.test == () and data.held_back() is data.valid
    assert module_task(perceptron, test=(X[:5], Y[:5])).draw(seeded(0)).held_back()[0].shape == (5, 3)


@pytest.mark.parametrize(
    ("train", "complaint"),
    [
        ((X, Y[:59]), r"every train tensor, received \[60, 59\]"),
        ((X[:0], Y[:0]), r"every train tensor, received \[0, 0\]"),
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(train, complaint):
    with pytest.raises(ValueError, match=complaint):
        module_task(perceptron, train=train)


def test_a_module_is_initialised_from_the_generator_alone():
    task, state = module_task(perceptron), torch.get_rng_state()
    first, again, other = (task.init(seeded(seed))["0.weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_a_modules_loss_is_that_of_the_module_and_runs_can_be_stacked():
    task, module = module_task(perceptron), perceptron().eval()
    batch = task.draw(seeded(0)).valid
    params = {name: value.detach() for name, value in module.named_parameters()}
    torch.testing.assert_close(task.loss(params, batch), F.mse_loss(module(batch[0]), batch[1]))
    stacked = {name: torch.stack([value, 2 * value]) for name, value in params.items()}
    losses = vmap(task.loss, in_dims=(0, None))(stacked, batch)
    torch.testing.assert_close(losses[0], task.loss(params, batch))


def test_a_module_without_submodules_is_one_group():
    task = module_task(lambda: nn.Linear(3, 1))
    params = task.init(seeded(0))
    assert tasks.group_names(params) == ["module"]
    assert task.loss(params, task.draw(seeded(0)).train).isfinite()


def test_running_statistics_are_refused():
    with pytest.raises(ValueError, match="received BatchNorm1d '1'; build it with track_running_stats=False"):
        module_task(lambda: nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)))
    module_task(lambda: nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 1)))
