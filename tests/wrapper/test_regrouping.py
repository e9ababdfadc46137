"""Groups that come, go, freeze or are empty, and parameters of every kind."""

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

import agents
import optenv
from agents.policies.recurrent.controller import LstmController
from optenv.control.controller import Interface
from optenv.control.features import FEATURE_NAMES
from optenv.control.policy_file import PolicyFile
from optenv.wrapper.group_sketch import GroupSketch, parameters, real_size, strided

GRADIENT_NORM = FEATURE_NAMES.index("gradient_norm")


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": 60, "steps_per_action": 3} | settings)


def scale_of(steering):
    return steering._run.state.values["scale"][0]


@pytest.mark.parametrize("control", ["absolute", "relative"])
@pytest.mark.parametrize("at", [6, 7])
def test_a_group_added_mid_run_starts_neutral_and_the_others_go_on(make_problem, fixed, control, at):
    alone, joined = make_problem(), make_problem()
    controllers = [fixed(-0.3, control=control) for _ in range(2)]
    one, two = (
        controlled(optim.SGD(p.groups[:1], lr=0.05), c) for p, c in zip((alone, joined), controllers, strict=True)
    )
    alone.train(one, at)
    joined.train(two, at)
    extra = nn.Parameter(torch.ones(3))
    two.add_param_group({"params": [extra], "lr": 0.5})
    extra.grad = torch.full((3,), 0.1)
    own_scale = scale_of(one)[0]
    joined.train(two, 1)
    alone.train(one, 1)
    if at % 3:  # until the next decision
        assert scale_of(two).tolist() == [own_scale, 1.0]
    elif control == "relative":
        assert scale_of(two) == pytest.approx([scale_of(one)[0], np.exp(-0.3)])
    alone.train(one, 8)
    joined.train(two, 8)
    assert torch.equal(alone.weights(), joined.weights())
    for a, b in zip(controllers[0].observations, controllers[1].observations, strict=True):
        np.testing.assert_array_equal(a[0, 0], b[0, 0])


def test_a_new_group_takes_a_step_of_its_own_base_rate(problem, fixed):
    steering = controlled(optim.SGD(problem.groups, lr=0.05), fixed(-0.3))
    problem.train(steering, 4)
    extra = nn.Parameter(torch.ones(3))
    steering.add_param_group({"params": [extra], "lr": 0.5})
    extra.grad = torch.full((3,), 0.1)
    steering.step(loss=0.1)
    assert torch.equal(extra.detach(), torch.ones(3) - 0.5 * 0.1)


def test_groups_may_be_added_before_the_first_step(problem, fixed):
    (first, *others) = problem.groups
    controller = fixed(-0.3)
    steering = controlled(optim.SGD([first], lr=0.1), controller)
    for group in others:
        steering.add_param_group(group)
    problem.train(steering, 1)
    assert len(steering.param_groups) == controller.observations[0].shape[1] == 2


def test_a_recurrent_controller_keeps_the_memory_of_the_groups_that_stay():
    rng, width, features = np.random.default_rng(0), 4, len(FEATURE_NAMES)
    shapes = {
        "lstm_input": (16, features),
        "lstm_hidden": (16, width),
        "lstm_input_bias": (16,),
        "lstm_hidden_bias": (16,),
        "weight0": (3, width),
        "bias0": (3,),
    }
    tensors = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    tensors |= {"mean": np.zeros(features), "std": np.ones(features)}
    file = PolicyFile("lstm", Interface(), tensors, {"hidden": "tanh", "output": "tanh"})
    one, two = LstmController(file), LstmController(file)
    observation = rng.normal(size=(1, 2, features))
    for controller in (one, two):
        controller.reset(1, 2)
        controller.act(observation)
    two.regroup(np.array([1, -1, 0]))
    ends = one.act(observation), two.act(observation[:, [1, 1, 0]])
    np.testing.assert_allclose(ends[1][:, [2, 0]], ends[0], rtol=1e-12)  # summed in another order
    fresh = LstmController(file)
    fresh.reset(1, 1)
    np.testing.assert_allclose(ends[1][:, 1:2], fresh.act(observation[:, 1:]), rtol=1e-12)


