"""Optimizers of other packages: each trains under control as it does alone, or is refused at construction."""

import warnings

import numpy as np
import pytest
import torch
from torch import optim
from torch.optim.optimizer import register_optimizer_step_pre_hook

import agents
import optenv
from optenv.wrapper.base_needs import BaseNeeds, needs_of

pytorch_optimizer = pytest.importorskip("pytorch_optimizer")
prodigyopt = pytest.importorskip("prodigyopt")

STEPS = 30
ARGUMENTS = {"bsam": {"num_data": 8}, "ranger21": {"num_iterations": STEPS}}
OF_THE_GRAPH = ("adahessian", "sophiah")  # they differentiate the gradient
OF_MATRICES = ("spectralsphere",)
OF_A_MODEL = ("adalomo", "adammini", "lomo")
TELL_MATRICES_APART = ("adago", "adamuon", "muon", "muonclip", "normuon")
CANNOT_BE_MADE = ("demo", "distributedmuon", "lbfgs")  # without another package, a process group, of several groups
REFUSED = {
    "a2grad": "knob 'scale': expected a base optimizer with lr",
    "alig": "knob 'scale': expected a base optimizer with lr",
    "bsam": "base: BSAM calls its closure several times a step and cannot be controlled",
}
CONTROLLERS = ("ppo", "garo", "adaptive")


def controlled(base, controller, **settings):
    return optenv.ControlledOptimizer(base, controller, **{"total_steps": STEPS, "steps_per_action": 2} | settings)


def make(name, problem):
    if name in OF_A_MODEL:
        return pytorch_optimizer.load_optimizer(name)(problem.model)
    groups = problem.groups
    if name in TELL_MATRICES_APART:
        params = list(problem.model.parameters())
        groups = [{"params": [p for p in params if (p.ndim == 2) == yes], "use_muon": yes} for yes in (True, False)]
    if name in OF_MATRICES:
        groups = [{"params": [p for p in group["params"] if p.ndim == 2]} for group in groups]
    return pytorch_optimizer.load_optimizer(name)(groups, **ARGUMENTS.get(name, {}))


def train(problem, optimizer, create_graph=False):
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = problem.loss(step)
        loss.backward(create_graph=create_graph)
        optimizer.step(**({"loss": loss} if isinstance(optimizer, optenv.ControlledOptimizer) else {}))
    return problem.weights()


def train_alone(name, problem):
    """Return the weights, or None where the optimizer does not train this model even alone."""
    try:
        weights = train(problem, make(name, problem), name in OF_THE_GRAPH)
    except Exception:  # noqa: BLE001 - whatever it raises, it is not for control to mend
        return None
    return weights if weights.isfinite().all() else None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in pytorch_optimizer.get_supported_optimizers() if n not in CANNOT_BE_MADE])
def test_every_optimizer_trains_under_control_as_it_does_alone_or_is_refused_at_construction(make_problem, name):
    torch.manual_seed(0)
    trains = train_alone(name, make_problem()) is not None
    for controller in CONTROLLERS:
        problem = make_problem()
        base = make(name, problem)
        if name in REFUSED:
            with pytest.raises((TypeError, ValueError), match=REFUSED[name]):
                controlled(base, agents.load(controller))
            continue
        optimizer = controlled(base, agents.load(controller))
        if trains:
            assert train(problem, optimizer, name in OF_THE_GRAPH).isfinite().all()


class NeedsClosure(optim.SGD):
    """Wants the loss of the present weights from a closure (as AliG does), and a step in proportion to it."""

    def step(self, closure=None):
        if closure is None:
            raise RuntimeError("a closure is needed")
        loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                p.data.sub_(group["lr"] * min(1.0, float(loss.detach())) * p.grad)
        return loss


class NeedsLoss(NeedsClosure):
    """Wants the loss as MoMo does."""

    def step(self, closure=None, loss=None):
        return super().step(closure or (lambda: loss.detach()))


class Sharpness(optim.SGD):
    """Wants the gradient of other weights, as SAM does."""

    def step(self, closure):
        kept = [[p.detach().clone() for p in group["params"]] for group in self.param_groups]
        for group in self.param_groups:
            for p in group["params"]:
                p.data.add_(0.05 * p.grad)
        closure()
        for group, old in zip(self.param_groups, kept, strict=True):
            for p, value in zip(group["params"], old, strict=True):
                p.data.copy_(value)
        super().step()


class Averaging(optim.SGD):
    """Calls its closure twice, and moves in between only at the end."""

    def step(self, closure):
        closure()
        closure()
        super().step()


class OneRate(optim.SGD):
    """Wants one rate for all groups, as Prodigy does."""

    def step(self, closure=None):
        if len({float(group["lr"]) for group in self.param_groups}) > 1:
            raise ValueError("one rate for all groups")
        return super().step(closure)


