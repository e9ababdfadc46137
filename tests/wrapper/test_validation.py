"""Validation losses under a controlled optimizer: when they are asked for, and the best weights that are kept."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

import agents
import optenv
from optenv.control.controller import Neutral
from optenv.control.features import FEATURE_NAMES, FEATURES
from optenv.wrapper.best_validation import buffers_of

EVERY = 5
VALIDATION = tuple(name for name, feature in FEATURES.items() if feature.of_validation)


class Validated:
    """A perceptron in training with a validation set of its own, and every loss that was asked for."""

    def __init__(self, problem, controller=None, rate=0.3, **settings):
        self.problem, self.asked = problem, []
        base = optim.SGD(problem.groups, lr=rate, momentum=0.9)
        settings = {"total_steps": 60, "steps_per_action": EVERY, "validate": self.loss} | settings
        self.optimizer = optenv.ControlledOptimizer(base, controller or Neutral(), **settings)

    def loss(self):
        assert not torch.is_grad_enabled()
        self.asked.append(self.now())
        return self.asked[-1]

    @torch.no_grad()
    def now(self):
        return float(F.mse_loss(self.problem.model(self.problem.x[-8:]), self.problem.y[-8:]))

    def train(self, steps=60):
        self.problem.train(self.optimizer, steps)
        return self


def test_it_is_asked_for_before_the_first_step_and_at_the_ends_of_control_steps(make_problem):
    assert len(Validated(make_problem()).train(EVERY - 1).asked) == 1
    assert len(Validated(make_problem()).train(60).asked) == 1 + 60 // EVERY
    assert len(Validated(make_problem(), validate_every=3).train(60).asked) == 1 + 60 // EVERY // 3
    with_average = Validated(make_problem(), keep_best=True).train(60)
    assert len(with_average.asked) == 1 + 60 // EVERY + 2  # the first ten averages are the weights


def test_the_end_of_a_budget_is_looked_at_though_no_control_step_ends_there(problem):
    validated = Validated(problem, total_steps=58, validate_every=4).train(58)
    assert len(validated.asked) == 1 + 2 + 1 and validated.asked[-1] == validated.now()


def test_looking_changes_no_bit_of_a_training_whose_controller_does_not_look(make_problem):
    losses = []
    for settings in ({"validate": None}, {}, {"keep_best": True}, {"keep_best": "cpu"}):
        validated = Validated(make_problem(), agents.load("garo"), **settings).train()
        losses.append(validated.problem.weights())
    assert all(torch.equal(losses[0], other) for other in losses[1:])


@pytest.mark.parametrize("place", [True, "cpu"])
def test_the_weights_of_the_least_loss_are_put_back_bit_for_bit(problem, place):
    validated = Validated(problem, keep_best=place, rate=1.2).train()
    final = validated.now()
    best = validated.optimizer.restore_best()
    assert best == min(validated.asked) == validated.now() < final


def test_an_average_of_the_weights_is_kept_where_its_loss_is_less():
    weight = nn.Parameter(torch.tensor([5.0]))
    base = optim.SGD([weight], lr=0.4)
    settings = {"steps_per_action": 1, "validate": lambda: weight.square().sum(), "keep_best": True}
    optimizer = optenv.ControlledOptimizer(base, Neutral(), **settings)
    for step in range(40):  # towards 1 and -1 by turns
        loss = (weight - (-1.0) ** step).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(loss=loss)
    assert weight.abs().item() > 0.5
    assert optimizer.restore_best() == weight.square().item() < 0.01


def test_the_average_takes_the_place_of_the_weights_for_as_long_as_it_is_asked_for():
    weight = nn.Parameter(torch.tensor([5.0]))
    own, settings = weight.detach().clone(), {"steps_per_action": 1, "keep_best": True}
    optimizer = optenv.ControlledOptimizer(optim.SGD([weight], lr=0.4), Neutral(), **settings)
    for step in range(41):  # towards 1 and -1 by turns; without a validation loss
        if step == 5:
            with optimizer.averaged():  # still the weights themselves, and a context to leave by an error too
                torch.testing.assert_close(weight.detach(), own, rtol=0.0, atol=0.0)
        loss = (weight - (-1.0) ** step).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(loss=loss)
        own = weight.detach().clone()
    with pytest.raises(KeyError), optimizer.averaged():
        assert weight.abs().item() < 0.1 < 0.5 < own.abs().item()
        raise KeyError
    assert torch.equal(weight, own)
    plain = optenv.ControlledOptimizer(optim.SGD([weight], lr=0.4), Neutral())
    with pytest.raises(ValueError, match="averaged: expected an optimizer with keep_best; received keep_best=False"):
        plain.averaged()


def test_an_average_is_not_lost_to_weights_that_are_not_finite(problem):
    validated = Validated(problem, keep_best=True, rate=0.1).train()
    with torch.no_grad():
        problem.model[0].weight.fill_(torch.nan)
    validated.optimizer.base.state.clear()
    best = min(validated.asked)
    validated.optimizer._run.validation.end_control_step(None, final=False)
    assert np.isnan(validated.asked[-2]) and validated.asked[-1] < 1.5 * best
    assert np.isfinite(validated.optimizer.restore_best()) and np.isfinite(validated.now())


def test_buffers_are_kept_with_the_weights():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, affine=False), nn.Linear(8, 1))
    x, y = torch.randn(256, 4), torch.randn(256, 1)
    base = optim.SGD(model.parameters(), lr=0.5)
    optimizer = optenv.ControlledOptimizer(base, Neutral(), steps_per_action=2, keep_best=True)
    told = []

    def evaluated():
        model.eval()
        with torch.no_grad():
            loss = float(F.mse_loss(model(x[:64]), y[:64]))
        model.train()
        return loss

    for step in range(40):
        batch = torch.arange(8) + 8 * (step % 20) + 64
        loss = F.mse_loss(model(x[batch] * (1.0 + step / 10.0)), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(loss=loss)
        told.append(evaluated())
        optimizer.observe(validation=told[-1])
    assert optimizer.restore_best() == min(told) == evaluated()


def test_buffers_are_those_of_modules_that_this_optimizer_trains_alone():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(2))
            self.register_buffer("calls", torch.zeros(()))

    pair = Pair()
    of_one = {id(buffer) for buffer in buffers_of(list(pair.one.parameters()))}
    assert of_one == {id(buffer) for buffer in pair.one.buffers()}
    assert {id(buffer) for buffer in buffers_of(list(pair.parameters()))} == {id(buffer) for buffer in pair.buffers()}
    for p in pair.one.parameters():
        p.requires_grad_(False)  # a frozen part belongs to who trains the rest
    assert {id(b) for b in buffers_of(list(pair.two.parameters()))} == {id(buffer) for buffer in pair.buffers()}


def test_a_run_resumed_from_a_checkpoint_keeps_and_finds_the_same(make_problem):
    whole = Validated(make_problem(), agents.make("auto"), keep_best=True).train(37)
    file = io.BytesIO()
    torch.save({"optimizer": whole.optimizer.state_dict(), "model": whole.problem.model.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = Validated(make_problem(), agents.make("auto"), keep_best=True)
    other.problem.model.load_state_dict(saved["model"])
    other.optimizer.load_state_dict(saved["optimizer"])
    for validated in (whole, other):
        for step in range(37, 60):
            validated.optimizer.zero_grad()
            loss = validated.problem.loss(step)
            loss.backward()
            validated.optimizer.step(loss=loss)
    assert whole.asked[-len(other.asked) :] == other.asked
    assert whole.optimizer.restore_best() == other.optimizer.restore_best()
    assert torch.equal(whole.problem.weights(), other.problem.weights())


def test_best_weights_of_another_model_are_refused(make_problem, problem):
    state = Validated(make_problem(), keep_best=True).train(10).optimizer.state_dict()
    state["control"]["validation"]["best"]["kept"].pop()
    with pytest.raises(ValueError, match="load_state_dict: expected best weights of the shapes"):
        Validated(problem, keep_best=True).optimizer.load_state_dict(state)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_keeps_its_own_and_is_told_what_to_ask(problem, duplicate):
    validated = Validated(problem, keep_best=True, rate=1.2).train()
    optimizer, model = duplicate((validated.optimizer, problem.model))
    assert optimizer.validate is None and validated.optimizer.validate == validated.loss
    optimizer.validate = lambda: 0.0
    before = problem.weights()
    best = optimizer.restore_best()
    assert torch.equal(before, problem.weights())
    assert best == validated.optimizer.restore_best()
    assert torch.equal(problem.weights(), nn.utils.parameters_to_vector(model.parameters()))


def test_parameters_taken_away_since_stay_as_they_are(problem):
    validated = Validated(problem, keep_best=True, rate=1.2).train()
    group = validated.optimizer.param_groups.pop()
    before = [p.detach().clone() for p in group["params"]]
    validated.optimizer.restore_best()
    assert all(torch.equal(p, old) for p, old in zip(group["params"], before, strict=True))


def test_features_say_unknown_without_validation_and_follow_it_with(make_problem, fixed):
    names = (*FEATURE_NAMES[:6], *VALIDATION, *FEATURE_NAMES[6:])
    seen = {}
    for name, validate in (("without", None), ("with", True)):
        controller = fixed(0.0, features=names)
        settings = {} if validate else {"validate": None}
        validated = Validated(make_problem(), controller, rate=1.2, **settings).train()
        seen[name] = np.concatenate(validated.optimizer.controller.observations)[:, 0, 6 : 6 + len(VALIDATION)]
    improvement, regret, gap = (list(VALIDATION).index(f"validation_{n}") for n in ("improvement", "regret", "gap"))
    assert (seen["without"][:, improvement] == 0.0).all()
    assert (seen["without"][:, regret] == -1.0).all() and (seen["without"][:, gap] == -3.0).all()
    losses = np.array(validated.asked[:12])
    risen = losses > np.minimum.accumulate(losses)
    assert ((seen["with"][:, regret] > 0.0) == risen).all() and risen.any()
    assert (np.sign(seen["with"][1:, improvement]) == np.sign(losses[:-1] - losses[1:])).all()


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"validate": 1.0}, TypeError, "validate: expected a function without arguments, or None; received 1.0"),
        ({"validate_every": 0}, ValueError, "validate_every: expected a whole number of at least 1, .*; received 0"),
        (
            {"keep_best": "gpu"},
            ValueError,
            "unknown keep_best 'gpu'; expected one of False, True, cpu. Did you mean 'cpu'",
        ),
    ],
)
def test_wrong_settings_are_one_error(problem, settings, error, message):
    with pytest.raises(error, match=message):
        Validated(problem, **settings)


def test_a_validation_loss_that_is_no_number_is_one_error(problem):
    with pytest.raises(ValueError, match=r"validate: expected .* a single number; received shape \(2,\)"):
        Validated(problem, validate=lambda: torch.ones(2)).train(1)
    optimizer = Validated(problem).optimizer
    with pytest.raises(ValueError, match="observe: expected a validation loss that is a single number; received 'low'"):
        optimizer.observe(validation="low")
    with pytest.raises(ValueError, match="restore_best: .* received keep_best=False"):
        optimizer.restore_best()
    with pytest.raises(ValueError, match="restore_best: .* received none so far"):
        Validated(problem, keep_best=True).optimizer.restore_best()
