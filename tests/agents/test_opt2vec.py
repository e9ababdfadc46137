"""Opt2Vec's policy and its optimizer: what every option does, and what the window of the past holds."""

import copy
import json
import time

import numpy as np
import pytest
import torch

import agents
import optenv
from agents import LightweightOpt2VecOptimizer
from agents.check import check_controller, observations
from agents.policies.loading import PRETRAINED
from agents.policies.networks import ACTIVATIONS
from agents.policies.opt2vec.architecture import Architecture, make
from agents.policies.opt2vec.controller import EXTENDED, Window, WindowedMlpController
from agents.policies.opt2vec.torch_twin import WindowedMlpTwin
from optenv.control.controller import Interface
from optenv.control.features import FEATURE_NAMES, bounds
from optenv.control.policy_file import PolicyFile

PROGRESS = FEATURE_NAMES.index("progress")


def trained(seed=0, scale=0.3, **architecture):
    """A policy with heads drawn at random, in place of a training."""
    policy, generator = make(seed=seed, **architecture), np.random.default_rng(seed)
    tensors = dict(policy.file.tensors)
    for name in ("head_weight", "head_bias"):
        tensors[name] = (scale * generator.normal(size=tensors[name].shape)).astype(np.float32)
    return WindowedMlpController(PolicyFile(policy.kind, policy.interface, tensors, policy.file.settings))


def seen(steps, runs=2, groups=3, seed=0):
    return observations(np.random.default_rng(seed), runs, groups, steps)


@pytest.mark.parametrize("activation", ["gelu", "tanh"])
@pytest.mark.parametrize("extended", [True, False])
def test_a_trained_policy_conforms(activation, extended):
    check_controller(lambda: trained(activation=activation, use_extended_features=extended, history_length=3))


def test_the_untrained_policy_is_neutral_and_the_shipped_one_is_not():
    assert make().neutral_untrained and not trained().neutral_untrained
    assert not agents.load("opt2vec").neutral_untrained


@pytest.mark.parametrize("length", [1, 4, 16])
def test_the_window_holds_the_last_observations_oldest_first_also_after_it_is_full(length):
    history, views = Window(2, 3, length, extended=False), seen(2 * length + 3)
    for t, view in enumerate(views):
        row = history.append(view).reshape(2, 3, length, -1)
        expected = np.concatenate([np.zeros((length, *view.shape), np.float32), views[: t + 1]])[-length:]
        assert np.array_equal(row, np.moveaxis(expected, 0, 2))


def view(**features):
    x = np.zeros((1, 1, len(FEATURE_NAMES)), np.float32)
    for name, value in features.items():
        x[..., FEATURE_NAMES.index(name)] = value
    return x


def derived(first, second):
    history = Window(1, 1, 4, extended=True)
    history.append(first)
    history.append(second)
    return dict(zip(EXTENDED, history.values[0, 0, -1, len(FEATURE_NAMES) :], strict=True))


def test_travel_sums_the_displacements_over_the_weights_norm():
    history = Window(1, 1, 4, extended=True)
    history.append(view())
    for _ in range(9):
        history.append(view(update_ratio=0.5))  # a tenth of the weights' norm each
    assert history.travel[0, 0] == pytest.approx(0.9, rel=1e-5)
    assert history.values[0, 0, -1, 12] == pytest.approx(1 + 0.5 * np.log10(0.91), abs=1e-5)


@pytest.mark.parametrize(("cosine", "expected"), [(1.0, -1.0), (0.0, 0.0), (-1.0, 4.0)])
def test_gradient_diversity_of_equal_orthogonal_and_opposite_gradients(cosine, expected):
    assert derived(view(), view(gradient_persistence=cosine))["diversity"] == pytest.approx(expected, abs=1e-5)


def test_curvature_is_the_change_of_the_improvement():
    assert derived(view(improvement=0.7), view(improvement=0.2))["curvature"] == pytest.approx(-0.5, abs=1e-6)


def test_extended_features_are_finite_at_every_bound():
    low, high = bounds(1)
    history = Window(1, 1, 2, extended=True)
    for row in (low, high, low, low, high, high):
        assert np.isfinite(history.append(row[None, None])).all()