@pytest.mark.parametrize("cls", [NeedsClosure, NeedsLoss])
@pytest.mark.parametrize("form", ["tensor", "number", "closure", "observed", "paused"])
def test_a_base_that_wants_the_loss_is_handed_it(make_problem, fixed, cls, form):
    plain, steered = make_problem(), make_problem()
    alone = cls(plain.groups, lr=0.1)
    optimizer = controlled(cls(steered.groups, lr=0.1), fixed(0.0), neutral=form == "paused")
    for step in range(8):
        alone.zero_grad()
        own = plain.loss(step)
        own.backward()
        alone.step(lambda own=own: own)
        optimizer.zero_grad()
        loss = steered.loss(step)
        loss.backward()
        if form == "observed":
            optimizer.observe(loss)
        given = {
            "tensor": {"loss": loss},
            "number": {"loss": loss.item()},
            "closure": {"closure": lambda loss=loss: loss},
        }
        optimizer.step(**given.get(form, {} if form == "observed" else {"loss": loss}))
    torch.testing.assert_close(plain.weights(), steered.weights())


@pytest.mark.parametrize("cls", [NeedsClosure, NeedsLoss])
def test_without_the_loss_it_wants_a_base_takes_no_step(problem, fixed, cls):
    optimizer = controlled(cls(problem.groups, lr=0.1), fixed(0.0))
    problem.train(optimizer, 2)
    before = problem.weights()
    problem.loss(0).backward()
    optimizer.step(lambda: None)
    assert torch.equal(problem.weights(), before) and optimizer.step_count == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda problem: optim.LBFGS(problem.model.parameters()),
        lambda problem: Sharpness(problem.groups, lr=0.1),
        lambda problem: Averaging(problem.groups, lr=0.1),
        lambda problem: pytorch_optimizer.SAM(problem.groups, optim.SGD, lr=0.1),
        lambda problem: pytorch_optimizer.BSAM(problem.groups, num_data=8),
    ],
    ids=["LBFGS", "Sharpness", "Averaging", "SAM", "BSAM"],
)
def test_a_base_that_evaluates_the_model_itself_is_refused_at_construction(problem, make):
    before = problem.weights()
    with pytest.raises(TypeError, match="base: .* calls its closure several times a step and cannot be controlled"):
        controlled(make(problem), agents.load("ppo"))
    assert torch.equal(problem.weights(), before)


ONE_RATE = {
    "prodigy": lambda groups: prodigyopt.Prodigy(groups),
    "prodigy, decoupled": lambda groups: prodigyopt.Prodigy(groups, safeguard_warmup=True, use_bias_correction=True),
    "another": lambda groups: OneRate(groups, lr=0.05),
}


@pytest.mark.parametrize("make", ONE_RATE.values(), ids=ONE_RATE)
@pytest.mark.parametrize("controller", ["ppo", "recurrent_ppo", "opt2vec", "optbrain", "adaptive"])
def test_where_a_base_needs_one_rate_its_groups_share_the_mean_scale(problem, make, controller):
    optimizer = controlled(make(problem.groups), agents.load(controller))
    assert train(problem, optimizer).isfinite().all()
    assert all(len(set(decision["scale"])) == 1 for decision in optimizer.history)


@pytest.mark.parametrize("control", ["relative", "absolute"])
def test_the_shared_scale_is_the_geometric_mean_of_the_groups(problem, fixed, control):
    action = fixed(np.array([[0.1], [0.3]]), knobs=("scale",), control=control)
    optimizer = controlled(OneRate(problem.groups, lr=0.05), action)
    problem.train(optimizer, 1)
    alike = controlled(optim.SGD(problem.groups, lr=0.05), fixed(0.2, knobs=("scale",), control=control))
    problem.train(alike, 1)
    np.testing.assert_allclose(optimizer.knob_values["scale"], alike.knob_values["scale"])


def test_groups_added_to_a_base_that_needs_one_rate_share_it(problem, make_problem, fixed):
    optimizer = controlled(
        OneRate(problem.groups, lr=0.05),
        fixed(lambda n: np.sin(n + np.arange(2 + (n > 2)))[:, None], knobs=("scale",)),
        steps_per_action=1,
    )
    problem.train(optimizer, 2)
    other = make_problem()
    optimizer.add_param_group({"params": list(other.model.parameters())})
    for p in other.model.parameters():
        p.grad = torch.zeros_like(p)
    problem.train(optimizer, 3)
    assert len(set(optimizer.history[-1]["scale"])) == 1 and len(optimizer.history[-1]["scale"]) == 3


def test_finding_out_what_a_base_needs_touches_nothing(problem):
    base = prodigyopt.Prodigy(problem.groups)
    schedule = optim.lr_scheduler.ExponentialLR(base, 0.9)
    calls = []
    base.register_step_pre_hook(lambda *arguments: calls.append("own"))
    handle = register_optimizer_step_pre_hook(lambda *arguments: calls.append("global"))
    groups = [{k: v for k, v in group.items() if k != "params"} for group in base.param_groups]
    before, noise = problem.weights(), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert needs_of(base) == BaseNeeds(one_rate=True)
    handle.remove()
    assert calls == [] and len(base.state) == 0 and schedule.last_epoch == 0
    assert [{k: v for k, v in group.items() if k != "params"} for group in base.param_groups] == groups
    assert torch.equal(problem.weights(), before) and torch.equal(torch.get_rng_state(), noise)
    assert all(p.grad is None for p in problem.model.parameters())
