"""OptBrain around torch optimizers."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from agents import OptBrain
from agents.policies.optbrain.brain import PATIENCE
from optenv import ControlledOptimizer


def model_and_data(seed=0, groups=1):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))
    x = torch.randn(256, 10)
    params = model.parameters() if groups == 1 else [{"params": m.parameters()} for m in (model[0], model[2])]
    return model, list(params), x, (x[:, :2] ** 2).sum(1, keepdim=True)


def train(model, optimizer, x, y, steps, seed=0, **keywords):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(256, (32,), generator=generator)
        loss = nn.functional.mse_loss(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step(loss=loss.item()) if isinstance(optimizer, ControlledOptimizer) else optimizer.step()
        optimizer.zero_grad()
    return nn.functional.mse_loss(model(x), y).item()


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).clone()


def test_it_is_a_torch_optimizer_as_published(tmp_path):
    model, params, x, y = model_and_data()
    optimizer = OptBrain(torch.optim.Adam(params, lr=1e-3))
    train(model, optimizer, x, y, 30)
    optimizer.save(str(tmp_path / "big_brain.npz"))
    optimizer.load(str(tmp_path / "big_brain.npz"))
    assert isinstance(optimizer, torch.optim.Optimizer) and isinstance(optimizer, ControlledOptimizer)
    assert optimizer.get_brain_state()["step_count"] == 30


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_it_is_the_base_optimizer_bit_for_bit_until_it_has_learned(make):
    model, params, x, y = model_and_data()
    twin = copy.deepcopy(model)
    train(model, OptBrain(make(params, lr=1e-4)), x, y, 10 * PATIENCE - 5)  # so that weights move less than is allowed
    train(twin, make(twin.parameters(), lr=1e-4), x, y, 10 * PATIENCE - 5)
    assert torch.equal(weights(model), weights(twin))


def test_a_rate_that_moves_weights_too_far_is_lowered_at_once_and_within_bounds_given_back():
    model, params, x, y = model_and_data(groups=2)
    optimizer = OptBrain(torch.optim.Adam(params, lr=0.1))
    train(model, optimizer, x, y, 11)
    low = [scale for scale, _, _ in optimizer.get_brain_state()["decisions"].values()]
    assert 0.01 <= low[0] == low[1] < 0.3
    for group in optimizer.param_groups:
        group["lr"] = 1e-5
    train(model, optimizer, x, y, 20)
    assert [scale for scale, _, _ in optimizer.get_brain_state()["decisions"].values()] == [1.0, 1.0]


def test_a_far_too_low_rate_is_raised_and_the_loss_ends_lower():
    model, params, x, y = model_and_data(groups=2)
    twin = copy.deepcopy(model)
    optimizer = OptBrain(torch.optim.Adam(params, lr=1e-4))
    with_brain = train(model, optimizer, x, y, 600)
    alone = train(twin, torch.optim.Adam(twin.parameters(), lr=1e-4), x, y, 600)
    assert optimizer.get_brain_state()["decisions"][1][0] > 3.0
    assert with_brain < 0.7 * alone


def test_schedulers_compose_with_it_and_find_the_rate_they_set():
    model, params, x, y = model_and_data()
    optimizer = OptBrain(torch.optim.Adam(params, lr=1e-4))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for part in range(30):
        train(model, optimizer, x, y, 10, seed=part)
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == scheduler.get_last_lr()[0]
    assert optimizer.get_brain_state()["learned"]
    assert scheduler.get_last_lr()[0] == pytest.approx(1e-4 * 0.5 * (1 + np.cos(np.pi * 30 / 300)))


def test_the_rate_is_multiplied_for_the_step_alone_even_where_the_step_fails():
    model, params, x, y = model_and_data()
    base = Recorder(params, lr=1e-4)
    optimizer = OptBrain(base)
    train(model, optimizer, x, y, 150)
    scale = optimizer.get_brain_state()["decisions"][0][0]
    assert scale > 1.0 and base.seen[-1] == pytest.approx(1e-4 * scale) and base.param_groups[0]["lr"] == 1e-4
    base.fails = True
    with pytest.raises(RuntimeError):
        optimizer.step(loss=1.0)
    assert base.param_groups[0]["lr"] == 1e-4


class Recorder(torch.optim.SGD):
    """Plain descent that notes its rates."""

    fails = False

    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.seen = []

    def step(self):
        if self.fails:
            raise RuntimeError
        self.seen.append(self.param_groups[0]["lr"])
        super().step()


def test_what_is_no_torch_optimizer_is_refused():
    with pytest.raises(TypeError, match=r"expected a torch.optim.Optimizer; received int"):
        OptBrain(3)


def test_a_closure_runs_once_and_first():
    model, params, x, y = model_and_data()
    optimizer = OptBrain(torch.optim.SGD(params, lr=0.01))
    calls = []

    def closure():
        assert torch.is_grad_enabled()
        calls.append(weights(model))
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    before = weights(model)
    loss = optimizer.step(closure)
    assert len(calls) == 1 and torch.equal(calls[0], before) and loss.requires_grad
    assert not torch.equal(weights(model), before)


def test_a_missing_loss_is_named():
    with pytest.raises(ValueError, match="expected loss="):
        OptBrain(torch.optim.SGD(model_and_data()[1], lr=0.01)).step()


@pytest.mark.filterwarnings("ignore:a step was skipped")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_loss_or_gradient_never_reaches_the_weights_of_the_brain(bad):
    model, params, x, y = model_and_data()
    optimizer = OptBrain(torch.optim.SGD(params, lr=1e-4))
    for step in range(20):
        train(model, optimizer, x, y, 9, seed=step)
        before = copy.deepcopy(model.state_dict())
        for p in model.parameters():
            p.grad = torch.full_like(p, bad)
        optimizer.step(loss=bad)
        model.load_state_dict(before)
        optimizer.zero_grad()
    state = optimizer.get_brain_state()
    assert np.isfinite(state["weights"]).all() and np.isfinite(state["descent"]).all()
    assert np.isfinite(list(state["decisions"].values())).all()


@pytest.mark.filterwarnings("ignore:a step was skipped")
def test_told_to_it_goes_back_to_good_weights_after_a_bad_loss():
    model, params, x, y = model_and_data()
    optimizer = OptBrain(torch.optim.Adam(params, lr=1e-4), rollback=True)
    train(model, optimizer, x, y, 50)
    for p in model.parameters():
        p.data.fill_(float("nan"))
    optimizer.step(loss=float("nan"))
    assert weights(model).isnan().all()
    assert np.isfinite(train(model, optimizer, x, y, 50))


@pytest.mark.parametrize("how", ["state_dict", "file", "pickle", "copy"])
def test_a_run_goes_on_exactly_as_it_would_have(tmp_path, how):
    model, params, x, y = model_and_data()
    optimizer = OptBrain(torch.optim.Adam(params, lr=1e-4), total_steps=400)
    train(model, optimizer, x, y, 157)
    if how == "pickle":
        other_model, other = pickle.loads(pickle.dumps((model, optimizer)))
    elif how == "copy":
        other_model, other = copy.deepcopy((model, optimizer))
    else:
        other_model = copy.deepcopy(model)
        other = OptBrain(torch.optim.Adam(other_model.parameters(), lr=1e-4))
        if how == "file":
            optimizer.save(tmp_path / "b.npz")
            other.load(tmp_path / "b.npz")
            other.base.load_state_dict(copy.deepcopy(optimizer.base.state_dict()))
        else:
            torch.save(optimizer.state_dict(), tmp_path / "state.pt")
            other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for m, o in ((model, optimizer), (other_model, other)):
        train(m, o, x, y, 200, seed=5)
    assert optimizer.get_brain_state()["learned"]
    assert torch.equal(weights(model), weights(other_model))


def test_the_state_of_a_base_optimizer_alone_is_accepted():
    model, params, x, y = model_and_data()
    optimizer = OptBrain(torch.optim.Adam(params, lr=1e-3))
    train(model, optimizer, x, y, 5)
    optimizer.load_state_dict(torch.optim.Adam(params, lr=0.5).state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_a_wrong_number_of_groups_is_named(tmp_path):
    _, params, *_ = model_and_data(groups=2)
    with pytest.raises(ValueError, match="n_groups: expected the optimizer's 2 parameter groups; received 3"):
        OptBrain(torch.optim.SGD(params, lr=0.1), n_groups=3)
    model, own, x, y = model_and_data()
    other = OptBrain(torch.optim.SGD(own, lr=0.1))
    train(model, other, x, y, 1)
    other.save(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="expected the state of 2 parameter groups; received 1"):
        OptBrain(torch.optim.SGD(params, lr=0.1)).load(tmp_path / "b.npz")


def test_a_group_may_join_during_the_run():
    model, _, x, y = model_and_data()
    optimizer = OptBrain(torch.optim.Adam(model[2].parameters(), lr=1e-4))
    train(model, optimizer, x, y, 155)
    optimizer.add_param_group({"params": model[0].parameters(), "lr": 1e-3})
    train(model, optimizer, x, y, 100)
    assert len(optimizer.get_brain_state()["decisions"]) == 2
    assert [g["lr"] for g in optimizer.param_groups] == [1e-4, 1e-3]


def test_half_precision_sparse_and_missing_gradients_are_looked_at_too():
    embedding, half = nn.Embedding(50, 4, sparse=True), nn.Parameter(torch.ones(6, dtype=torch.bfloat16))
    idle = nn.Parameter(torch.ones(3))
    optimizer = OptBrain(torch.optim.SGD([{"params": [*embedding.parameters(), half]}, {"params": [idle]}], lr=1e-3))
    for _ in range(80):
        loss = embedding(torch.arange(5)).square().sum() + half.float().square().sum()
        loss.backward()
        optimizer.step(loss=loss.item())
        optimizer.zero_grad()
    state = optimizer.get_brain_state()
    assert np.isfinite(state["descent"]).all() and state["descent"][1] == 0.0 and state["descent"][0] > 0.3


def test_no_buffer_grows_with_the_model_or_the_run():
    sizes = set()
    for width, steps in ((200, 20), (600, 20), (200, 300)):
        layer = nn.Linear(width, width)
        optimizer = OptBrain(torch.optim.SGD(layer.parameters(), lr=1e-3))
        for p in layer.parameters():
            p.grad = torch.ones_like(p)
        for _ in range(steps):
            optimizer.step(loss=1.0)
        sizes.add(size_of(optimizer.state_dict()["control"]) // 500)
    assert len(sizes) == 1


def size_of(state):
    """Return the bytes of the tensors in a nested state."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    nested = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return sum(map(size_of, nested))