def test_a_group_that_vanishes_takes_its_state_with_it(problem, fixed):
    def action(decision):
        return np.array([-0.3, 0.3])[:, None] if decision == 1 else 0.0

    steering = controlled(optim.SGD(problem.groups, lr=0.05), fixed(action, control="relative", knobs=("scale",)))
    problem.train(steering, 3)
    assert scale_of(steering) == pytest.approx(np.exp([-0.3, 0.3]))
    del steering.param_groups[0]
    problem.train(steering, 4)
    assert scale_of(steering) == pytest.approx([np.exp(0.3)])


def test_a_group_whose_parameters_change_keeps_its_knobs(problem, fixed):
    steering = controlled(optim.SGD(problem.groups, lr=0.05), fixed(-0.3, control="relative"))
    problem.train(steering, 4)
    before = scale_of(steering).copy()
    steering.param_groups[0]["params"].pop()
    problem.train(steering, 1)
    assert scale_of(steering).tolist() == before.tolist()
    steering.param_groups[0]["params"].clear()
    problem.train(steering, 5)
    assert np.isfinite(steering._run.state.loop.observe()).all()


def test_all_groups_may_vanish_and_others_come(make_problem, problem, fixed):
    controller = fixed(-0.3)
    steering = controlled(optim.SGD(problem.groups, lr=0.05), controller, steps_per_action=1)
    problem.train(steering, 2)
    steering.param_groups.clear()
    problem.train(steering, 2)
    other = make_problem(1)
    for group in other.groups:
        steering.add_param_group(group)
    before = other.weights()
    other.train(steering, 3)
    assert not torch.equal(other.weights(), before)
    assert [observation.shape[1] for observation in controller.observations] == [2, 2, 0, 0, 2, 2, 2]


def test_a_run_resumed_after_a_group_was_added_is_the_same_run(make_problem, fixed):
    one, two = make_problem(), make_problem()
    steering = controlled(optim.SGD(one.groups[:1], lr=0.05), fixed(-0.1, control="relative"))
    one.train(steering, 4)
    steering.add_param_group(one.groups[1])
    one.train(steering, 4)
    resumed = controlled(optim.SGD(two.groups, lr=0.05), fixed(-0.1, control="relative"))
    two.model.load_state_dict(one.model.state_dict())
    resumed.load_state_dict(steering.state_dict())
    for problem, optimizer in ((one, steering), (two, resumed)):
        problem.train(optimizer, 9)
    assert torch.equal(one.weights(), two.weights())
    for optimizer in (steering, resumed):
        optimizer._run.settle()
    np.testing.assert_array_equal(steering._run.state.loop.observe(), resumed._run.state.loop.observe())


@pytest.mark.parametrize("first_update", [None, 0.01])
def test_an_empty_group_is_observed_as_nothing_and_disturbs_nobody(make_problem, fixed, first_update):
    plain, problem = make_problem(), make_problem()
    settings = {"control": "relative", "first_update": first_update}
    plain.train(controlled(optim.SGD(plain.groups, lr=1e-3), fixed(-0.1, **settings)), 9)
    controller = fixed(-0.1, **settings)
    base = optim.SGD([*problem.groups, {"params": []}], lr=1e-3)
    problem.train(controlled(base, controller), 9)
    assert np.isfinite(controller.observations).all()
    torch.testing.assert_close(problem.weights(), plain.weights())


def test_a_frozen_group_observes_nothing_new_until_it_thaws(problem, fixed):
    groups, controller = problem.groups, fixed(0.0)
    problem.model[0].requires_grad_(False)
    steering = controlled(optim.AdamW(groups, lr=0.01), controller)
    frozen = problem.model[0].weight.clone()
    problem.train(steering, 6)
    assert torch.equal(problem.model[0].weight, frozen)
    problem.model[0].requires_grad_(True)
    problem.train(steering, 4)
    assert np.isfinite(controller.observations).all()
    assert controller.observations[-1][0, 0, GRADIENT_NORM] == 0.0  # its first gradient, not a leap from zero


@pytest.mark.parametrize("make", [optim.SGD, optim.AdamW])
def test_a_run_that_begins_without_any_gradient_starts_from_the_base_rate(problem, fixed, make):
    controller = fixed(0.0, control="relative", first_update=0.01)
    steering = controlled(make(problem.groups, lr=1e-3), controller)
    steering.step(loss=1.0)
    assert scale_of(steering).tolist() == [1.0, 1.0]
    problem.train(steering, 5)
    assert np.isfinite(controller.observations).all()


