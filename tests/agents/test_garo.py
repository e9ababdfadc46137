"""GARO: what the recurrent policy emits, the drop-in optimizer on top of it, and what meta-training is worth."""

import copy
import pickle
import shutil
from argparse import ArgumentParser
from dataclasses import replace

import numpy as np
import pytest
import torch

import agents
import optenv
from agents import GlobalAdaptiveSGD
from agents.check import check_controller, observations, play
from agents.cli import add_train
from agents.policies.garo.controller import BASE_DECAY, GruController, gru_step, make, untrained
from agents.training.garo import recipe as garo_training
from agents.training.hindsight.trials import TRIALS
from optenv import tasks
from optenv.benchmark.run import run_controller
from optenv.control.loop import ControlLoop
from optenv.control.policy_file import PolicyFile
from optenv.inner.trainer import make_trainer


def wild(layerwise=False, seed=0):
    """A policy with a large random head, which goes to the ends of every range."""
    file = untrained(seed, 8, layerwise)
    generator = np.random.default_rng(seed)
    head = {"weight0": generator.normal(0.0, 5.0, (3, 8)), "bias0": generator.normal(0.0, 2.0, 3)}
    return replace(file, tensors={**file.tensors, **{k: v.astype(np.float32) for k, v in head.items()}})


def problem(seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    x = torch.randn(64, 6)
    return model, x, x[:, :1].sin()


def descend(model, x, y, optimizer, steps, start=0):
    for step in range(start, start + steps):
        batch = torch.arange(16) + 16 * (step % 4)
        loss = torch.nn.functional.mse_loss(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(loss=loss) if isinstance(optimizer, GlobalAdaptiveSGD) else optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def assert_same(a, b):
    for left, right in zip(a, b, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_the_unit_is_that_of_torch():
    torch.manual_seed(0)
    cell = torch.nn.GRUCell(12, 8)
    state = {
        "gru_input": cell.weight_ih,
        "gru_hidden": cell.weight_hh,
        "gru_input_bias": cell.bias_ih,
        "gru_hidden_bias": cell.bias_hh,
    }
    x, hidden = torch.randn(5, 12), torch.randn(5, 8)
    own = gru_step({name: p.detach().numpy() for name, p in state.items()}, x.numpy(), hidden.numpy())
    np.testing.assert_allclose(own, cell(x, hidden).detach().numpy(), atol=1e-6)  # float32


@pytest.mark.parametrize("layerwise", [False, True])
@pytest.mark.parametrize("file", [untrained(), wild()], ids=["untrained", "wild"])
def test_the_policy_conforms(file, layerwise):
    check_controller(lambda: GruController(replace(file, settings={"layerwise": layerwise})))


def test_a_policy_says_that_it_is_neutral_where_it_acts_0_and_only_there():
    seen = observations(np.random.default_rng(0), 2, 3)
    for policy, neutral in ((make(), True), (GruController(wild()), False), (agents.load("garo"), False)):
        assert policy.neutral_untrained == neutral == (not play(policy, seen).any())


def test_emissions_stay_within_their_bounds_whatever_is_observed():
    controller = GruController(wild())
    loop = ControlLoop(controller.interface, np.full(3, 100.0), 2)
    seen = observations(np.random.default_rng(0), 3, 2, 40)
    controller.reset(3, 2)
    scale, momentum = np.ones((3, 2)), []
    for view in seen:
        values = loop.apply(controller.act(view))
        assert (np.abs(np.log(values["scale"] / scale)) <= 1.0 + 1e-9).all()
        scale = values["scale"]
        momentum.append(values["momentum"])
        assert (np.abs(values["weight_decay"]) <= 1.0).all()
    # A shift of 1 from a momentum of 0 is 0.9.
    assert np.max(momentum) <= 1.0 and np.min(momentum) >= 0.0 and np.max(momentum) > 0.9


def test_one_state_decides_for_all_groups_unless_it_is_layerwise():
    seen = observations(np.random.default_rng(0), 1, 3)
    for layerwise in (False, True):
        controller = GruController(wild(layerwise))
        controller.reset(1, 3)
        action = np.stack([controller.act(view) for view in seen])
        assert (np.ptp(action, axis=2) > 0).any() == layerwise


def test_regrouping_carries_states_on():
    for layerwise in (False, True):
        controller = GruController(wild(layerwise))
        seen = observations(np.random.default_rng(0), 1, 1)
        controller.reset(1, 1)
        controller.act(seen[0])
        same = copy.deepcopy(controller)
        controller.regroup(np.array([0, -1]))
        twice = np.repeat(seen[1], 2, axis=1)
        np.testing.assert_allclose(controller.act(twice)[:, 0], same.act(seen[1])[:, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gru_hidden", lambda t: None, "missing gru_hidden"),
        ("weight0", lambda t: t[:2], "expected 'weight0' of shape"),
        ("bias0", lambda t: t * np.nan, "finite numbers in 'bias0'"),
        ("std", lambda t: 0.0 * t, "positive numbers in 'std'"),
    ],
)
def test_a_damaged_policy_is_a_clear_error(name, change, message):
    file = untrained()
    tensors = {key: change(value) if key == name else value for key, value in file.tensors.items()}
    with pytest.raises(ValueError, match=message):
        GruController(replace(file, tensors={key: value for key, value in tensors.items() if value is not None}))


def test_a_policy_of_other_knobs_is_a_clear_error():
    file = untrained()
    with pytest.raises(ValueError, match="expected relative control of scale, momentum, weight_decay"):
        GruController(replace(file, interface=replace(file.interface, knobs=("scale",))))


def test_untrained_it_is_plain_sgd_bit_for_bit():
    model, x, y = problem()
    twin = copy.deepcopy(model)
    own = descend(model, x, y, GlobalAdaptiveSGD(model.parameters(), pretrained=None), 25)
    plain = torch.optim.SGD(twin.parameters(), lr=0.01, momentum=0.0, weight_decay=BASE_DECAY)
    assert_same(own, descend(twin, x, y, plain, 25))


def test_before_the_first_step_and_in_it_an_untrained_one_emits_plain_sgd():
    model, x, y = problem()
    optimizer = GlobalAdaptiveSGD(model.parameters(), pretrained=None)
    expected = {"lr_t": [0.01], "mom_t": [0.0], "wd_t": [BASE_DECAY]}
    assert optimizer.emission == {"step": 0, **expected}
    descend(model, x, y, optimizer, 1)
    assert {name: optimizer.history[0][name] for name in expected} == expected


def emitting(model, layerwise=False, **options):
    """An optimizer whose network goes to the ends of every range."""
    optimizer = GlobalAdaptiveSGD(optenv.layer_groups(model), layerwise=layerwise, pretrained=None, **options)
    optimizer.controller.__init__(wild(layerwise))
    return optimizer


def test_what_it_emits_is_what_the_step_uses():
    model, x, y = problem()
    optimizer = emitting(model, steps_per_action=2)
    used = []

    def note(base, *_):
        used.append(
            {
                n: [g[k] for g in base.param_groups]
                for n, k in (("lr_t", "lr"), ("mom_t", "momentum"), ("wd_t", "weight_decay"))
            }
        )

    optimizer.base.register_step_pre_hook(note)
    descend(model, x, y, optimizer, 12)
    assert len(optimizer.history) == 6
    for name in ("lr_t", "mom_t", "wd_t"):
        np.testing.assert_allclose([entry[name] for entry in used[::2]], getattr(optimizer, name), rtol=1e-5)
    assert len({tuple(m) for m in optimizer.mom_t}) > 1


def test_emission_hooks_fire_at_every_decision_until_they_are_removed():
    model, x, y = problem()
    optimizer, seen = emitting(model, steps_per_action=3), []
    handle = optimizer.register_emission_hook(lambda opt, emission: seen.append((opt is optimizer, emission)))
    descend(model, x, y, optimizer, 7)
    assert [emission["step"] for _, emission in seen] == [1, 4, 7] and all(same for same, _ in seen)
    np.testing.assert_allclose([emission["lr_t"] for _, emission in seen], optimizer.lr_t, rtol=1e-5)
    handle.remove()
    descend(model, x, y, optimizer, 3)
    assert len(seen) == 3


def test_layerwise_emits_for_every_layer():
    for layerwise in (False, True):
        model, x, y = problem()
        optimizer = emitting(model, layerwise, steps_per_action=1)
        descend(model, x, y, optimizer, 6)
        assert any(len(set(rates)) > 1 for rates in optimizer.lr_t) == layerwise


def test_a_run_resumed_from_a_checkpoint_goes_on_bit_for_bit(tmp_path):
    model, x, y = problem()
    optimizer = emitting(model, steps_per_action=3)
    descend(model, x, y, optimizer, 10)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "checkpoint.pt")
    expected = descend(model, x, y, optimizer, 10, start=10)
    other, *_ = problem(1)
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    other.load_state_dict(content["model"])
    resumed = emitting(other, steps_per_action=3)
    resumed.load_state_dict(content["optimizer"])
    assert_same(descend(other, x, y, resumed, 10, start=10), expected)


def test_a_pickled_optimizer_goes_on_bit_for_bit():
    model, x, y = problem()
    optimizer = emitting(model, steps_per_action=3)
    optimizer.register_emission_hook(lambda *_: None)
    descend(model, x, y, optimizer, 5)
    model_again, again = pickle.loads(pickle.dumps((model, optimizer)))
    assert_same(descend(model_again, x, y, again, 5, start=5), descend(model, x, y, optimizer, 5, start=5))


def test_groups_of_the_user_stay_as_they_were():
    model, *_ = problem()
    groups = [{"params": list(model.parameters()), "lr": 0.5}]
    assert GlobalAdaptiveSGD(groups, pretrained=None).param_groups[0]["lr"] == 0.5
    assert set(groups[0]) == {"params", "lr"}


def test_a_single_tensor_is_refused_as_torch_refuses_it():
    with pytest.raises(TypeError, match="iterable of Tensors or dicts"):
        GlobalAdaptiveSGD(torch.zeros(3, requires_grad=True), pretrained=None)


def test_a_network_of_another_kind_is_a_clear_error():
    model, *_ = problem()
    with pytest.raises(TypeError, match="expected a network of kind 'gru'; received MlpController"):
        GlobalAdaptiveSGD(model.parameters(), pretrained="ppo")


@pytest.fixture
def tiny(monkeypatch):
    """Settings of a training that takes seconds."""
    monkeypatch.setattr(garo_training, "IMITATED", 2)
    monkeypatch.setattr(garo_training, "FITTING_STEPS", 60)
    return garo_training.GaroSettings(tasks=("quadratic:3",), budgets=(40,), hindsight=1, workers=1)


def test_the_options_of_the_command_line_reach_the_training(tmp_path, tiny):
    asked = ["--agent", "garo", "--task", "quadratic:3", "--workers", "1", "--seed", "3", "--hindsight", "1"]
    settings = garo_training.from_options(add_train(ArgumentParser()).parse_args(asked))
    assert settings == replace(tiny, seed=3, budgets=garo_training.GaroSettings.budgets)
    assert settings.base == ("sgd", (("weight_decay", BASE_DECAY),))


def test_a_trained_policy_raises_the_rate_at_first_and_momentum_as_its_teacher_does(tmp_path, tiny):
    trained = agents.load(garo_training.train(tiny, tmp_path, progress=False))
    loop = ControlLoop(trained.interface, np.full(1, 40.0), 1)
    trained.reset(1, 1)
    scale, momentum, decay = trained.act(loop.observe())[0, 0]
    assert scale > 0.3 and momentum > 0.3 and abs(decay) < 0.5
    assert garo_training.read_settings(tmp_path) == tiny


def test_a_training_interrupted_in_its_trials_ends_as_an_uninterrupted_one(tmp_path, tiny):
    whole = garo_training.train(tiny, tmp_path / "whole", progress=False)
    with pytest.raises(FileNotFoundError, match="to resume from"):
        garo_training.train(tiny, tmp_path / "cut", resume=True, progress=False)
    (tmp_path / "cut").mkdir()
    for name in ("settings.json", TRIALS[0]):
        shutil.copy(tmp_path / "whole" / name, tmp_path / "cut")
    resumed = garo_training.train(tiny, tmp_path / "cut", resume=True, progress=False)
    one, other = (PolicyFile.read(path).tensors for path in (whole, resumed))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_what_ships_is_far_better_than_untrained_on_a_member_it_was_not_trained_on():
    trainer = make_trainer(tasks.get("teacher_student:15"), "sgd", weight_decay=BASE_DECAY)
    seeds, rates = np.arange(2), np.full(2, 1e-2)
    losses = [run_controller(trainer, c, seeds, rates, 200).loss for c in (agents.load("garo"), agents.make("garo"))]
    assert np.log(losses[0] / losses[1]).mean() < np.log(0.5)
