"""What else acts on an optimizer: schedulers, hooks, accumulated gradients, compilers."""

import inspect

import numpy as np
import pytest
import torch
from torch import optim
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import optenv
from optenv.control.controller import Neutral
from optenv.control.knobs import KNOBS

STEPS = 30
SCHEDULERS = {
    name: cls
    for name, cls in inspect.getmembers(lr_scheduler, inspect.isclass)
    if issubclass(cls, lr_scheduler.LRScheduler) and not name.endswith("LRScheduler")
}
# What a scheduler needs besides the optimizer; those that torch will add are tried with nothing.
ARGUMENTS = {
    "ChainedScheduler": lambda o: {"schedulers": [lr_scheduler.ExponentialLR(o, 0.95), lr_scheduler.ConstantLR(o)]},
    "CosineAnnealingLR": lambda o: {"T_max": 20},
    "CosineAnnealingWarmRestarts": lambda o: {"T_0": 7},
    "CyclicLR": lambda o: {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5},
    "ExponentialLR": lambda o: {"gamma": 0.95},
    "LambdaLR": lambda o: {"lr_lambda": lambda step: 1 / (1 + step)},
    "MultiStepLR": lambda o: {"milestones": [5, 12]},
    "MultiplicativeLR": lambda o: {"lr_lambda": lambda step: 0.97},
    "OneCycleLR": lambda o: {"max_lr": 0.1, "total_steps": STEPS + 5},
    "ReduceLROnPlateau": lambda o: {"patience": 1, "threshold": 0.1},
    "SequentialLR": lambda o: {
        "schedulers": [lr_scheduler.LinearLR(o), lr_scheduler.ExponentialLR(o, 0.95)],
        "milestones": [5],
    },
    "StepLR": lambda o: {"step_size": 7, "gamma": 0.5},
}
every_scheduler = pytest.mark.parametrize("name", SCHEDULERS)


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": 100, "steps_per_action": 3} | settings)


def make_schedule(name, optimizer):
    arguments = ARGUMENTS[name](optimizer) if name in ARGUMENTS else {}
    if name != "ChainedScheduler":
        arguments["optimizer"] = optimizer
    return SCHEDULERS[name](**arguments)


def run(problem, controller, name, outermost=True):
    """Train under a schedule, and return the weights and every step's rates as the base optimizer saw them."""
    base = optim.SGD(problem.groups, lr=0.1, momentum=0.9)
    optimizer = base if controller is None else controlled(base, controller)
    schedule = make_schedule(name, optimizer if outermost else base)
    rates = []
    base.register_step_pre_hook(lambda o, args, kwargs: rates.append([group["lr"] for group in o.param_groups]))
    for step in range(STEPS):
        problem.train(optimizer, 1)
        schedule.step(*([1.0 + (step % 5)] if name == "ReduceLROnPlateau" else []))
    return problem.weights(), np.array(rates)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step", "ignore:.*epoch parameter:UserWarning")
@every_scheduler
@pytest.mark.parametrize("outermost", [True, False], ids=["of the controlled", "of the base"])
def test_every_schedule_composes_with_neutral_control_bit_for_bit(make_problem, name, outermost):
    plain, steered = run(make_problem(), None, name), run(make_problem(), Neutral(), name, outermost)
    assert torch.equal(plain[0], steered[0])
    np.testing.assert_array_equal(plain[1], steered[1])


@pytest.mark.filterwarnings("ignore:.*epoch parameter:UserWarning")
@every_scheduler
def test_a_scale_multiplies_every_scheduled_rate_and_nothing_compounds(make_problem, fixed, name):
    scale = float(KNOBS["scale"].absolute(np.array(-0.3)))
    _, scheduled = run(make_problem(), None, name)
    _, rates = run(make_problem(), fixed(-0.3, knobs=("scale",)), name)
    np.testing.assert_allclose(rates, scale * scheduled, rtol=1e-12)


