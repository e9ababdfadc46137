"""Every base optimizer equals its namesake in torch, step by step, with each run's and group's own hyperparameters."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optenv.inner.minibatches import minibatches
from optenv.inner.optimizers import OPTIMIZERS, base_values
from optenv.inner.trainer import BatchedTrainer
from optenv.tasks import Data, from_functions

N, SIZES = 3, (4, 3)
SHIFTS = np.array([[-1.0, 0.0], [0.4, 1.0], [0.0, -0.3]])
RATES = np.array([1e-3, 1e-2, 0.1])
# Both compute in single precision, in another order; errors add up over the steps.
CLOSE = {"rtol": 1e-5, "atol": 1e-7}


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2: c = b1 m + (1 - b1) g; p -= lr (sign(c) + wd p); m = b2 m + (1 - b2) g."""

    def __init__(self, params, lr, betas, weight_decay):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (b1, b2), p = group["betas"], group["params"][0]
            m = self.state[p].setdefault("m", torch.zeros_like(p))
            c = b1 * m + (1 - b1) * p.grad
            p -= group["lr"] * (c.sign() + group["weight_decay"] * p)
            m.copy_(b2 * m + (1 - b2) * p.grad)


TORCH = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "lion": Lion,
}
CASES = [(name, {}) for name in TORCH]
CASES += [(name, {"weight_decay": 0.1}) for name in TORCH]
CASES += [
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "nesterov": 1.0, "weight_decay": 0.01}),
    ("adamw", {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3}),
    ("rmsprop", {"alpha": 0.9, "eps": 1e-4}),
]


def quadratic_task():
    """Loss |c (p - x)|^2 of a drawn example x: gradients that differ by step, run and group."""
    curvature = torch.linspace(0.1, 3.0, sum(SIZES))

    def loss(params, batch):
        return (curvature * (torch.cat([params["a.w"], params["b.w"]]) - batch[0].mean(0))).square().sum()

    def init(generator):
        return {f"{layer}.w": torch.randn(size, generator=generator) for layer, size in zip("ab", SIZES, strict=True)}

    x = torch.randn(50, sum(SIZES), generator=torch.Generator().manual_seed(0))
    return from_functions(name="q", init=init, loss=loss, train=(x,), valid=(x,), batch_size=4)


def moved(name, value, shift):
    """What the knob that moves hyperparameter `name` makes of its base value."""
    return value * 10.0**shift if name == "weight_decay" else min(max(1 - (1 - value) * 10.0**-shift, 0.0), 0.9999)


def references(rule, base, params, values):
    """One torch optimizer per run, one parameter group per group."""
    optimizers = []
    for n in range(N):
        groups = []
        for g, part in enumerate(params[n].split(SIZES)):
            own = dict(base)
            for knob in values.keys() - {"scale"}:
                name = rule.target(knob)
                if values[knob][n, g] != 0.0:
                    own[name] = moved(name, own[name], values[knob][n, g])
            if "beta1" in own:
                own["betas"] = (own.pop("beta1"), own.pop("beta2"))
            if "nesterov" in own:
                own["nesterov"] = bool(own["nesterov"])
            scale = values["scale"][n, g]
            groups.append({"params": [torch.nn.Parameter(part.clone())], "lr": float(RATES[n] * scale), **own})
        defaults = {key: value for key, value in groups[0].items() if key != "params"}
        optimizers.append(TORCH[rule.name](groups, **defaults))
    return optimizers


def march(name, options, values, steps=12):
    """Take the same steps batched and in torch, comparing after each."""
    rule = OPTIMIZERS[name]
    trainer = BatchedTrainer(quadratic_task(), rule, base_values(rule, options))
    state = trainer.start(np.arange(N, dtype=np.uint64))
    optimizers = references(rule, trainer.base, state.params, values)
    for step in range(steps):
        (batch,) = next(minibatches(state, trainer.task.batch_size))
        trainer.run(state, RATES, values, 1)
        for n, optimizer in enumerate(optimizers):
            a, b = (group["params"][0] for group in optimizer.param_groups)
            optimizer.zero_grad()
            trainer.task.loss({"a.w": a, "b.w": b}, (batch[n],)).backward()
            optimizer.step()
            expected = torch.cat([a.detach(), b.detach()])
            torch.testing.assert_close(state.params[n], expected, msg=f"{name}, step {step}, run {n}", **CLOSE)


def test_every_optimizer_has_a_reference():
    assert set(TORCH) == set(OPTIMIZERS)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_equals_torch_with_rates_of_each_run_and_group(name, options):
    march(name, options, {"scale": np.array([[1.0, 0.1], [2.0, 1.0], [0.5, 3.0]])})