def test_state_and_file_stay_below_50_kb_with_47_groups(tmp_path):
    layers = [nn.Linear(40, 40) for _ in range(47)]
    optimizer = OptBrain(torch.optim.Adam([{"params": layer.parameters()} for layer in layers], lr=1e-4))
    for _ in range(25):
        for p in (p for layer in layers for p in layer.parameters()):
            p.grad = torch.randn_like(p)
        optimizer.step(loss=1.0)
    optimizer.save(tmp_path / "b.npz")
    assert (tmp_path / "b.npz").stat().st_size <= 50_000 and size_of(optimizer.state_dict()["control"]) <= 50_000


def test_rewards_teach_it_and_the_file_of_one_run_begins_the_next(tmp_path):
    model, params, x, y = model_and_data()
    optimizer = OptBrain(torch.optim.Adam(params, lr=1e-4))
    for step in range(30):
        train(model, optimizer, x, y, 10, seed=step)
        optimizer.learn(float(step % 3))
    assert optimizer.get_brain_state()["decisions"][0][1:] != (1.0, 0.0)  # clip and dampen move only by reward
    optimizer.save(tmp_path / "b.npz")
    other = OptBrain(torch.optim.Adam(params, lr=1e-4), pretrained=tmp_path / "b.npz")
    assert np.array_equal(other.get_brain_state()["weights"], optimizer.get_brain_state()["weights"])