def test_hooks_fire_once_a_step(problem):
    fired = []

    def note(name):
        return lambda optimizer, args, kwargs: fired.append(name)

    base = optim.SGD(problem.groups, lr=0.1)
    steering = controlled(base, Neutral())
    handles = [
        register_optimizer_step_pre_hook(note("global pre")),
        register_optimizer_step_post_hook(note("global post")),
    ]
    try:
        for name, optimizer in (("own", steering), ("base", base)):
            optimizer.register_step_pre_hook(note(f"{name} pre"))
            optimizer.register_step_post_hook(note(f"{name} post"))
        problem.train(steering, 1)
    finally:
        for handle in handles:
            handle.remove()
    assert fired == ["own pre", "global pre", "base pre", "base post", "global post", "own post"]


def test_a_hook_may_change_the_arguments(problem, fixed):
    controller = fixed(0.0)
    steering = controlled(optim.SGD(problem.groups, lr=0.1), controller, steps_per_action=1)
    steering.register_step_pre_hook(lambda optimizer, args, kwargs: (args, {"loss": 7.0}))
    problem.train(steering, 2)
    assert steering._run.state.loop.signals.loss == 7.0


def test_hooks_of_the_state_fire_on_the_whole_state(make_problem):
    problem, fired = make_problem(), []
    steering = controlled(optim.SGD(problem.groups, lr=0.1), Neutral())
    steering.register_state_dict_pre_hook(lambda optimizer: fired.append("saving"))
    steering.register_state_dict_post_hook(lambda optimizer, state: {**state, "note": 1})
    steering.register_load_state_dict_pre_hook(lambda optimizer, state: {k: v for k, v in state.items() if k != "note"})
    steering.register_load_state_dict_post_hook(lambda optimizer: fired.append("loaded"))
    state = steering.state_dict()
    assert set(state) == {"state", "param_groups", "control", "note"}
    steering.load_state_dict(state)
    assert fired == ["saving", "loaded"] and "note" in state


def test_accumulated_gradients_are_one_step(make_problem, fixed):
    ends = []
    for steered in (False, True):
        problem = make_problem()
        base = optim.AdamW(problem.groups, lr=0.01)
        optimizer = controlled(base, fixed(0.0)) if steered else base
        for step in range(5):
            optimizer.zero_grad()
            losses = [problem.loss(4 * step + part) / 4 for part in range(4)]
            for loss in losses:
                loss.backward()
            optimizer.step(**({"loss": sum(losses)} if steered else {}))
        ends.append(problem.weights())
    assert torch.equal(*ends) and "step 5 of 100" in repr(optimizer)


IMPLEMENTATIONS = {
    "foreach": (0.01, {"foreach": True}),
    "fused": (0.01, {"fused": True}),
    "fused, tensor rate": (torch.tensor(0.01), {"fused": True}),
    "tensor rate": (torch.tensor(0.01), {}),
}


@pytest.mark.parametrize(("rate", "options"), IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS)
def test_every_implementation_of_a_base_is_steered_alike(make_problem, fixed, rate, options):
    ends = []
    for settings in ({"lr": 0.01}, {"lr": rate, **options}):
        problem = make_problem()
        action = fixed(lambda decision: np.sin(decision), knobs=("scale", "clip", "dampen"))
        problem.train(controlled(optim.AdamW(problem.groups, **settings), action), 12)
        ends.append(problem.weights())
    torch.testing.assert_close(*ends)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="capturable optimizers run on an accelerator only")
def test_a_capturable_base_is_steered_alike(make_problem, fixed):
    ends = []
    for capturable in (False, True):
        problem = make_problem()
        problem.model, problem.x, problem.y = problem.model.cuda(), problem.x.cuda(), problem.y.cuda()
        action = fixed(lambda decision: np.sin(decision), knobs=("scale", "clip", "dampen"))
        base = optim.AdamW(problem.groups, lr=0.01, capturable=capturable, foreach=True)
        problem.train(controlled(base, action), 12)
        ends.append(problem.weights())
    torch.testing.assert_close(*ends)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
def test_a_compiled_model_and_a_compiled_base_step_are_not_recompiled_by_control(problem, fixed):
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    models, steps = CompileCounter(), CompileCounter()
    base = optim.SGD(problem.groups, lr=torch.tensor(0.05))
    steering = controlled(base, fixed(lambda decision: np.sin(decision), knobs=("scale", "clip")), steps_per_action=1)
    problem.model = torch.compile(problem.model, backend=models)
    base.step = torch.compile(base.step, backend=steps)
    problem.train(steering, 8)
    assert models.frame_count == steps.frame_count == 1
