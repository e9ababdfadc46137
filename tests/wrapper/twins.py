"""A controlled training and its twin: the plain base optimizer, given what was in force at every step."""

import copy
import io
import pickle
import warnings

import numpy as np
import prodigyopt
import pytorch_optimizer
import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.optim import lr_scheduler

import agents
import optenv
from optenv.control.controller import Controller, Interface
from optenv.control.knobs import KNOBS

RATE = 0.02
BASES = {
    "SGD": lambda groups: optim.SGD(groups, lr=RATE, weight_decay=0.01),
    "SGD, Nesterov": lambda groups: optim.SGD(groups, lr=RATE, momentum=0.9, nesterov=True),
    "Adam": lambda groups: optim.Adam(groups, lr=RATE, amsgrad=True),
    "AdamW, foreach": lambda groups: optim.AdamW(groups, lr=RATE, foreach=True),
    "AdamW, fused": lambda groups: optim.AdamW(groups, lr=RATE, fused=True),
    "AdamW, tensor rate": lambda groups: optim.AdamW(groups, lr=torch.tensor(RATE)),
    "RMSprop": lambda groups: optim.RMSprop(groups, lr=RATE, momentum=0.9, centered=True),
    "Adagrad": lambda groups: optim.Adagrad(groups, lr=RATE),
    "NAdam": lambda groups: optim.NAdam(groups, lr=RATE),
    "RAdam": lambda groups: optim.RAdam(groups, lr=RATE),
    "Lion": lambda groups: pytorch_optimizer.Lion(groups, lr=RATE, weight_decay=0.1),
    "Adan": lambda groups: pytorch_optimizer.Adan(groups, lr=RATE),
    "ADOPT": lambda groups: pytorch_optimizer.ADOPT(groups, lr=RATE),
    "LARS": lambda groups: pytorch_optimizer.LARS(groups, lr=RATE),
    "Lamb": lambda groups: pytorch_optimizer.Lamb(groups, lr=RATE),
    "SOAP": lambda groups: pytorch_optimizer.SOAP(groups, lr=RATE),
    "Prodigy": lambda groups: pytorch_optimizer.Prodigy(groups),
    "Prodigy, one rate": lambda groups: prodigyopt.Prodigy(groups),
}
ONE_RATE_FOR_ALL_GROUPS = ("Prodigy, one rate",)  # and the same groups throughout


def inverse(step):
    return 1 / (1 + step)


SCHEDULES = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3, gamma=0.5),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 20),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, inverse),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 1e-3, total_iters=10),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(
        o, 3 * RATE, total_steps=200, cycle_momentum="betas" in o.defaults or bool(o.defaults.get("momentum"))
    ),
}


class Restless(Controller):
    """Turn every knob at random, as a function of the number of the decision alone."""

    optional_knobs = tuple(KNOBS)

    def __init__(self, control):
        self.interface, self._count = Interface(knobs=tuple(KNOBS), control=control), 0

    def reset(self, num_runs, num_groups):
        self._count = 0

    def regroup(self, sources):
        pass

    def act(self, observation):
        self._count += 1
        shape = (*observation.shape[:2], len(self.interface.knobs))
        return np.random.default_rng(self._count).uniform(-0.5, 0.5, shape)

    def state_dict(self):
        return {"count": self._count}

    def load_state_dict(self, state):
        self._count = state["count"]


CONTROLLERS = {
    **{name: (lambda name=name: agents.load(name)) for name in agents.names() if name != "best_static"},
    "every knob, absolute": lambda: Restless("absolute"),
    "every knob, relative": lambda: Restless("relative"),
}

# What each knob may change for a step.
TURNED = {
    "scale": {"lr"},
    "dampen": {"lr"},
    "clip": set(),
    "momentum": {"betas", "momentum"},
    "beta2": {"betas", "alpha"},
    "second_moment": {"betas", "alpha"},
    "weight_decay": {"weight_decay"},
}


