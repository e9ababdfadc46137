"""What the guard goes back to: all that an optimizer changes as it steps, wherever it keeps it."""

import copy
import math
import warnings

import pytest
import pytorch_optimizer
import torch
from torch import nn, optim
from torch.optim.lr_scheduler import StepLR

import agents
import optenv
from optenv.wrapper.best_weights import BestWeights


class Scattered(optim.Optimizer):
    """Keeps state in every place there is."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr, "pace": 0})
        self.count, self.slow, self.inner = 0, [], optim.Adam([nn.Parameter(torch.ones(2))])
        self.state["all"] = {"sums": [torch.zeros(1)], "pair": (torch.zeros(1), {"n": 0})}

    @torch.no_grad()
    def step(self, closure=None):
        self.count += 1
        self.slow.append(self.count)
        everywhere = self.state["all"]
        everywhere["sums"][0] += 1
        everywhere["pair"][0].add_(1)
        everywhere["pair"][1]["n"] += 1
        self.inner.param_groups[0]["params"][0].grad = torch.ones(2)
        self.inner.step()
        for group in self.param_groups:
            group["pace"] += 1
            group["seen"] = torch.full((), float(group["pace"]))
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad)


BASES = {
    "SOAP": pytorch_optimizer.SOAP,
    "Prodigy": pytorch_optimizer.Prodigy,
    "ScheduleFreeAdamW": pytorch_optimizer.ScheduleFreeAdamW,
    "Lookahead": lambda groups: pytorch_optimizer.Lookahead(optim.Adam(groups, lr=0.01), k=2),
    "ADOPT": pytorch_optimizer.ADOPT,
    "Adan": pytorch_optimizer.Adan,
    "Muon": lambda groups: pytorch_optimizer.Muon([g | {"use_muon": True} for g in groups]),
    "Adam": optim.Adam,
    "everywhere": Scattered,
}


def state_of(base):
    """Return all that belongs to an optimizer, copied."""
    own = {k: v for k, v in vars(base).items() if not k.startswith("_") and k != "step" and not callable(v)}
    inner = {k: state_of(v) for k, v in own.items() if isinstance(v, optim.Optimizer)}
    places = {p: i for i, p in enumerate(p for group in base.param_groups for p in group["params"])}
    state = {places.get(k, k): v for k, v in base.state.items()}
    left = {k: v for k, v in own.items() if k not in inner and k not in ("state", "param_groups", "defaults")}
    return copy.deepcopy([state, base.param_groups, inner, left])


def same(a, b):
    if isinstance(a, dict):
        return list(map(str, a)) == list(map(str, b)) and all(map(same, a.values(), b.values()))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("make", BASES.values(), ids=BASES)
@pytest.mark.parametrize("before", [0, 3])
def test_a_snapshot_brings_back_the_whole_state_bit_for_bit(problem, make, before):
    base = make(problem.groups)
    if hasattr(base, "train"):
        base.train()
    problem.train(base, before)
    snapshot, state, weights = BestWeights(base), state_of(base), problem.weights()
    snapshot.keep()
    for _ in range(2):
        problem.train(base, 2)
        problem.loss(0).backward()
        problem.model[0].weight.grad.fill_(math.nan)
        base.step()
        assert snapshot.restore()
        assert torch.equal(problem.weights(), weights) and same(state_of(base), state)
    problem.train(base, 2)
    assert problem.weights().isfinite().all()


def test_a_snapshot_leaves_what_schedules_and_users_have_moved(problem):
    base = Scattered(problem.groups)
    problem.train(base, 1)
    snapshot = BestWeights(base)
    snapshot.keep()
    schedule = StepLR(base, 1, gamma=0.5)
    problem.train(base, 1, schedule)
    assert snapshot.restore()
    assert [group["lr"] for group in base.param_groups] == [0.05, 0.05]
    assert all(group["initial_lr"] == 0.1 and group["pace"] == 1 for group in base.param_groups)


def test_a_snapshot_goes_into_the_memory_of_the_last(problem):
    base = optim.Adam(problem.groups)
    problem.train(base, 1)
    snapshot = BestWeights(base)
    pointers = []
    for _ in range(2):
        snapshot.keep()
        pointers.append([content.data_ptr() for _, content in snapshot._kept if isinstance(content, torch.Tensor)])
        problem.train(base, 1)
    assert pointers[0] == pointers[1]


@pytest.mark.parametrize("make", BASES.values(), ids=BASES)
def test_after_one_step_to_weights_that_are_not_finite_a_run_with_rollback_goes_on(problem, make):
    base = make(problem.groups)
    if hasattr(base, "train"):
        base.train()
    steering = optenv.ControlledOptimizer(
        base, agents.load("constant"), steps_per_action=2, total_steps=60, rollback=True
    )
    for step in range(30):
        steering.zero_grad()
        loss = problem.loss(step)
        loss.backward()
        if step == 10:
            with torch.no_grad():
                problem.model[0].weight.mul_(math.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steering.step(loss=loss)
    assert problem.weights().isfinite().all() and problem.loss(0).isfinite()


@pytest.mark.parametrize("with_state", [True, False])
def test_a_parameter_that_was_taken_away_since_is_left_alone(with_state):
    stays, leaves = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    base = optim.SGD([{"params": [p]} for p in (stays, leaves)], lr=0.1)
    best = BestWeights(base, with_state=with_state)
    best.keep()
    with torch.no_grad():
        stays.fill_(1.0)
        leaves.fill_(2.0)
    del base.param_groups[1]
    assert best.restore()
    assert stays.tolist() == [0.0, 0.0] and leaves.tolist() == [2.0, 2.0]
