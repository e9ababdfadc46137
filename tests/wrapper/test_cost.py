"""What control costs, counted rather than timed: reads, copies, transfers and memory."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.utils._python_dispatch import TorchDispatchMode

import agents
import optenv
from optenv.control.controller import Neutral
from optenv.wrapper.group_sketch import GroupSketch
from optenv.wrapper.plain_state import DeferredResult

EVERY = 5


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": 200, "steps_per_action": EVERY} | settings)


class Operations(TorchDispatchMode):
    """Counts the tensor operations inside by name."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def spied(monkeypatch, cls, name):
    calls, method = [], getattr(cls, name)
    monkeypatch.setattr(cls, name, lambda *args, **kwargs: calls.append(args) or method(*args, **kwargs))
    return calls


def operations_of_a_step(problem, optimizer):
    problem.loss(0).backward()
    with Operations() as counted:
        optimizer.step(**({"loss": 1.0} if isinstance(optimizer, optenv.ControlledOptimizer) else {}))
    return counted.names


LOOK_AT_GRADIENTS = ["_amp_foreach_non_finite_check_and_unscale_.default", "_local_scalar_dense.default"]


@pytest.mark.parametrize("action", [0.0, -0.4], ids=["neutral", "scaled"])
@pytest.mark.parametrize("guard", [True, False])
def test_between_decisions_a_step_is_the_base_optimizers_operations_and_one_look(make_problem, fixed, action, guard):
    plain, steered = make_problem(), make_problem()
    base = optim.AdamW(plain.groups, lr=0.01)
    steering = controlled(optim.AdamW(steered.groups, lr=0.01), fixed(action, knobs=("scale",)), guard=guard)
    plain.train(base, 2)
    steered.train(steering, 2)
    look = LOOK_AT_GRADIENTS if guard else []
    named, *own, closed = operations_of_a_step(plain, base)  # to the profiler, which is not there: see `step_of`
    assert (named, closed) == ("_record_function_enter_new.default", "_record_function_exit._RecordFunction")
    assert operations_of_a_step(steered, steering) == look + own


def test_gradients_and_weights_are_looked_at_once_a_control_step(problem, fixed, monkeypatch):
    steering = controlled(optim.SGD(problem.groups, lr=0.01), fixed(0.2, knobs=("scale", "clip")))
    problem.train(steering, EVERY)
    gradients, weights = (spied(monkeypatch, GroupSketch, name) for name in ("gradient", "weights"))
    problem.train(steering, 4 * EVERY)
    assert len(gradients) == len(weights) == 4


def test_only_groups_whose_clip_is_below_one_are_looked_at_in_between(problem, fixed, monkeypatch):
    action = np.array([0.0, -0.5])[:, None]
    steering = controlled(optim.SGD(problem.groups, lr=0.01), fixed(action, knobs=("clip",)))
    problem.train(steering, 1)
    read = spied(monkeypatch, GroupSketch, "gradient")
    problem.train(steering, 1)
    assert [call[1] for call in read] == [[1]]


def test_the_numbers_of_a_control_step_are_fetched_at_once_and_not_before_the_next_step(problem, monkeypatch):
    steering = controlled(optim.SGD(problem.groups, lr=0.01), Neutral())
    begun, read = spied(monkeypatch, DeferredResult, "__init__"), spied(monkeypatch, DeferredResult, "read")
    for step in range(1, 4 * EVERY + 1):
        problem.train(steering, 1)
        assert len(begun) == step // EVERY and len(read) == (step - 1) // EVERY


def decision(num_groups):
    """The tensor operations of one control step's end and the decision after it, SGD's own left out."""
    weights = [nn.Parameter(torch.ones(3)) for _ in range(num_groups)]
    base = optim.SGD([{"params": [w]} for w in weights], lr=0.01)
    steering = controlled(base, agents.load("ppo"), steps_per_action=2, total_steps=100)
    for w in weights:
        w.grad = torch.ones(3)
    for _ in range(5):
        steering.step(loss=1.0)
    base.step = lambda: None
    with Operations() as counted:
        steering.step(loss=1.0)
        steering.step(loss=1.0)
    return len(counted.names)


def test_a_decision_costs_a_view_or_two_a_group_and_nothing_else_grows():
    few, some, many = decision(10), decision(20), decision(40)
    assert many - some == 2 * (some - few) and some - few <= 2 * 10 * 2
    assert few <= 2 * 10 * 2 + 60


def test_what_is_held_at_47_groups_is_at_most_50_kilobytes_beside_a_trained_policy():
    benchmark = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "overhead.py"))
    small, large = (benchmark["memory"](benchmark["Model"](width, 47, 47, 1, 1), "ppo") for width in (20, 120))
    assert 40.0 < small < large < 50.0
    assert large < small + 5.0


