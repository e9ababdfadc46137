"""The controlled optimizer: what it leaves alone, what it turns, and what it refuses."""

import copy
import inspect
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import optim

import agents
import optenv
from optenv.control.controller import Neutral
from optenv.control.knobs import CONTROLS, KNOBS

BASES = {
    "sgd": lambda groups: optim.SGD(groups, lr=0.1),
    "sgd with momentum": lambda groups: optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adamw": lambda groups: optim.AdamW(groups, lr=0.01),
    "adamw fused": lambda groups: optim.AdamW(groups, lr=0.01, fused=True),
    "adamw foreach": lambda groups: optim.AdamW(groups, lr=0.01, foreach=True),
    "adamw tensor lr": lambda groups: optim.AdamW(groups, lr=torch.tensor(0.01)),
    "rmsprop": lambda groups: optim.RMSprop(groups, lr=0.01, momentum=0.9, centered=True),
    "rprop": lambda groups: optim.Rprop(groups, lr=0.01),
}
# Every optimizer that torch ships and that takes one dense gradient a step.
SHIPPED = [
    cls
    for _, cls in inspect.getmembers(optim, inspect.isclass)
    if issubclass(cls, optim.Optimizer) and cls not in (optim.Optimizer, optim.LBFGS, optim.SparseAdam)
]
every_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES)


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": 100, "steps_per_action": 3} | settings)


@pytest.mark.parametrize("base", [*BASES.values(), "lion"], ids=[*BASES, "lion"])
@pytest.mark.parametrize("control", CONTROLS)
def test_neutral_controller_leaves_the_base_optimizer_unchanged_bit_for_bit(make_problem, fixed, lion, base, control):
    plain, steered = make_problem(), make_problem()
    base = lion if base == "lion" else base
    one, two = base(plain.groups), base(steered.groups)
    plain.train(one, 50)
    steered.train(controlled(two, fixed(0.0, control=control)), 50)
    assert torch.equal(plain.weights(), steered.weights())
    for a, b in zip(one.state_dict()["state"].values(), two.state_dict()["state"].values(), strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a if a[k] is not None)


def test_a_scale_multiplies_the_scheduled_rate_without_compounding(make_problem, fixed):
    plain, steered = make_problem(), make_problem()
    scale = float(KNOBS["scale"].absolute(np.array(0.3)))
    twice = optim.SGD(plain.groups, lr=0.1 * scale)
    plain.train(twice, 30, optim.lr_scheduler.ExponentialLR(twice, 0.9))
    base = optim.SGD(steered.groups, lr=0.1)
    steering = controlled(base, fixed(0.3, knobs=("scale",)))
    steered.train(steering, 30, optim.lr_scheduler.ExponentialLR(steering, 0.9))
    torch.testing.assert_close(plain.weights(), steered.weights())
    assert base.param_groups[0]["lr"] == pytest.approx(0.1 * 0.9**30)


@every_base
def test_hyperparameters_are_restored_after_every_step(problem, fixed, base):
    base = base(problem.groups)
    own = [{k: copy.deepcopy(v) for k, v in group.items() if k != "params"} for group in base.param_groups]
    steering = controlled(base, fixed(lambda decision: np.sin(decision)))
    for _ in range(7):
        problem.train(steering, 1)
        for group, before in zip(steering.param_groups, own, strict=True):
            assert {k: v for k, v in group.items() if k != "params"} == before


def test_hyperparameters_are_restored_when_the_base_optimizer_raises(problem, fixed):
    class Broken(optim.SGD):
        def step(self, closure=None):
            raise RuntimeError("broken")

    base = Broken(problem.groups, lr=0.1, momentum=0.9)
    with pytest.raises(RuntimeError, match="broken"):
        problem.train(controlled(base, fixed(0.5)), 1)
    assert [(g["lr"], g["momentum"]) for g in base.param_groups] == [(0.1, 0.9)] * 2