def test_what_a_policy_remembers_is_restored_and_follows_the_groups():
    policy, views = trained(), seen(8)
    policy.reset(2, 3)
    for x in views[:5]:
        policy.act(x)
    other = trained()
    other.load_state_dict(copy.deepcopy(policy.state_dict()))
    permuted = copy.deepcopy(policy)
    permuted.regroup(np.array([2, 0, -1]))
    expected = policy.act(views[5])
    assert np.array_equal(other.act(views[5]), expected)
    swapped = permuted.act(views[5][:, [2, 0, 1]])
    assert np.allclose(swapped[:, :2], expected[:, [2, 0]], atol=1e-6)
    assert not np.allclose(swapped[:, 2], expected[:, 1], atol=1e-4)


def test_a_window_of_another_length_is_refused():
    policy = trained(history_length=4)
    policy.reset(1, 1)
    with pytest.raises(ValueError, match="expected a window"):
        trained(history_length=5).load_state_dict(policy.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tensors": {"weight0": np.zeros((2, 2), np.float32)}}, "expected 'weight0' of shape .32, 240."),
        ({"settings": {"activation": "geluu"}}, "Did you mean 'gelu'"),
        ({"settings": {"history_length": 0}}, "history_length"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    file = make().file
    tensors, settings = {**file.tensors, **change.get("tensors", {})}, {**file.settings, **change.get("settings", {})}
    PolicyFile(file.kind, file.interface, tensors, settings).write(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=message):
        agents.load(tmp_path / "x.safetensors")


def test_the_shipped_file_is_small_and_has_the_default_architecture():
    assert (PRETRAINED / "opt2vec.safetensors").stat().st_size < 60_000
    assert Architecture.of(agents.load("opt2vec").file) == Architecture()


def problem():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    x = torch.randn(64, 6)
    return model, x, x[:, :1].sin()


def train(steps=40, grouped=False, **options):
    model, x, y = problem()
    optimizer = LightweightOpt2VecOptimizer(optenv.layer_groups(model) if grouped else model.parameters(), **options)
    for _ in range(steps):
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step(loss=loss)
        optimizer.zero_grad()
    return torch.cat([p.detach().ravel() for p in model.parameters()]), optimizer


def test_untrained_it_is_adam_bit_for_bit():
    model, x, y = problem()
    adam = torch.optim.Adam(model.parameters(), lr=0.02, fused=True)
    for _ in range(40):
        torch.nn.functional.mse_loss(model(x), y).backward()
        adam.step()
        adam.zero_grad()
    weights, _ = train(base_lr=0.02)
    assert torch.equal(weights, torch.cat([p.detach().ravel() for p in model.parameters()]))


@pytest.mark.parametrize(
    ("option", "value"),
    [("base_lr", 0.03), ("betas", (0.8, 0.99)), ("eps", 1e-2), ("weight_decay", 0.1), ("fused", False)],
)
def test_every_option_of_the_base_optimizer_reaches_it(option, value):
    weights, optimizer = train(**{option: value})
    name = "lr" if option == "base_lr" else option
    assert optimizer.param_groups[0][name] == value
    assert option == "fused" or not torch.equal(weights, train()[0])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("embedding_dim", 8),
        ("history_length", 3),
        ("activation", "tanh"),
        ("use_extended_features", False),
        ("hidden", 5),
    ],
)
def test_every_option_of_the_architecture_shapes_the_policy(option, value):
    _, optimizer = train(steps=1, **{option: value})
    assert Architecture.of(optimizer.controller.file) == Architecture(**{option: value})
    own, default = trained(**{option: value}), trained()
    for policy in (own, default):
        policy.reset(2, 3)
    differ = [not np.allclose(own.act(x), default.act(x), atol=1e-4) for x in seen(6)]
    assert any(differ)


def test_the_embedding_has_a_row_for_every_group():
    _, optimizer = train(steps=3, grouped=True, embedding_dim=9, steps_per_action=1)
    assert optimizer.embedding.shape == (2, 9) and optimizer.embedding.any()


def test_the_seed_draws_the_encoder():
    _, first = train(steps=1, seed=1)
    _, again = train(steps=1, seed=1)
    _, other = train(steps=1, seed=2)
    assert np.array_equal(first.embedding, again.embedding) and not np.array_equal(first.embedding, other.embedding)


def test_decisions_come_every_few_steps_and_the_budget_is_observed():
    assert train(steps=41)[1].steps_per_action == 20 and len(train(steps=41)[1].history) == 3
    _, optimizer = train(steps=40, total_steps=80)
    assert optimizer.steps_per_action == 2 and optimizer.controller.window.values[0, 0, -1, PROGRESS] > 0.4
    assert train(steps=1, steps_per_action=7)[1].steps_per_action == 7