def test_a_frozen_group_takes_no_part_in_the_first_update(problem, fixed):
    groups = problem.groups
    with torch.no_grad():
        problem.model[0].weight.mul_(1e4)
    problem.model[0].requires_grad_(False)
    before = problem.model[2].weight.clone()
    controller = fixed(0.0, control="relative", first_update=0.01)
    problem.train(controlled(optim.AdamW(groups, lr=1.0), controller), 1)
    moved = (problem.model[2].weight - before).norm() / before.norm()
    assert 0.003 < moved < 0.03


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's own, about its Adagrad
@pytest.mark.parametrize("cls", [optim.SGD, optim.SparseAdam, optim.Adagrad])
def test_sparse_gradients_are_steered_as_dense_ones_are(fixed, cls):
    ends, seen = [], []
    for sparse in (True, False):
        if not sparse and cls is optim.SparseAdam:
            continue  # which takes no dense ones
        generator = torch.Generator().manual_seed(0)
        table = nn.Embedding(50, 3, sparse=sparse)
        nn.init.normal_(table.weight, generator=generator)
        controller = fixed(-0.4, knobs=("scale", "clip", "dampen"))
        steering = controlled(cls(optenv.layer_groups(table), lr=0.1), controller)
        for _ in range(9):
            steering.zero_grad()
            loss = table(torch.randint(50, (8,), generator=generator)).square().mean()
            loss.backward()
            steering.step(loss=loss)
        ends.append(table.weight.detach())
        seen.append(np.array(controller.observations))
    assert all(end.isfinite().all() for end in ends)
    if len(ends) == 2:
        torch.testing.assert_close(*ends)
        np.testing.assert_allclose(*seen, atol=1e-5)  # sums of a sparse gradient in another order


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("dense_dim", [0, 1, 2])
def test_a_sparse_tensor_reads_as_its_dense_twin_does(dtype, dense_dim):
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(5, 4, 3, generator=generator).to(dtype)
    dense[1::2] = 0
    sparse = dense.to_sparse(3 - dense_dim)
    for first, step in ((0, 1), (2, 3), (7, 50)):
        place = first, step, len(range(first, real_size(dense), step))
        assert torch.equal(strided(sparse, *place), strided(dense, *place))
    nothing = torch.zeros(5, 4, dtype=dtype).to_sparse()
    assert not strided(nothing, 1, 2, 9).any()


@pytest.mark.parametrize("cls", [optim.SGD, optim.AdamW])
def test_complex_parameters_are_steered_by_both_of_their_parts(fixed, cls):
    weight = nn.Parameter(torch.tensor([1 + 2j, -3 + 0.5j]))
    controller = fixed(-0.3, control="relative", first_update=0.01, knobs=("scale", "dampen"))
    steering = controlled(cls([weight], lr=0.01), controller)
    sketch = GroupSketch(steering.param_groups)
    assert sketch.weights().flatten().tolist() == [1, 2, -3, 0.5]
    before = weight.detach().clone()
    for step in range(7):
        steering.zero_grad()
        loss = weight.abs().square().sum()
        loss.backward()
        steering.step(loss=loss)
        if step == 0:
            moved, size = torch.view_as_real(weight.detach() - before), torch.view_as_real(before).abs().mean()
            assert moved.square().mean().sqrt() / size == pytest.approx(0.01 * np.exp(-0.3), rel=0.1)
    assert np.isfinite(controller.observations).all()


def test_tied_weights_are_steered_once(fixed):
    table = nn.Embedding(7, 3)
    output = nn.Linear(3, 7, bias=False)
    output.weight = table.weight
    model = nn.Sequential(table, output)
    controller = fixed(-0.3)
    steering = controlled(optim.SGD(optenv.layer_groups(model), lr=0.1), controller)
    for _ in range(5):
        steering.zero_grad()
        loss = F.cross_entropy(model(torch.arange(7)), torch.arange(7))
        loss.backward()
        steering.step(loss=loss)
    assert controller.observations[0].shape[1] == 1 and output.weight is table.weight


def effective(steering):
    return [g["lr"] * s for g, s in zip(steering.param_groups, scale_of(steering), strict=True)]