def test_a_loss_on_a_device_is_not_looked_at_before_the_end_of_the_control_step(problem, fixed, monkeypatch):
    steering = controlled(optim.SGD(problem.groups, lr=0.01), fixed(0.2, knobs=("scale",)))
    problem.train(steering, EVERY)
    for _ in range(EVERY - 1):
        steering.step(loss=torch.zeros((), device="meta"))  # has no value: to look at it is an error
    assert steering._run.state.step_count == 2 * EVERY - 1


def test_a_policy_is_asked_once_for_all_groups(fixed):
    controller = fixed(0.1, knobs=("scale",))
    weights = [nn.Parameter(torch.ones(3)) for _ in range(1000)]
    steering = controlled(optim.SGD([{"params": [w]} for w in weights], lr=0.01), controller)
    for w in weights:
        w.grad = torch.ones(3)
    for _ in range(2 * EVERY):
        steering.step(loss=1.0)
    assert [observation.shape for observation in controller.observations] == [(1, 1000, 12)] * 2


@pytest.mark.parametrize("width", [30, 300])
def test_what_is_remembered_does_not_grow_with_the_model(width):
    model = nn.Sequential(*[nn.Linear(width, width) for _ in range(6)])
    steering = controlled(optim.SGD(optenv.layer_groups(model), lr=0.01), Neutral())
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    for _ in range(3 * EVERY):
        steering.step(loss=1.0)
    tensors = steering._run.state.steps._memory.tensors()
    assert sum(t.nbytes for t in tensors) <= (4 + 2 + 2) * 3072


class Still(optim.Optimizer):
    """An optimizer that leaves the weights as they are, so that a billion of them can be views of one number."""

    def step(self, closure=None):
        """Take no step."""


def test_a_billion_parameters_are_read_at_no_more_places_than_a_thousand_and_never_copied():
    simulated = nn.Parameter(torch.ones(1).expand(2**30))
    simulated.grad = torch.ones(1).expand(2**30)
    steering = controlled(Still([simulated], {"lr": 0.01}), Neutral(), guard=False)
    with Operations() as counted:
        for _ in range(2 * EVERY + 1):
            steering.step(loss=1.0)
    assert len(counted.names) < 200
    tensors = steering._run.state.steps._memory.tensors()
    assert sum(t.untyped_storage().nbytes() for t in tensors) <= (4 + 2 + 2) * 1024


def test_the_history_of_many_groups_stays_short_and_reaches_to_the_last_decision():
    weights = [nn.Parameter(torch.ones(1)) for _ in range(47)]
    steering = optenv.ControlledOptimizer(
        optim.SGD([{"params": [w]} for w in weights], lr=0.01), Neutral(), steps_per_action=1
    )
    for _ in range(300):
        for w in weights:
            w.grad = torch.ones_like(w)
        steering.step(loss=1.0)
    assert len(steering.history) * 47 * 4 * 4 < 10_000  # bytes, a rate and three knobs a group
    assert steering.history[0]["step"] == 0 and steering.history[-1]["step"] > 200


def test_a_step_leaves_no_graph_alive(problem):
    steering = controlled(optim.SGD(problem.groups, lr=0.01), Neutral())
    loss = problem.loss(0)
    loss.backward()
    steering.step(loss=loss)
    assert not any(isinstance(kept, torch.Tensor) for kept in steering._run.state.steps._losses)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CPU has nothing to wait for")
def test_on_an_accelerator_nothing_waits_between_decisions(make_problem, fixed):
    problem = make_problem()
    problem.model, problem.x, problem.y = problem.model.cuda(), problem.x.cuda(), problem.y.cuda()
    steering = controlled(optim.AdamW(problem.groups, lr=0.01, fused=True), fixed(-0.3, knobs=("scale", "clip")))
    problem.train(steering, EVERY + 1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        problem.train(steering, EVERY - 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_between_decisions_a_step_passes_few_files_and_frames(problem, fixed):
    steering = controlled(optim.AdamW(problem.groups, lr=0.01), fixed(-0.3))
    problem.train(steering, EVERY + 1)
    package, files, depths = str(Path(optenv.__file__).parent), set(), []

    def ours(frame):
        return frame.f_code.co_filename.startswith(package)

    def base_step(*args, **kwargs):
        frame, depth = sys._getframe(1), 0
        while frame is not None:
            depth, frame = depth + ours(frame), frame.f_back
        depths.append(depth)

    def profile(frame, event, argument):
        if event == "call" and ours(frame):
            files.add(frame.f_code.co_filename)

    problem.loss(0).backward()
    steering.base.step = base_step
    sys.setprofile(profile)
    try:
        steering.step(loss=1.0)
    finally:
        sys.setprofile(None)
    assert depths == [4]
    assert len(files) <= 8, sorted(files)
