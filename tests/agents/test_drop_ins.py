"""Drop-in optimizers decide as their controllers do in the simulation: the same weights, minibatches and cadence."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import agents
import optenv
from agents import AdaptiveOptimizer, GlobalAdaptiveSGD, LightweightOpt2VecOptimizer, OptBrain
from agents.rules.adaptive.controller import AdaptiveController
from optenv.control.knobs import KNOBS
from optenv.env.torch_trainer import TorchRuns, torch_optimizer
from optenv.inner.architecture_batches import ArchitectureBatches
from optenv.inner.randomness import minibatch_indices
from optenv.inner.rollout import rollout
from optenv.inner.trainer import make_trainer
from tests.wrapper.test_parity import DATA, Perceptron

TOTAL, SEED = 200, np.array([3], np.uint64)
RULES = {"lr_rule": "trend+variance", "betas_rule": ("relative", "variance"), "wd_rule": "trend"}
# By name: the base optimizer, its rate, its other options in the simulation, the controller, and the drop-in.
DROP_INS = {
    "optbrain": ("adam", 0.02, {}, lambda: agents.make("optbrain"),
                 lambda groups, lr: OptBrain(torch.optim.Adam(groups, lr=lr), total_steps=TOTAL)),
    "adaptive": ("adamw", 0.02, {"weight_decay": 0.01}, lambda: AdaptiveController(**RULES),
                 lambda groups, lr: AdaptiveOptimizer(torch.optim.AdamW(groups, lr=lr, weight_decay=0.01), **RULES,
                                                      total_steps=TOTAL, steps_per_action=TOTAL // 40)),
    "garo": ("sgd", 0.01, {"weight_decay": 1e-4}, lambda: agents.load("garo"),
             lambda groups, lr: GlobalAdaptiveSGD(groups, lr=lr, total_steps=TOTAL)),
    "opt2vec": ("adamw", 0.01, {"weight_decay": 0.0}, lambda: agents.load("opt2vec"),
                lambda groups, lr: LightweightOpt2VecOptimizer(groups, lr, pretrained="opt2vec", fused=False,
                                                               total_steps=TOTAL)),
}  # fmt: skip


def simulated(name):
    """Values of every knob at every control step, [control steps, G] each."""
    optimizer, rate, options, make, _ = DROP_INS[name]
    runs = TorchRuns(Perceptron(), torch_optimizer(optimizer, options))
    steps = list(rollout(runs, make(), SEED, np.array([rate]), TOTAL, reveal_validation=False))
    return {knob: np.stack([step.values[knob][0] for step in steps]) for knob in steps[0].values}


def fresh_model():
    runs = ArchitectureBatches([make_trainer(Perceptron(), "sgd")])
    runs.start(np.arange(1), np.zeros(1, int), SEED)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    nn.utils.vector_to_parameters(runs.states[0][1].params[0].clone(), model.parameters())
    return model


def backward(model, step):
    rows = minibatch_indices(SEED, np.array([step]), 1, Perceptron.batch_size, 150)[0, 0]
    loss = F.cross_entropy(model(DATA.train[0][rows]), DATA.train[1][rows])
    model.zero_grad()
    loss.backward()
    return loss


def deployed(name):
    """The same of a drop-in."""
    _, rate, _, _, make = DROP_INS[name]
    model = fresh_model()
    optimizer, seen = make(optenv.layer_groups(model), rate), []
    for step in range(TOTAL):
        loss = backward(model, step)
        optimizer.step(loss=loss)
        if step % optimizer.steps_per_action == 0:
            seen.append(optimizer.knob_values)
    return {knob: np.stack([values[knob] for values in seen]) for knob in seen[0]}


@pytest.mark.parametrize("name", DROP_INS)
def test_a_drop_in_decides_as_its_controller_does_in_the_guarded_simulation(name):
    inside, outside = simulated(name), deployed(name)
    assert list(inside) == list(outside)
    for knob, values in inside.items():
        np.testing.assert_array_equal(values, outside[knob])
    assert any((values != KNOBS[knob].neutral).any() for knob, values in inside.items())


@pytest.mark.parametrize("name", DROP_INS)
@pytest.mark.parametrize("how", ["copy", "pickle", "state_dict"])
def test_a_drop_in_copied_or_restored_goes_on_bit_for_bit(name, how):
    _, rate, _, _, make = DROP_INS[name]
    model = fresh_model()
    optimizer = make(optenv.layer_groups(model), rate)
    for step in range(57):
        optimizer.step(loss=backward(model, step))
    if how == "state_dict":
        other_model = copy.deepcopy(model)
        other = make(optenv.layer_groups(other_model), rate)
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    else:
        both = (model, optimizer)
        other_model, other = copy.deepcopy(both) if how == "copy" else pickle.loads(pickle.dumps(both))
    for step in range(57, 100):
        optimizer.step(loss=backward(model, step))
        other.step(loss=backward(other_model, step))
    weights, others = (nn.utils.parameters_to_vector(m.parameters()) for m in (model, other_model))
    assert torch.equal(weights, others)


def test_in_numpy_alone_the_brain_decides_as_around_descent():
    model = fresh_model()
    optimizer = OptBrain(torch.optim.SGD(optenv.layer_groups(model), lr=0.003))
    brain, seen = OptBrain(None, n_groups=2), []
    for step in range(300):
        loss = backward(model, step)
        made = brain.get_decisions(loss=loss.item())
        for group, held in enumerate(optimizer.param_groups):
            brain.record_grads(group, np.concatenate([p.grad.numpy().ravel() for p in held["params"]]))
        brain.finish_step()
        optimizer.step(loss=loss)
        seen.append((made, optimizer.get_brain_state()["decisions"]))
    inside, outside = (np.array([list(both[i].values()) for both in seen]) for i in (0, 1))
    # The displacement of float32 weights is known to a few digits; steps as small as these the bound leaves alone.
    np.testing.assert_allclose(inside, outside, rtol=2e-3)
    assert outside[-1, 0, 0] > 1.5