@pytest.mark.parametrize(("name", "options"), [*CASES[6:12], CASES[12], CASES[13]])
def test_equals_torch_with_hyperparameters_of_each_run_and_group(name, options):
    rule = OPTIMIZERS[name]
    base = base_values(rule, options)
    targets = {knob: rule.target(knob) for knob in ("momentum", "beta2", "weight_decay")}
    knobs = {knob: SHIFTS for knob, target in targets.items() if target and base[target] > 0.0}
    march(name, options, {"scale": np.ones((N, 2)), **knobs})


@pytest.mark.parametrize("name", [name for name, rule in OPTIMIZERS.items() if rule.fused])
def test_a_fused_kernel_equals_torch_with_hyperparameters_of_each_run_and_group(name, monkeypatch):
    monkeypatch.setattr("optenv.inner.fused.WORTH", 0)
    knobs = {"momentum": SHIFTS, "beta2": SHIFTS, "weight_decay": SHIFTS}
    march(name, {"weight_decay": 0.1}, {"scale": np.array([[1.0, 0.1], [2.0, 2.0], [0.5, 3.0]]), **knobs})
    march(name, {}, {"scale": np.ones((N, 2))})


def test_a_fused_kernel_moves_a_run_by_the_same_bits_whatever_is_beside_it(monkeypatch):
    monkeypatch.setattr("optenv.inner.fused.WORTH", 0)
    trainer = BatchedTrainer(quadratic_task(), OPTIMIZERS["adamw"], base_values(OPTIMIZERS["adamw"], None))
    states = [trainer.start(np.arange(N, dtype=np.uint64)) for _ in range(2)]
    states[1].optimizer_step[1:] = 5
    for state, others in zip(states, (1.0, 0.3), strict=True):
        scale = np.ones((N, 2))
        scale[1:, 0] = others
        trainer.run(state, RATES, {"scale": scale}, 20)
    assert torch.equal(states[0].params[0], states[1].params[0])
    assert not torch.equal(states[0].params[1], states[1].params[1])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_turned_knobs_that_stand_at_neutral_change_no_bit(name):
    rule = OPTIMIZERS[name]
    trainer = BatchedTrainer(quadratic_task(), rule, base_values(rule, {"weight_decay": 0.1}))
    neutral = {"scale": 1.0, "clip": 1.0, "dampen": 0.0, "momentum": 0.0, "beta2": 0.0, "weight_decay": 0.0}
    states = [trainer.start(np.arange(N, dtype=np.uint64)) for _ in range(2)]
    for state, values in zip(states, ({}, {k: np.full((N, 2), v) for k, v in neutral.items()}), strict=True):
        trainer.run(state, RATES, values, 20)
    assert torch.equal(states[0].params, states[1].params)


def test_dampen_shrinks_the_update_and_the_momentum_it_carries_on():
    rule = OPTIMIZERS["sgd"]
    trainer = BatchedTrainer(quadratic_task(), rule, base_values(rule, {"momentum": 0.9}))
    free, damped = (trainer.start(np.arange(N, dtype=np.uint64)) for _ in range(2))
    before = free.params.clone()
    trainer.run(free, RATES, {}, 1)
    trainer.run(damped, RATES, {"dampen": np.full((N, 2), 0.75)}, 1)
    torch.testing.assert_close(damped.params - before, 0.25 * (free.params - before), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(damped.slots["momentum_buffer"], 0.25 * free.slots["momentum_buffer"])


@given(st.floats(0.1, 5.0), st.integers(0, 2**32))
@settings(max_examples=20)
def test_clip_keeps_the_norm_at_its_share_of_the_reference(clip, seed):
    rule = OPTIMIZERS["sgd"]
    trainer = BatchedTrainer(quadratic_task(), rule, base_values(rule, None))
    free, clipped = (trainer.start(np.array([seed], np.uint64)) for _ in range(2))
    before, rate = free.params.clone(), np.array([1.0])
    trainer.run(free, rate, {}, 1)
    trainer.run(clipped, rate, {"clip": np.full((1, 2), clip)}, 1)
    # The first norm is its own reference.
    expected = min(clip, 1.0) * (free.params - before)
    torch.testing.assert_close(clipped.params - before, expected, rtol=1e-4, atol=1e-6)


def test_a_hyperparameter_of_another_optimizer_is_refused_by_name():
    with pytest.raises(ValueError, match="hyperparameter of adamw.*'momentum'"):
        base_values(OPTIMIZERS["adamw"], {"momentum": 0.9})
    with pytest.raises(ValueError, match="Did you mean 'adamw'"):
        OPTIMIZERS["adamww"]
    with pytest.raises(ValueError, match="at least 0; received -1"):
        base_values(OPTIMIZERS["sgd"], {"momentum": -1.0})


def test_data_of_a_fixed_data_set_is_shared_among_runs():
    trainer = BatchedTrainer(quadratic_task(), OPTIMIZERS["sgd"], base_values(OPTIMIZERS["sgd"], None))
    assert isinstance(trainer.task.draw(torch.Generator()), Data)
    assert trainer.start(np.arange(N, dtype=np.uint64)).train[0].shape[0] == 1