def test_a_policy_at_hand_a_file_and_a_name_steer(tmp_path):
    policy = trained()
    policy.save(tmp_path / "policy.safetensors")
    by_file, _ = train(pretrained=tmp_path / "policy.safetensors", total_steps=40)
    at_hand, optimizer = train(pretrained=policy, total_steps=40)
    assert torch.equal(by_file, at_hand) and optimizer.controller is not policy
    assert not torch.equal(train(pretrained="opt2vec", total_steps=40)[0], at_hand)


def test_with_a_pretrained_policy_the_base_rate_drops_out_and_the_rate_can_rise_above_it():
    weights, optimizer = train(pretrained="opt2vec", base_lr=1e-4, total_steps=40)
    other, _ = train(pretrained="opt2vec", base_lr=1e-2, total_steps=40)
    assert torch.allclose(weights, other, rtol=1e-3, atol=1e-5)
    assert max(record["rate"][0] for record in optimizer.history) > 1e-3


def test_a_policy_of_another_architecture_or_kind_is_refused():
    with pytest.raises(ValueError, match="embedding_dim: expected 64"):
        train(pretrained="opt2vec", embedding_dim=32)
    with pytest.raises(TypeError, match="expected an Opt2Vec policy"):
        train(pretrained="ppo")
    with pytest.raises(ValueError, match="Did you mean 'gelu'"):
        train(activation="gelo")


def test_the_trace_is_written(tmp_path):
    train(steps=3, trace=tmp_path / "trace.jsonl")
    last = (tmp_path / "trace.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["scale"] == [1.0]


def test_a_checkpoint_resumes_bit_for_bit(tmp_path):
    def run(model, optimizer, x, y, steps):
        for _ in range(steps):
            loss = torch.nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step(loss=loss)
            optimizer.zero_grad()

    model, x, y = problem()
    policy = trained(scale=0.05)
    optimizer = LightweightOpt2VecOptimizer(model.parameters(), pretrained=policy, total_steps=80)
    run(model, optimizer, x, y, 33)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "c.pt")
    run(model, optimizer, x, y, 20)
    again, _, _ = problem()
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    again.load_state_dict(state["model"])
    resumed = LightweightOpt2VecOptimizer(again.parameters(), pretrained=policy, total_steps=80)
    resumed.load_state_dict(state["optimizer"])
    run(again, resumed, x, y, 20)
    for p, q in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)


def test_parameter_groups_may_be_dictionaries_of_generators_and_stay_the_users():
    model, _, _ = problem()
    group = {"params": model.parameters(), "lr": 0.1}
    optimizer = LightweightOpt2VecOptimizer([group])
    assert optimizer.param_groups[0]["lr"] == 0.1 and len(optimizer.param_groups[0]["params"]) == 4
    assert set(group) == {"params", "lr"}
    with pytest.raises(TypeError):
        LightweightOpt2VecOptimizer(torch.ones(3))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_numpy_and_torch_networks_agree(activation):
    policy = trained(activation=activation)
    inputs = np.random.default_rng(0).normal(size=(7, Architecture().inputs)).astype(np.float32)
    policy.window.append = lambda _: inputs[None]
    expected = WindowedMlpTwin(policy.file)(torch.as_tensor(inputs)).detach().numpy()
    assert np.allclose(policy.act(None)[0], expected, atol=2e-5)  # sums in single precision, in another order


def test_its_step_takes_at_most_half_as_long_again_as_adams():
    """The measured ratio is near 1.2 (`benchmarks/opt2vec.py`); twice that leaves room for a busy machine."""

    def stepper(make_optimizer, **loss):
        model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer = make_optimizer(model.parameters())
        return lambda: [optimizer.step(**loss) for _ in range(100)]

    def seconds(call):
        begun = time.process_time()
        call()
        return time.process_time() - begun

    adam, budget = stepper(torch.optim.Adam), {"pretrained": "opt2vec", "total_steps": 2000, "steps_per_action": 10}
    own = stepper(lambda p: LightweightOpt2VecOptimizer(p, **budget), loss=torch.tensor(1.0))
    adam(), own()
    assert np.median([seconds(own) / seconds(adam) for _ in range(9)]) < 2.4


def test_interfaces_other_than_the_default_can_be_made():
    interface = Interface(knobs=("scale",), control="absolute")
    check_controller(lambda: make(interface=interface))