def test_what_the_base_optimizer_writes_into_its_groups_stays(problem, fixed):
    class Counting(optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                group["weight_decay"] += 1
            super().step()

    base = Counting(problem.groups, lr=1e-3)
    problem.train(controlled(base, fixed(0.3, knobs=("scale",))), 4)
    assert [group["weight_decay"] for group in base.param_groups] == [4, 4]


@pytest.mark.parametrize("action", [-0.7, 0.4])
def test_gradients_are_left_as_they_were(problem, fixed, action):
    steering = controlled(optim.SGD(problem.groups, lr=0.01), fixed(action))
    for step in range(9):
        steering.zero_grad()
        loss = problem.loss(step)
        loss.backward()
        before = [(p.grad, p.grad.clone()) for p in problem.model.parameters()]
        steering.step(loss=loss)
        for p, (own, value) in zip(problem.model.parameters(), before, strict=True):
            assert p.grad is own and torch.equal(p.grad, value)


@pytest.mark.parametrize("cls", SHIPPED, ids=lambda cls: cls.__name__)
def test_every_optimizer_of_torch_can_be_steered(problem, fixed, cls):
    rng, groups = np.random.default_rng(0), problem.groups
    if cls.__name__ == "Muon":  # takes matrices only
        groups = [{"params": [p for p in group["params"] if p.ndim == 2]} for group in groups]
    steering = controlled(cls(groups, lr=1e-3), fixed(lambda decision: rng.uniform(-1, 1, (1, 2, len(KNOBS)))))
    before = problem.weights()
    problem.train(steering, 30)
    after = problem.weights()
    assert after.isfinite().all() and not torch.equal(before, after)


@pytest.mark.parametrize("knob", KNOBS)
def test_every_knob_moves_a_base_optimizer_that_has_it(make_problem, fixed, knob):
    ends = []
    for action in (-0.8, 0.0, 0.8):
        problem = make_problem()
        problem.train(
            controlled(optim.AdamW(problem.groups, lr=0.01, weight_decay=0.1), fixed(action, knobs=(knob,))), 20
        )
        ends.append(problem.weights())
    one_sided = knob in ("clip", "dampen", "second_moment")  # neutral already on one side of 0
    assert (not torch.equal(ends[0], ends[1])) + (not torch.equal(ends[2], ends[1])) >= (1 if one_sided else 2)


def test_a_knob_that_the_base_optimizer_lacks_does_nothing(make_problem, fixed):
    plain, steered = make_problem(), make_problem()
    plain.train(optim.Adagrad(plain.groups, lr=0.1), 20)
    knobs = ("momentum", "beta2", "weight_decay")
    steered.train(controlled(optim.Adagrad(steered.groups, lr=0.1), fixed(0.7, knobs=knobs)), 20)
    assert torch.equal(plain.weights(), steered.weights())


def test_full_dampening_stops_the_run_and_takes_its_momentum(problem, fixed):
    base = optim.SGD(problem.groups, lr=0.1, momentum=0.9)
    steering = controlled(base, fixed(lambda decision: float(decision > 2), knobs=("dampen",)))
    problem.train(steering, 6)
    stopped = problem.weights()
    problem.train(steering, 3)
    assert torch.equal(problem.weights(), stopped)
    assert all((state["momentum_buffer"] == 0).all() for state in base.state.values())


def test_a_closure_runs_once_before_control_and_its_loss_is_returned(make_problem, fixed):
    plain, steered = make_problem(), make_problem()
    calls = []
    plain.train(controlled(optim.SGD(plain.groups, lr=0.1), fixed(-0.5)), 10)
    steering = controlled(optim.SGD(steered.groups, lr=0.1), fixed(-0.5))
    for step in range(10):

        def closure(step=step):
            steering.zero_grad()
            loss = steered.loss(step)
            loss.backward()
            calls.append(step)
            return loss

        returned = steering.step(closure)
        assert returned.requires_grad and returned.shape == ()
    assert calls == list(range(10))
    assert torch.equal(plain.weights(), steered.weights())


def test_a_loss_may_be_a_number_or_any_tensor_of_one(problem):
    steering = controlled(optim.SGD(problem.groups, lr=0.1), Neutral())
    problem.loss(0).backward()
    for loss in (0.5, np.float64(0.5), torch.tensor([0.5]), torch.tensor([[0.5]], dtype=torch.float64), float("nan")):
        assert steering.step(loss=loss) is None
    assert np.isfinite(steering._run.state.loop.observe()).all()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (torch.zeros(2), r"step: expected a loss that is a single number; received shape \(2,\)"),
        ("low", "step: expected a loss that is a single number; received 'low'"),
        ([1.0], r"step: expected a loss that is a single number; received \[1.0\]"),
    ],
)
def test_a_loss_that_is_no_number_is_one_clear_error_and_nothing_moves(problem, loss, message):
    steering = controlled(optim.SGD(problem.groups, lr=0.1), Neutral())
    before = problem.weights()
    problem.loss(0).backward()
    with pytest.raises(ValueError, match=message):
        steering.step(loss=loss)
    with pytest.raises(ValueError, match=message):
        steering.step(lambda: loss)
    assert torch.equal(problem.weights(), before)


