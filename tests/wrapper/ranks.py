"""What two processes do together; `test_distributed.py` starts them once and looks at what each of them reports."""

import copy
import functools

import numpy as np
import torch
import torch.distributed as dist
from meeting import meet_and_report
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel

import optenv
from optenv.control.controller import Controller, Interface

WORLD, EVERY, STEPS = 2, 5, 200


class Reactive(Controller):
    """Act on everything that is observed, so that a rank that observes anything else acts otherwise."""

    interface = Interface(knobs=("scale", "clip", "dampen"), control="relative", first_update=0.01)

    def __init__(self, seed=0):
        self.seed = seed

    def reset(self, num_runs, num_groups):
        generator = np.random.default_rng(self.seed)
        self.weights = generator.normal(size=(len(self.interface.features), 3)) * [0.02, 0.3, 0.1]

    def act(self, observation):
        return np.tanh(observation @ self.weights - [0.02, 0.3, 0.0])


class Plain:
    """An optimizer that is handed a loss and does not look at it."""

    def __init__(self, base):
        self.zero_grad, self._base = base.zero_grad, base

    def step(self, loss):
        self._base.step()


class Training:
    """A perceptron of odd sizes, whose last layer has one row: rank 1 holds none of it where it is sharded."""

    def __init__(self, wrap=None, rate=0.01, make=torch.optim.AdamW):
        generator = torch.Generator().manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 1))
        for p in self.model.parameters():
            nn.init.normal_(p, std=0.5, generator=generator)
        self.x = torch.randn(STEPS + 50, 8, 4, generator=generator)
        self.y = torch.sin(self.x[..., :1]) + 0.1 * torch.randn(STEPS + 50, 8, 1, generator=generator)
        self.whole = wrap is None
        self.wrapped = self.model if wrap is None else wrap(self.model)
        self.base, self.at = make(optenv.layer_groups(self.model), lr=rate), 0

    def controlled(self, controller=None, **settings):
        settings = {"total_steps": STEPS, "steps_per_action": EVERY} | settings
        return optenv.ControlledOptimizer(self.base, controller or Reactive(), **settings)

    def step(self, optimizer, loss=True):
        """Step on this rank's half of the minibatch, or on all of it; `loss` may be what is passed in its place."""
        mine = slice(None) if self.whole else slice(dist.get_rank(), None, WORLD)
        optimizer.zero_grad()
        value = mse_loss(self.wrapped(self.x[self.at, mine]), self.y[self.at, mine])
        self.at += 1
        value.backward()
        optimizer.step(loss=value if loss is True else loss)

    def train(self, optimizer, steps):
        for _ in range(steps):
            self.step(optimizer)

    def weights(self):
        with torch.no_grad():
            parts = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in self.model.parameters()]
            return torch.cat([part.flatten() for part in parts]).clone()


WRAPPERS = {"ddp": DistributedDataParallel, "fsdp": fully_shard}


def count_collectives(counts):
    """Count our all-reduces; DDP's and FSDP's own do not pass through here."""
    original = dist.all_reduce

    @functools.wraps(original)
    def counted(*arguments, **keywords):
        counts.append(arguments[0].numel())
        return original(*arguments, **keywords)

    dist.all_reduce = counted


def equal_on_all_ranks(tensor):
    gathered = [torch.empty_like(tensor) for _ in range(WORLD)]
    dist.all_gather(gathered, tensor.contiguous())
    return torch.equal(gathered[0], gathered[1])


