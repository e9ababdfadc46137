"""One loop, two hosts: the environment and the controlled optimizer train the same model in the same way."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import agents
import optenv
from optenv.control.controller import Controller, Interface
from optenv.control.guard import Guard
from optenv.control.knobs import KNOBS
from optenv.env import OptControlVectorEnv
from optenv.env.torch_trainer import TorchRuns, torch_optimizer
from optenv.inner.architecture_batches import ArchitectureBatches
from optenv.inner.randomness import generator, minibatch_indices
from optenv.inner.rollout import rollout
from optenv.inner.trainer import make_trainer
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

    optional_knobs = tuple(KNOBS)

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


def run_environment(interface, optimizer, options, trainer):
    names = ("knobs", "control", "first_update", "first_update_norm")
    settings = {name: getattr(interface, name) for name in names}
    budget = {"num_inner_steps": TOTAL, "steps_per_action": EVERY, "lr": RATE}
    env = OptControlVectorEnv(
        1,
        task=Perceptron(),
        trainer=trainer,
        optimizer=optimizer,
        optimizer_options=options,
        autoreset_mode="Disabled",
        **settings,
        **budget,
    )
    env.reset(seed=0)
    seed, controller = env._episodes.seed.copy(), RandomController(interface)
    controller.reset(1, env.max_groups)
    terminated = [False]
    while not terminated[0]:
        _, _, terminated, _, _ = env.step(controller.act(env.group_observation()).reshape(1, -1))
    return controller, env, seed


def run_wrapper(interface, base_class, options, seed):
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    env = OptControlVectorEnv(1, task=Perceptron(), lr=RATE)
    env.reset(seed=0)
    nn.utils.vector_to_parameters(next(iter(env._runs.states.values()))[1].params[0].clone(), model.parameters())
    controller = RandomController(interface)
    base = base_class(optenv.layer_groups(model), lr=RATE, **options)
    optimizer = optenv.ControlledOptimizer(base, controller, total_steps=TOTAL, steps_per_action=EVERY, guard=False)
    train_outside(optimizer, model, seed)
    return controller, nn.utils.parameters_to_vector(model.parameters()).detach()


def train_outside(optimizer, model, seed):
    for step in range(TOTAL):
        rows = minibatch_indices(seed, np.array([step]), 1, Perceptron.batch_size, 150)[0, 0]
        loss = F.cross_entropy(model(DATA.train[0][rows]), DATA.train[1][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(loss=loss)


CONTROLS = {
    "absolute": {"control": "absolute"},
    "relative": {"control": "relative"},
    "relative from a first update": {"control": "relative", "first_update": 0.01},
    "relative from a first norm": {"control": "relative", "first_update_norm": 0.05},
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
def test_a_controller_cannot_tell_which_host_it_is_in(
    movable_knobs, control, knobs, name, options, base_class, torch_options
):
    interface = Interface(knobs=tuple(knob for knob in knobs if knob in movable_knobs(name)), **CONTROLS[control])
    inside, env, seed = run_environment(interface, name, options, "batched")
    outside, parameters = run_wrapper(interface, base_class, torch_options, seed)
    assert len(inside.observations) == len(outside.observations) == TOTAL // EVERY
    np.testing.assert_array_equal(inside.actions, outside.actions)
    # Sixty steps of float32, summed in another order; what is remembered rounds to the one side or the other.
    np.testing.assert_allclose(inside.observations, outside.observations, atol=1e-4)
    torch.testing.assert_close(next(iter(env._runs.states.values()))[1].params[0], parameters, rtol=1e-5, atol=1e-5)


def test_with_the_torch_trainer_the_two_hosts_agree_bit_for_bit():
    interface = Interface(knobs=tuple(KNOBS), control="relative")
    inside, env, seed = run_environment(interface, "adamw", {}, "torch")
    outside, parameters = run_wrapper(interface, torch.optim.AdamW, {}, seed)
    np.testing.assert_array_equal(inside.observations, outside.observations)
    own = torch.cat([p.detach().reshape(-1) for p in env._runs._rows[0].params.values()])
    assert torch.equal(own, parameters)


class Returning(RandomController):
    """Has the weights kept before its third decision, and returns to them before its sixth and eighth."""

    def act(self, observation):
        action = super().act(observation)
        decision = np.full(len(observation), len(self.actions))
        self.keep_weights, self.restore_weights = decision == 3, (decision == 6) | (decision == 8)
        return action


@pytest.mark.parametrize(
    ("name", "options", "base_class", "torch_options"), OPTIMIZERS, ids=[f"{o[0]}-{o[3]}" for o in OPTIMIZERS]
)
def test_a_return_to_weights_that_were_kept_is_the_same_in_every_host(name, options, base_class, torch_options):
    interface = Interface(knobs=("scale", "clip"), control="relative", first_update_norm=0.05, decisions=TOTAL // EVERY)
    seed, rate = np.array([5], np.uint64), np.array([RATE])
    inside, outside, alone = (Returning(interface) for _ in range(3))
    batched = ArchitectureBatches([make_trainer(Perceptron(), name, **options)])
    *_, last = rollout(batched, inside, seed, rate, TOTAL, guard=False)
    single = TorchRuns(Perceptron(), torch_optimizer(name, options))
    list(rollout(single, alone, seed, rate, TOTAL, guard=False))

    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    model.load_state_dict(Perceptron().init(generator(5, 0)))
    base = base_class(optenv.layer_groups(model), lr=RATE, **torch_options)
    optimizer = optenv.ControlledOptimizer(base, outside, total_steps=TOTAL, steps_per_action=EVERY, guard=False)
    train_outside(optimizer, model, seed)
    np.testing.assert_allclose(inside.observations, outside.observations, atol=1e-4)  # as above
    np.testing.assert_allclose(alone.observations, outside.observations, atol=1e-4)
    weights = nn.utils.parameters_to_vector(model.parameters()).detach()
    torch.testing.assert_close(batched.states[0][1].params[0], weights, rtol=1e-5, atol=1e-5)
    assert last.last == TOTAL


class Deployed(Guard):
    """A guard that remembers every action that it lets through, and how far it trusted the controller."""

    def reset(self, num_runs, num_groups):
        super().reset(num_runs, num_groups)
        self.actions, self.trusted = [], []

    def act(self, observation):
        self.actions.append(super().act(observation))
        self.trusted.append(self.confidence()[0])
        return self.actions[-1]


GUARDED = {
    **{
        f"random {name}": lambda name=name: RandomController(
            Interface(knobs=tuple(KNOBS), decisions=TOTAL // EVERY, **CONTROLS[name])
        )
        for name in CONTROLS
    },
    **{
        name: lambda name=name: agents.load(name)
        for name in ("ppo", "recurrent_ppo", "adaptive", "optbrain", "cosine", "auto")
    },
}


@pytest.mark.parametrize("rate", [RATE, 30.0], ids=["calm", "wild"])
@pytest.mark.parametrize("name", GUARDED)
def test_a_guarded_rollout_is_the_guarded_optimizer_action_for_action_and_weight_for_weight(name, rate):
    inside, outside, seed = Deployed(GUARDED[name]()), Deployed(GUARDED[name]()), np.array([5], np.uint64)
    runs = TorchRuns(Perceptron(), torch_optimizer("adamw"))
    *_, last = rollout(runs, inside, seed, np.array([rate]), TOTAL, reveal_validation=False)
    own = torch.cat([p.detach().reshape(-1) for p in runs._rows[0].params.values()])

    params = Perceptron().init(generator(5, 0))
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    model.load_state_dict(params)
    base = torch.optim.AdamW(optenv.layer_groups(model), lr=rate)
    optimizer = optenv.ControlledOptimizer(base, outside, total_steps=TOTAL)
    train_outside(optimizer, model, seed)
    np.testing.assert_array_equal(inside.actions, outside.actions)
    assert torch.equal(own, nn.utils.parameters_to_vector(model.parameters()).detach())
    assert last.last == TOTAL and len(inside.actions) == len(inside.trusted) > 10


def test_the_guard_does_act_in_what_is_held_against_each_other():
    inside = Deployed(GUARDED["random absolute"]())
    list(rollout(TorchRuns(Perceptron(), torch_optimizer("adamw")), inside, np.array([5]), np.array([RATE]), TOTAL))
    assert min(inside.trusted) < 1.0