def test_what_cannot_be_steered_is_one_clear_error(problem):
    with pytest.raises(TypeError, match="base: LBFGS calls its closure several times a step and cannot be controlled"):
        controlled(optim.LBFGS(problem.model.parameters()), Neutral())
    with pytest.raises(TypeError, match="base: expected a torch.optim.Optimizer; received list"):
        controlled(problem.groups, Neutral())
    with pytest.raises(TypeError, match="controller: expected a Controller, with its interface; received dict"):
        controlled(optim.SGD(problem.groups, lr=0.1), {})
    for name in ("total_steps", "steps_per_action"):
        for value in (0, -1, 1.5, "3", True, np.bool_(True), np.float64(3), np.array([3, 4]), torch.tensor(True)):
            with pytest.raises(ValueError, match=f"{name}: expected a whole number of at least 1, or None; received"):
                controlled(optim.SGD(problem.groups, lr=0.1), Neutral(), **{name: value})


@pytest.mark.parametrize("three", [np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_whole_numbers_of_any_kind_are_budgets(problem, three):
    steering = controlled(optim.SGD(problem.groups, lr=0.1), Neutral(), total_steps=three, steps_per_action=three)
    assert (type(steering.total_steps), steering.total_steps, steering.steps_per_action) == (int, 3, 3)


@pytest.mark.parametrize("by", [lambda entries: entries, lambda entries: []], ids=["provided", "not provided"])
def test_a_controller_is_loaded_by_its_name_where_a_package_provides_it(problem, monkeypatch, by):
    provided = by([EntryPoint("load", "agents.registry:load", "optcontrol.controllers")])
    monkeypatch.setattr("optenv.entry_points.entry_points", lambda group, name: provided)
    if provided:
        steering = controlled(optim.SGD(problem.groups, lr=0.1), "ppo")
        assert steering.controller.interface == agents.load("ppo").interface
        with pytest.raises(ValueError, match="unknown controller 'pp'; .* Did you mean 'ppo'"):
            controlled(optim.SGD(problem.groups, lr=0.1), "pp")
    else:
        with pytest.raises(ImportError, match="controller 'ppo': expected .* with the entry point 'load'"):
            controlled(optim.SGD(problem.groups, lr=0.1), "ppo")


def test_going_on_beyond_the_budget_warns_once_and_keeps_working(problem, fixed):
    controller = fixed(0.0)
    steering = controlled(optim.SGD(problem.groups, lr=0.1), controller, total_steps=6, steps_per_action=2)
    problem.train(steering, 6)
    with pytest.warns(UserWarning, match="the run goes on beyond total_steps=6; progress stays at 1") as caught:
        problem.train(steering, 1)
    assert Path(caught[0].filename).name == "conftest.py"  # where the user calls step
    problem.train(steering, 5)
    assert controller.observations[-1][0, 0, 0] == 1.0


def test_a_run_is_divided_into_as_many_decisions_as_the_controller_was_made_for(problem, fixed):
    controller = fixed(0.0, decisions=5)
    problem.train(optenv.ControlledOptimizer(optim.SGD(problem.groups, lr=0.1), controller, total_steps=40), 40)
    assert len(controller.observations) == 5
    steering = optenv.ControlledOptimizer(optim.SGD(problem.groups, lr=0.1), controller)
    problem.train(steering, 21)
    assert steering.steps_per_action == 10 and len(controller.observations) == 3
    assert controller.observations[0][0, 0, 0] == -1.0  # the budget is unknown


def test_the_first_update_is_as_large_as_the_controller_asks_at_any_base_rate(make_problem, fixed):
    for make in (optim.SGD, optim.AdamW, optim.RMSprop, optim.Adagrad):
        for rate in (1e-6, 1e-3, 1.0):
            problem = make_problem()
            before = problem.weights()
            controller = fixed(0.0, control="relative", first_update=0.01)
            problem.train(controlled(make(problem.groups, lr=rate), controller), 1)
            moved = (problem.weights() - before).square().mean().sqrt()
            assert moved / before.abs().mean() == pytest.approx(0.01, rel=0.05)


def test_momentum_that_builds_up_is_foreseen(make_problem, fixed):
    problem = make_problem()
    before = problem.weights()
    controller = fixed(0.0, control="relative", first_update=0.01)
    problem.train(controlled(optim.SGD(problem.groups, lr=1e-3, momentum=0.9), controller), 1)
    moved = (problem.weights() - before).square().mean().sqrt()
    assert moved / before.abs().mean() == pytest.approx(0.01 * 0.1 / (1 - 0.9**10), rel=0.05)


def test_an_optimizer_that_refuses_a_trial_step_still_starts(problem, fixed):
    class Demanding(optim.SGD):
        def __init__(self, params, model):
            super().__init__(params, lr=1e-3)

    steering = controlled(Demanding(problem.groups, problem.model), fixed(0.0, control="relative", first_update=0.01))
    problem.train(steering, 3)
    assert problem.weights().isfinite().all()


def test_weights_loaded_after_construction_are_where_the_run_begins(make_problem, fixed):
    problem, other = make_problem(), make_problem(1)
    controller = fixed(0.0)
    steering = controlled(optim.SGD(problem.groups, lr=1e-4), controller, steps_per_action=1)
    problem.model.load_state_dict(other.model.state_dict())
    problem.train(steering, 2)
    names = list(controller.interface.features)
    if "update_ratio" in names:
        assert controller.observations[1][0, :, names.index("update_ratio")].max() < -0.5  # a step of 1e-4, not a jump


def test_state_is_that_of_the_base_optimizer(make_problem):
    problem, resumed = make_problem(), make_problem()
    steering = controlled(optim.AdamW(problem.groups, lr=0.01), Neutral())
    problem.train(steering, 5)
    assert steering.state is steering.base.state and steering.defaults is steering.base.defaults
    fresh = controlled(optim.AdamW(resumed.groups, lr=0.5), Neutral())
    resumed.model.load_state_dict(problem.model.state_dict())
    fresh.load_state_dict(copy.deepcopy(steering.state_dict()))
    assert fresh.param_groups[0]["lr"] == 0.01 and fresh.param_groups is fresh.base.param_groups
    assert fresh.state is fresh.base.state and fresh.state[fresh.param_groups[0]["params"][0]]["step"] == 5
    assert fresh.defaults is fresh.base.defaults and fresh.defaults["lr"] == 0.5
    problem.train(steering, 5)
    resumed.train(fresh, 5)
    assert torch.equal(problem.weights(), resumed.weights())


def test_parameters_without_gradients_are_passed_over(problem, fixed):
    problem.model[2].requires_grad_(False)
    groups = [{"params": list(problem.model.parameters())}]
    steering = controlled(optim.AdamW(groups, lr=0.01), fixed(-0.3))
    frozen = problem.model[2].weight.clone()
    problem.train(steering, 5)
    assert torch.equal(problem.model[2].weight, frozen)