def error_of(action):
    try:
        action()
    except (ValueError, RuntimeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def a_run(kind, counts, folder):
    training = Training(WRAPPERS[kind])
    optimizer = training.controlled(trace=folder / f"{kind}.jsonl")
    counts.clear()
    equal = []
    for _ in range(STEPS // 50):
        training.train(optimizer, 50)
        equal.append(equal_on_all_ranks(training.weights()))
    return {
        "equal": equal,
        "history": optimizer.history,
        "collectives": len(counts),
        "weights": training.weights().tolist(),
    }


def a_run_alone():
    training = Training()
    optimizer = training.controlled(process_group=False)
    training.train(optimizer, STEPS)
    return {"history": optimizer.history, "weights": training.weights().tolist()}


def losses_that_are_none(kind):
    """A rank's loss is missing in the first step, in the midst of a control step, and is a vector; then all is well."""
    training = Training(WRAPPERS[kind])
    optimizer, mine = training.controlled(), dist.get_rank() == 1
    before = training.weights()
    errors = [error_of(lambda: training.step(optimizer, None if mine else True))]
    moved = not torch.equal(before, training.weights())
    for loss in (None, torch.zeros(2)):
        training.train(optimizer, 2)
        training.step(optimizer, loss if mine else True)
        training.train(optimizer, 2)
        errors.append(error_of(lambda: training.step(optimizer)))
    training.train(optimizer, 3 * EVERY)
    return {"errors": errors, "moved": moved, "equal": equal_on_all_ranks(training.weights())}


def pauses(kind):
    """One rank pauses within a control step, at its begin, and starts paused; then all pause, and all resume."""
    mine = dist.get_rank() == 1
    errors = []
    for steps in (2, EVERY):
        training = Training(WRAPPERS[kind])
        optimizer = training.controlled()
        training.train(optimizer, steps)
        if mine:
            optimizer.pause()
        errors.append(error_of(lambda training=training, opt=optimizer: training.train(opt, 2 * EVERY)))
    training = Training(WRAPPERS[kind])
    errors.append(error_of(lambda: training.train(training.controlled(neutral=mine), 1)))

    training, plain = Training(WRAPPERS[kind]), Training(WRAPPERS[kind])
    optimizer = training.controlled(neutral=True)
    for each, steps in ((training, optimizer), (plain, Plain(plain.base))):
        each.train(steps, 7)
    as_base = torch.equal(training.weights(), plain.weights())
    optimizer.resume()
    training.train(optimizer, 20)
    return {
        "errors": errors,
        "as_base": as_base,
        "first_decision": optimizer.history[0]["step"],
        "equal": equal_on_all_ranks(training.weights()),
    }


def other_decisions():
    """Ranks with unequal seeds, and with unequal budgets."""
    training = Training(DistributedDataParallel)
    errors = [error_of(lambda: training.train(training.controlled(Reactive(dist.get_rank())), 3 * EVERY))]
    training = Training(DistributedDataParallel)
    errors.append(error_of(lambda: training.train(training.controlled(total_steps=100 + dist.get_rank()), 1)))
    return {"errors": errors}


def first_sharding():
    """FSDP1, whose parameters do not tell that they are parts; with and without the original ones."""
    errors = []
    for original in (True, False):
        wrap = functools.partial(FullyShardedDataParallel, device_id=torch.device("cpu"), use_orig_params=original)
        training = Training(lambda model, wrap=wrap: wrap(model))
        base = torch.optim.SGD(training.wrapped.parameters(), lr=0.1)
        training.base = base
        errors.append(error_of(lambda training=training: training.train(training.controlled(), 1)))
    return {"errors": errors}


def other_groups(everywhere):
    """Groups appear in the midst of a run, on all ranks or on one."""
    training = Training(DistributedDataParallel)
    optimizer = training.controlled()
    training.train(optimizer, 2 * EVERY + 2)
    if everywhere or dist.get_rank() == 1:
        extra = nn.Parameter(torch.ones(3))
        extra.grad = torch.ones(3)
        optimizer.add_param_group({"params": [extra]})
    error = error_of(lambda: training.train(optimizer, 4 * EVERY))
    return {
        "error": error,
        "groups": len(optimizer.history[-1]["rate"]),
        "equal": equal_on_all_ranks(training.weights()),
    }


def checkpoints(kind):
    """Save, go on; load into a new run, go on; both must end alike."""
    reports = {}
    for steps in (2 * EVERY, 2 * EVERY + 2):
        whole = Training(WRAPPERS[kind])
        optimizer = whole.controlled()
        whole.train(optimizer, steps)
        state, model = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(whole.model.state_dict())
        states = [None] * WORLD
        dist.all_gather_object(states, {k: v for k, v in state.items() if k == "control"} | {"base": kind == "ddp"})
        whole.train(optimizer, 3 * EVERY)
        from_first = kind == "ddp"  # one file for all ranks; a shard's file is its own
        if from_first:
            state["control"] = states[0]["control"]
        resumed = Training(WRAPPERS[kind], rate=0.5)
        resumed.model.load_state_dict(model)
        again = resumed.controlled()
        again.load_state_dict(state)
        resumed.at = steps
        resumed.train(again, 3 * EVERY)
        reports[str(steps)] = {
            "same_state": repr(states[0]) == repr(states[1]),
            "as_uninterrupted": torch.equal(whole.weights(), resumed.weights()),
            "equal": equal_on_all_ranks(resumed.weights()),
        }
    return reports


def each_for_itself(counts):
    """The replicas of one model, steered as if they were models of their own."""
    training = Training(DistributedDataParallel)
    counts.clear()
    training.train(training.controlled(process_group=False), 4 * EVERY)
    return {"collectives": len(counts), "equal": equal_on_all_ranks(training.weights())}


def main(folder):
    """Do all of it as one of two processes, and return a report."""
    counts, report = [], {}
    count_collectives(counts)
    for kind in WRAPPERS:
        report[kind] = a_run(kind, counts, folder)
        report[f"{kind} losses"] = losses_that_are_none(kind)
        report[f"{kind} pauses"] = pauses(kind)
        report[f"{kind} checkpoints"] = checkpoints(kind)
    report["alone"] = a_run_alone()
    report["decisions"] = other_decisions()
    report["first sharding"] = first_sharding()
    report["groups everywhere"], report["groups on one"] = other_groups(True), other_groups(False)
    report["each for itself"] = each_for_itself(counts)
    return report


if __name__ == "__main__":
    meet_and_report(main)