class Model(nn.Module):
    """A sum of small layers, so that any of them may come, go or freeze."""

    def __init__(self, num_layers):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 2) for _ in range(num_layers))
        for layer in self.layers:
            fill(layer.parameters(), 0)

    def forward(self, x):
        return sum(torch.tanh(layer(x)) for layer in self.layers)

    def loss(self, batch):
        generator = torch.Generator().manual_seed(batch)
        x, y = (torch.randn(5, width, generator=generator) for width in (3, 2))
        return F.mse_loss(self(x), y)


@torch.no_grad()
def fill(params, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.copy_(torch.randn(p.shape, generator=generator))


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


class Training:
    """A model, the optimizer that trains it, and at most one schedule of its rates."""

    def __init__(self, num_layers, make_optimizer, one_rate=False):
        """Train every layer as a group of its own, the first at half the rate of the others unless `one_rate`."""
        self._make_optimizer = make_optimizer
        self.model = Model(num_layers)
        self.optimizer = make_optimizer([{"params": list(layer.parameters())} for layer in self.model.layers])
        if not one_rate:
            self.optimizer.param_groups[0]["lr"] = 0.5 * self.optimizer.param_groups[0]["lr"]
        self.schedule, self._schedule_name, self._of_base = None, None, False

    @property
    def groups(self):
        return self.optimizer.param_groups

    @property
    def base(self):
        return getattr(self.optimizer, "base", self.optimizer)

    def parameters(self):
        return [p for group in self.groups for p in group["params"]]

    # Changes of what is trained, and how fast

    def attach(self, name, of_base):
        target = self.base if of_base else self.optimizer
        self.schedule, self._schedule_name, self._of_base = SCHEDULES[name](target), name, of_base

    def add_layer(self, options):
        layer = nn.Linear(3, 2)
        fill(layer.parameters(), len(self.model.layers))
        self.model.layers.append(layer)
        self.optimizer.add_param_group({"params": list(layer.parameters()), **options})
        self.schedule = None  # which knows the groups of before

    def remove_group(self, index):
        for p in self.groups[index]["params"]:
            self.optimizer.state.pop(p, None)  # torch cannot save the state of parameters that no group holds
        del self.optimizer.param_groups[index]
        self.schedule = None

    def replace_parameter(self, group, place):
        old = self.groups[group]["params"][place]
        new = nn.Parameter(0.5 * old.detach())
        for layer in self.model.layers:
            for name, p in layer.named_parameters():
                if p is old:
                    setattr(layer, name, new)
                    break
        self.groups[group]["params"][place] = new
        self.optimizer.state.pop(old, None)

    def freeze(self, index, place, frozen):
        p = self.groups[index]["params"][place]
        p.requires_grad_(not frozen)
        p.grad = None

    # Copies

    def can_be_copied(self):
        """Say whether the base is whole after a deep copy: torch's optimizers drop what a subclass adds to them."""
        lost = vars(self.base).keys() - vars(copy.deepcopy(self.base)).keys()
        return all(name == "step" or name.startswith("_") for name in lost)

    def reload(self):
        self.optimizer.load_state_dict(through_a_file(self.optimizer.state_dict()))

    def deep_copy(self):
        return self._with(*copy.deepcopy((self.model, self.optimizer, self.schedule)))

    def through_pickle(self):
        return self._with(*pickle.loads(pickle.dumps((self.model, self.optimizer, self.schedule))))

    def through_checkpoint(self):
        model = copy.deepcopy(self.model)
        place = {id(p): i for i, p in enumerate(self.model.parameters())}
        params = list(model.parameters())
        groups = [{"params": [params[place[id(p)]] for p in group["params"]]} for group in self.groups]
        other = self._with(model, self._make_optimizer(groups), None)
        if self.schedule is not None:
            other.attach(self._schedule_name, self._of_base)
            other.schedule.load_state_dict(self.schedule.state_dict())
        other.optimizer.load_state_dict(through_a_file(self.optimizer.state_dict()))
        return other

    def _with(self, model, optimizer, schedule):
        other = copy.copy(self)
        other.model, other.optimizer, other.schedule = model, optimizer, schedule
        return other

    # Readings

    def hyperparameters(self):
        return [{k: copied(v) for k, v in group.items() if k != "params"} for group in self.groups]

    def whole_state(self):
        """Everything of the run, the control included."""
        return copied([self.model.state_dict(), self.optimizer.state_dict()])

    def trained(self):
        """Weights and, in the order of the groups, state of the base optimizer."""
        state = [self.base.state.get(p, {}) for p in self.parameters()]
        return [p.detach() for p in self.model.parameters()], state


def copied(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}
    return type(value)(map(copied, value)) if isinstance(value, (list, tuple)) else value


def same(a, b):
    """Say whether two nested states are the same, bit for bit but for the sign of NaN."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
    return type(a) is type(b) and (a == b or a != a)


class Witness:
    """Records what the base of a controlled optimizer steps with, and what it leaves."""

    def __init__(self, training):
        """Watch from now on; hooks are no part of copies."""
        self._training, self.records = training, []
        training.base.register_step_pre_hook(self._before)
        training.base.register_step_post_hook(self._after)

    def _before(self, base, args, kwargs):
        gradients = [copied(p.grad) for p in self._training.parameters()]
        self.records.append({"groups": self._training.hyperparameters(), "gradients": gradients})

    def _after(self, base, args, kwargs):
        self.records[-1]["state"] = [copied(base.state.get(p, {})) for p in self._training.parameters()]

    def drain(self):
        records, self.records = self.records, []
        return records


def follow(plain, record, names):
    """Take the step that was recorded, with the hyperparameters `names` as they were then, and no others."""
    own = [{k: group[k] for k in names if k in group} for group in plain.groups]
    for group, then in zip(plain.groups, record["groups"], strict=True):
        group.update({k: copied(then[k]) for k in names if k in group})
    for p, gradient in zip(plain.parameters(), record["gradients"], strict=True):
        p.grad = copied(gradient)
    plain.optimizer.step()
    for group, before in zip(plain.groups, own, strict=True):
        group.update(before)


def factor_between(before, after):
    """Return the one factor by which a tensor was multiplied in place, exactly.

    Raises:
      AssertionError: if there is none.
    """
    if same(before, after):
        return 1.0
    place = before.abs().flatten().argmax()
    factor = after.flatten()[place] / before.flatten()[place]
    for way in (-torch.inf, torch.inf):
        candidate = factor.clone()
        for _ in range(4):
            if same(before * candidate, after):
                return candidate.item()
            candidate = torch.nextafter(candidate, torch.tensor(way))
    raise AssertionError(f"expected {after} to be a multiple of {before}")


@torch.no_grad()
def dampen(plain, record, state):
    """Multiply the twin's momentum by what the controlled one's was multiplied by after its step.

    Args:
      plain: the twin.
      record: of the controlled step.
      state: of the controlled base optimizer's parameters, after the whole step.

    Returns:
      The factor of each parameter whose momentum was multiplied, in the order of `plain.parameters()`.
    """
    factors = []
    for p, then, now in zip(plain.parameters(), record["state"], state, strict=True):
        factor = 1.0
        for slot in ("momentum_buffer", "exp_avg"):
            if isinstance(then.get(slot), torch.Tensor) and then[slot].isfinite().all():
                factor = factor_between(then[slot], now[slot])
                plain.base.state[p][slot].mul_(factor)
        factors.append(factor)
    return factors


def advance(training, batch):
    """Take one ordinary step."""
    training.optimizer.zero_grad()
    loss = training.model.loss(batch)
    if loss.requires_grad:
        loss.backward()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it says is checked of the other
        training.optimizer.step(loss=loss)


def controlled(make_base, make_controller, **settings):
    """Return what makes a controlled optimizer of groups, each with a controller of its own."""
    return lambda groups: optenv.ControlledOptimizer(make_base(groups), make_controller(), **settings)
