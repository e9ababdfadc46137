"""torch.distributed.checkpoint reads and writes the state of a controlled optimizer."""

import copy

import pytest
import torch
from torch import optim
from torch.distributed.checkpoint import state_dict as dcp

import agents
import optenv

OPTIONS = {
    "nested": None,
    "flat": dcp.StateDictOptions(flatten_optimizer_state_dict=True),
    "full": dcp.StateDictOptions(full_state_dict=True),
}
every = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
BASES = {"AdamW": lambda groups: optim.AdamW(groups, lr=0.01), "SGD": lambda groups: optim.SGD(groups, lr=0.01)}


def controlled(problem, make):
    return optenv.ControlledOptimizer(make(problem.groups), agents.load("ppo"), total_steps=60, steps_per_action=3)


@every
@pytest.mark.parametrize("make", BASES.values(), ids=BASES)
def test_a_state_can_be_asked_for_before_the_first_step_which_is_none(make_problem, make, options):
    one, two = make_problem(), make_problem()
    base = make(two.groups)
    dcp.get_optimizer_state_dict(two.model, base, options=options)  # which makes the base optimizer's state
    asked, other = controlled(one, make), controlled(two, lambda _: base)
    weights = one.weights()
    state = dcp.get_optimizer_state_dict(one.model, asked, options=options)
    plain = dcp.get_optimizer_state_dict(one.model, make(one.groups), options=options)
    assert state.keys() == plain.keys()
    assert asked.step_count == 0 and torch.equal(one.weights(), weights)
    one.train(asked, 6)
    two.train(other, 6)
    assert asked.step_count == 6
    assert [decision["scale"] for decision in asked.history] == [decision["scale"] for decision in other.history]


@every
def test_what_was_asked_for_and_put_back_leaves_the_run_where_it_is_and_says_what_is_missing(problem, options):
    steering = controlled(problem, BASES["AdamW"])
    problem.train(steering, 50)
    state = dcp.get_optimizer_state_dict(problem.model, steering, options=options)
    with pytest.warns(UserWarning, match="checkpoint hands on the state of the base .* goes on from its step 50"):
        dcp.set_optimizer_state_dict(problem.model, steering, state, options=options)
    assert steering.step_count == 50
    assert {own["step"].item() for own in steering.state.values()} == {50.0}
    problem.train(steering, 5)
    assert steering.step_count == 55


@every
def test_a_model_and_its_optimizer_are_saved_together(make_problem, options):
    one, two = make_problem(), make_problem()
    steering, fresh = controlled(one, BASES["AdamW"]), controlled(two, BASES["AdamW"])
    one.train(steering, 7)
    model, state = copy.deepcopy(dcp.get_state_dict(one.model, steering, options=options))
    control = steering.state_dict()["control"]
    with pytest.warns(UserWarning, match="goes on from its step 0"):
        dcp.set_state_dict(two.model, fresh, model_state_dict=model, optim_state_dict=state, options=options)
    fresh.load_state_dict({**fresh.state_dict(), "control": control})
    one.train(steering, 7)
    two.train(fresh, 7)
    assert torch.equal(one.weights(), two.weights())