@pytest.mark.parametrize("size", ["first_update", "first_update_norm"])
@pytest.mark.parametrize("rate", [1e-6, 1e-2, 10.0])
@pytest.mark.parametrize("at", [6, 7], ids=["at a decision", "between decisions"])
@pytest.mark.parametrize("change", ["added", "replaced", "all replaced"])
def test_a_new_group_starts_at_the_others_effective_rate(problem, fixed, rate, at, change, size):
    own = {"control": "relative", "knobs": ("scale",), size: 0.01}
    controller = fixed(lambda count: 0.2 if count < 3 else 0.0, **own)
    steering = controlled(optim.SGD(problem.groups, lr=0.05), controller)
    problem.train(steering, at)
    others = effective(steering)
    new = nn.Parameter(torch.ones(3))
    new.grad = torch.full((3,), 0.1)
    if change == "added":
        steering.add_param_group({"params": [new], "lr": rate})
    else:
        del steering.param_groups[0 if change == "all replaced" else 1 :]
        steering.add_param_group({"params": [new], "lr": rate})
    for _ in range(3):
        steering.step(loss=0.1)
    np.testing.assert_allclose(effective(steering), others[0], rtol=1e-9)


def test_a_group_added_within_a_warm_up_from_zero_follows_the_others(problem, fixed):
    controller = fixed(0.0, control="relative", first_update=0.01, knobs=("scale",))
    steering = controlled(optim.SGD(problem.groups[:1], lr=0.05), controller)
    schedule = optim.lr_scheduler.LambdaLR(steering, lambda step: 0.0 if step < 5 else 1.0)
    problem.train(steering, 2, schedule)
    steering.add_param_group({"params": [nn.Parameter(torch.ones(3))], "lr": 0.5})
    problem.train(steering, 4)
    assert 0.5 * scale_of(steering)[1] == pytest.approx(0.05 * scale_of(steering)[0])


@pytest.mark.parametrize("rate", [1e-6, 10.0])
@pytest.mark.parametrize("change", ["taken away", "at rate 0"])
def test_a_new_group_does_not_follow_a_group_that_is(problem, fixed, change, rate):
    first, second = problem.groups
    controller = fixed(0.0, control="relative", first_update=0.01, knobs=("scale",))
    steering = controlled(optim.SGD([{**first, "lr": 0.005}, second], lr=0.05), controller)
    problem.train(steering, 7)
    stays = effective(steering)[1]
    if change == "taken away":
        del steering.param_groups[0]
    else:
        steering.param_groups[0]["lr"] = 0.0
    steering.add_param_group({"params": [nn.Parameter(torch.ones(3))], "lr": rate})
    problem.train(steering, 1)
    np.testing.assert_allclose(effective(steering)[-2:], stays, rtol=1e-9)


def test_under_auto_a_group_added_later_goes_on_at_the_others_rate(problem):
    steering = controlled(optim.Adam(problem.groups[:1], lr=0.05), agents.load("auto"))
    problem.train(steering, 12)
    steering.add_param_group({"params": problem.groups[1]["params"], "lr": 1e-4})
    for _ in range(3):
        problem.train(steering, 5)
        np.testing.assert_allclose(*effective(steering), rtol=1e-6)


@pytest.mark.parametrize("place", [0, 1])
def test_the_gradient_of_a_parameter_that_was_replaced_is_not_seen(problem, fixed, place):
    steering = controlled(optim.SGD(problem.groups, lr=0.05), fixed(-0.2, knobs=("scale", "clip")))
    problem.train(steering, 7)
    sketch, replaced = steering._run.state.steps._sketch, steering.param_groups[1]["params"][place]
    before = sketch.gradient(held=parameters(steering.param_groups))
    steering.param_groups[1]["params"][place] = nn.Parameter(replaced.detach().clone())
    assert replaced.grad is not None
    after = sketch.gradient(held=parameters(steering.param_groups))
    assert torch.equal(before[:, 0], after[:, 0]) and not torch.equal(before[:, 1], after[:, 1])
    steering.param_groups[1]["params"][1 - place].grad = None
    assert sketch.without_gradient(parameters(steering.param_groups)) == [1]


def test_a_new_group_follows_the_rates_that_others_have_since_a_checkpoint_was_loaded(problem, fixed):
    controller = fixed(0.0, control="relative", first_update=0.01, knobs=("scale",))
    steering = controlled(optim.SGD(problem.groups, lr=0.05), controller)
    problem.train(steering, 7)
    steering.load_state_dict(steering.state_dict())
    for group in steering.param_groups:
        group["lr"] = 0.001
    steering.add_param_group({"params": [nn.Parameter(torch.ones(3))], "lr": 10.0})
    problem.train(steering, 1)
    np.testing.assert_allclose(effective(steering), effective(steering)[0], rtol=1e-9)
