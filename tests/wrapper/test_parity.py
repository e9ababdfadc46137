"""One loop, two hosts: the environment and the controlled optimizer train the same model in the same way."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import optenv
from optenv.control.controller import Controller, Interface
from optenv.control.guard import Guard
from optenv.control.knobs import KNOBS
from optenv.env import OptControlVectorEnv
from optenv.inner.randomness import minibatch_indices
from optenv.tasks import Data, Task

TOTAL, EVERY, RATE = 60, 3, 0.02


def draw_data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=generator)
    y = (x @ torch.randn(5, 3, generator=generator)).argmax(1)
    return Data((x[:150], y[:150]), (x[150:], y[150:]))


DATA = draw_data()


class Perceptron(Task):
    """The task whose parameters are those of `make_model`."""

    name, batch_size = "perceptron", 16

    def init(self, generator):
        shapes = {"0.weight": (8, 5), "0.bias": (8,), "2.weight": (3, 8), "2.bias": (3,)}
        return {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    def draw(self, generator):
        return DATA

    def loss(self, params, batch):
        hidden = F.linear(batch[0], params["0.weight"], params["0.bias"]).tanh()
        return F.cross_entropy(F.linear(hidden, params["2.weight"], params["2.bias"]), batch[1])


class RandomController(Controller):
    """Acts at random, the same in every host, and remembers what it saw and did."""

    def __init__(self, interface):
        self.interface = interface

    def reset(self, num_runs, num_groups):
        self.observations, self.actions, self._rng = [], [], np.random.default_rng(0)

    def act(self, observation):
        # Below: the direction of an update that rounding nearly swallows is rounding too.
        action = self._rng.uniform(-0.4, 0.4, (*observation.shape[:2], len(self.interface.knobs)))
        self.observations.append(observation.copy())
        self.actions.append(action)
        return action


def run_environment(interface, optimizer, options, trainer, guard=False):
    settings = {"knobs": interface.knobs, "control": interface.control, "first_update": interface.first_update}
    budget = {"num_inner_steps": TOTAL, "steps_per_action": EVERY, "lr": RATE}
    env = OptControlVectorEnv(1, task=Perceptron(), trainer=trainer, optimizer=optimizer, optimizer_options=options,
                              autoreset_mode="Disabled", **settings, **budget)  # fmt: skip
    env.reset(seed=0)
    seed, controller = env._episodes.seed.copy(), RandomController(interface)
    steers = Guard(controller) if guard else controller
    steers.reset(1, env.max_groups)
    terminated = [False]
    while not terminated[0]:
        _, _, terminated, _, _ = env.step(steers.act(env.group_observation()).reshape(1, -1))
    return controller, env, seed


def run_wrapper(interface, base_class, options, seed, guard=False):
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    env = OptControlVectorEnv(1, task=Perceptron(), lr=RATE)
    env.reset(seed=0)
    nn.utils.vector_to_parameters(next(iter(env._runs._states.values()))[1].params[0].clone(), model.parameters())
    controller = RandomController(interface)
    base = base_class(optenv.layer_groups(model), lr=RATE, **options)
    optimizer = optenv.ControlledOptimizer(base, controller, total_steps=TOTAL, steps_per_action=EVERY, guard=guard)
    for step in range(TOTAL):
        rows = minibatch_indices(seed, np.array([step]), 1, Perceptron.batch_size, 150)[0, 0]
        loss = F.cross_entropy(model(DATA.train[0][rows]), DATA.train[1][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(loss=loss)
    return controller, nn.utils.parameters_to_vector(model.parameters()).detach()


CONTROLS = {
    "absolute": {"control": "absolute"},
    "relative": {"control": "relative"},
    "relative from a first update": {"control": "relative", "first_update": 0.01},
}
KNOB_SETS = [("scale",), ("scale", "clip", "dampen"), tuple(KNOBS)]
OPTIMIZERS = [
    ("sgd", {}, torch.optim.SGD, {}),
    ("sgd", {"momentum": 0.9, "nesterov": 1.0}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ("adam", {"weight_decay": 0.1}, torch.optim.Adam, {"weight_decay": 0.1}),
    ("adamw", {}, torch.optim.AdamW, {}),
    ("adamw", {"beta1": 0.8}, torch.optim.AdamW, {"betas": (0.8, 0.999), "fused": True}),
    ("rmsprop", {}, torch.optim.RMSprop, {}),
    ("adagrad", {}, torch.optim.Adagrad, {}),
]


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("knobs", KNOB_SETS, ids=lambda knobs: "+".join(knobs))
@pytest.mark.parametrize(
    ("name", "options", "base_class", "torch_options"), OPTIMIZERS, ids=[f"{o[0]}-{o[3]}" for o in OPTIMIZERS]
)
def test_a_controller_cannot_tell_which_host_it_is_in(control, knobs, name, options, base_class, torch_options):
    interface = Interface(knobs=knobs, **CONTROLS[control])
    inside, env, seed = run_environment(interface, name, options, "batched")
    outside, parameters = run_wrapper(interface, base_class, torch_options, seed)
    assert len(inside.observations) == len(outside.observations) == TOTAL // EVERY
    np.testing.assert_array_equal(inside.actions, outside.actions)
    # Sixty steps of float32, summed in another order; what is remembered rounds to the one side or the other.
    np.testing.assert_allclose(inside.observations, outside.observations, atol=1e-4)
    torch.testing.assert_close(next(iter(env._runs._states.values()))[1].params[0], parameters, rtol=1e-5, atol=1e-5)


def test_with_the_torch_trainer_the_two_hosts_agree_bit_for_bit():
    interface = Interface(knobs=tuple(KNOBS), control="relative")
    inside, env, seed = run_environment(interface, "adamw", {}, "torch")
    outside, parameters = run_wrapper(interface, torch.optim.AdamW, {}, seed)
    np.testing.assert_array_equal(inside.observations, outside.observations)
    own = torch.cat([p.detach().reshape(-1) for p in env._runs._rows[0].params.values()])
    assert torch.equal(own, parameters)


@pytest.mark.parametrize("control", ["absolute", "relative"])
def test_a_guarded_controller_cannot_tell_either(control):
    interface = Interface(knobs=tuple(KNOBS), control=control)
    inside, env, seed = run_environment(interface, "adamw", {}, "torch", guard=True)
    outside, parameters = run_wrapper(interface, torch.optim.AdamW, {}, seed, guard=True)
    unguarded, _ = run_wrapper(interface, torch.optim.AdamW, {}, seed)
    np.testing.assert_array_equal(inside.observations, outside.observations)
    # Only under absolute control does this one jump about enough to be faded.
    assert np.array_equal(outside.observations, unguarded.observations) == (control == "relative")
