"""The adaptive optimizer and its controller: every rule does what it says, and noise alone moves nothing for long."""

import copy
import pickle

import numpy as np
import pytest
import torch

import agents
from agents import AdaptiveOptimizer
from agents.rules.adaptive.loss_curve import LossCurve, Statistics, cycle
from agents.rules.adaptive.rules import LIMITS, RULES, limited, parse
from optenv.control.features import FEATURE_NAMES, observe
from optenv.control.signals import Interval, Products, Signals

BASE_LR = 1e-3
RULE_OF = {
    "lr": "lr_rule",
    "momentum": "momentum_rule",
    "betas": "betas_rule",
    "alpha": "alpha_rule",
    "wd": "wd_rule",
    "reward": "reward_rule",
}
NO_RULE = dict.fromkeys(RULE_OF.values())


class Recorder(torch.optim.SGD):
    """Plain descent with whatever else it is given in its group, which records what it steps with."""

    def __init__(self, **hyperparameters):
        super().__init__([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        self.param_groups[0].update(hyperparameters)
        self.seen = []

    def step(self):
        self.seen.append({name: value for name, value in self.param_groups[0].items() if name != "params"})


def decades(curve, rule):
    """Decades that a rule on the loss, or on minus a reward, makes of the statistics after each value of a curve."""
    rules = [row for row in RULES if f"{row.target} {row.name} {row.moves}" == rule]
    loss_curve, found = LossCurve(), []
    for x in curve:
        loss_curve.update(float(x))
        found.append(sum(row(loss_curve.statistics()) for row in rules))
    return np.array(found)


def factors(losses, **rules):
    """Decades by which the learning rate is moved in each step."""
    base = Recorder(lr=BASE_LR)
    optimizer = AdaptiveOptimizer(base, **{**NO_RULE, **rules})
    for loss in losses:
        optimizer.step_loss(loss)
        optimizer.step()
    return np.log10([group["lr"] / BASE_LR for group in base.seen])


def test_the_published_usage_runs_as_written():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    base_opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    opt = AdaptiveOptimizer(
        base_opt,
        lr_rule="trend+variance",
        betas_rule=("relative", "variance"),
        wd_rule="trend",
        reward_rule="trend",
        cycle_length=500,
        cycle_mult=2,
    )
    x, y = torch.randn(64, 4), torch.randn(64, 1)
    losses = []
    for _ in range(300):
        loss = (model(x) - y).square().mean()
        loss.backward()
        opt.step_loss(loss)
        opt.step_reward(1.0 / (1.0 + loss.item()))
        opt.step()
        opt.zero_grad()
        losses.append(loss.item())
    assert f"{opt.lr:.6e} {opt.wd:.5f}" and losses[-1] < losses[0]
    assert opt.lr > 3e-3 and opt.wd < 0.01 and base_opt.param_groups[0]["lr"] == 1e-3


NOISES = {
    "normal": lambda g: g.normal(size=5000),
    "skewed": lambda g: np.exp(g.normal(size=5000)),
    "heavy-tailed": lambda g: g.standard_t(3, size=5000),
    "spikes": lambda g: g.normal(size=5000) + 100.0 * (g.random(5000) < 0.002),
    "rare": lambda g: 1.0 * (g.random(5000) < 0.05),
}


@pytest.mark.parametrize("level", [1e-6, 0.03, 10.0])
@pytest.mark.parametrize("noise", NOISES)
def test_on_a_noisy_but_stationary_loss_the_rate_does_not_drift_to_a_bound(noise, level):
    moved = factors(2.0 + level * NOISES[noise](np.random.default_rng(0)), lr_rule="trend+variance")
    low, high = LIMITS["lr"]
    assert low + 1.0 < moved.min() and moved.max() < high - 0.4
    # Within a quarter of the base rate on average, over the whole run as over its last fifth.
    assert abs(moved.mean()) < 0.1 and abs(moved[-1000:].mean()) < 0.1


@pytest.mark.parametrize("rule", ["scaling", "trend", "variance"])
def test_on_a_noisy_but_stationary_reward_the_rate_does_not_drift_either(rule):
    base = Recorder(lr=BASE_LR)
    optimizer = AdaptiveOptimizer(base, **{**NO_RULE, "reward_rule": rule})
    for reward in np.random.default_rng(0).normal(size=3000):
        optimizer.step_reward(reward)
        optimizer.step()
    moved = np.log10([group["lr"] / BASE_LR for group in base.seen])
    assert abs(moved.mean()) < 0.1 and np.abs(moved).max() < 0.5


def noisy(trend, noise=0.05, steps=600):
    return trend * np.arange(steps) / 100.0 + noise * np.random.default_rng(0).normal(size=steps)


def test_trend_raises_the_rate_while_the_loss_falls_and_lowers_it_while_it_rises():
    assert factors(noisy(-1.0), lr_rule="trend")[200:].min() > 0.5
    assert factors(noisy(1.0), lr_rule="trend", guard=False)[200:].max() < -0.5
    assert not factors(noisy(1.0), lr_rule="trend")[200:].any()  # whatever the rules say, the guard holds it neutral
    comes_back = np.concatenate([noisy(-1.0), -6.0 + noisy(0.0)])
    assert abs(factors(comes_back, lr_rule="trend")[-100:].mean()) < 0.1


@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0.0), (1e6, 0.0), (1.0, -100.0)])
def test_neither_the_unit_of_the_loss_nor_a_constant_matters(scale, shift):
    rules = "trend+variance"
    expected = factors(noisy(-1.0), lr_rule=rules)
    np.testing.assert_allclose(factors(scale * noisy(-1.0) + shift, lr_rule=rules), expected, atol=1e-3)


def test_variance_lowers_the_rate_after_a_burst_and_forgives():
    noise = np.random.default_rng(0).normal(size=1600) * np.where(np.arange(1600) < 600, 0.1, 1.0)
    moved = decades(noise, "lr variance lr")
    assert moved[640:680].max() < -0.3 and abs(moved[-100:].mean()) < 0.1
    moved = factors(noise, lr_rule="variance")
    assert moved[630:680].max() < -0.15 and abs(moved[-100:].mean()) < 0.1


def test_the_cosine_ends_at_a_hundredth_and_restarts_take_longer_each_time():
    once = 10.0 ** factors(np.ones(25), lr_rule="cosine", cycle_length=10, steps_per_action=1)
    np.testing.assert_allclose(once[:10], np.maximum(0.5 * (1 + np.cos(np.pi * np.arange(10) / 10)), 0.01))
    np.testing.assert_allclose(once[10:], 0.01)
    again = 10.0 ** factors(np.ones(40), lr_rule="cosine_restart", cycle_length=10, cycle_mult=2, steps_per_action=1)
    weights = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weights], lr=1.0)
    scheduler, expected = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 10, 2), []
    for _ in range(40):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(again, np.maximum(expected, 0.01), rtol=1e-9)


@pytest.mark.parametrize("mult", [1, 3])
def test_a_cycle_begins_where_the_last_one_ended(mult):
    shares = [cycle(time, 4, mult)[1] for time in range(17)]
    assert [time for time, share in enumerate(shares) if share == 0.0] == (
        [0, 4, 8, 12, 16] if mult == 1 else [0, 4, 16]
    )


IMPROVING = Statistics(trend=0.9, change=0.4, height=0.2, burst=-0.1, standing=3.0)
WORSENING = Statistics(trend=-0.9, change=-0.4, height=4.0, burst=0.4, standing=0.3)
# Signs while things get better, and while they get worse and noisier; the cosines know nothing of either.
SIGNS = {"weight_decay": (-1, 1)}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.target}-{rule.name}-{rule.moves}")
def test_a_rule_is_neutral_at_the_start_and_moves_the_way_its_formula_says(rule):
    assert rule(Statistics()) == 0.0 and rule.low < rule.high
    if rule.name.startswith("cosine"):
        return
    better, worse = SIGNS.get(rule.moves, (1, -1))
    assert np.sign(rule(IMPROVING)) == better and np.sign(rule(WORSENING)) == worse


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.target}-{rule.name}-{rule.moves}")
def test_a_rule_stays_within_its_bounds_on_any_curve(rule):
    generator = np.random.default_rng(1)
    for curve in (generator.normal(size=200), np.exp(30 * generator.normal(size=200)), np.zeros(50), -np.arange(99.0)):
        loss_curve = LossCurve()
        for x in curve:
            loss_curve.update(float(x))
            value = rule(loss_curve.statistics())
            assert np.isfinite(value) and rule.low <= value <= rule.high


def test_rules_compose_by_adding_decades_within_the_limits():
    both, trend, variance = (factors(noisy(-1.0), lr_rule=rule) for rule in ("trend+variance", "trend", "variance"))
    np.testing.assert_allclose(both, np.minimum(trend + variance, 1.0), atol=1e-9)
    assert limited({"lr": 0.9, "beta1": 0.2}, {"lr": 0.9}) == {"lr": 1.0, "beta1": 0.2}
    assert parse("betas", ("relative", "variance")) == parse("betas", "relative + variance")
    assert parse("betas", (None, "variance")) == parse("betas", "variance")


@pytest.mark.parametrize(("target", "argument"), RULE_OF.items())
def test_an_unknown_rule_is_refused_by_name(target, argument):
    with pytest.raises(ValueError, match=f"unknown {target}_rule 'trendy'; expected one of"):
        AdaptiveOptimizer(Recorder(lr=1.0), **{argument: "trendy"})
    known = next(rule.name for rule in RULES if rule.target == target)
    with pytest.raises(ValueError, match=f"{target}_rule: expected each name once"):
        AdaptiveOptimizer(Recorder(lr=1.0), **{argument: f"{known}+{known}"})


EVERY_RULE = {
    RULE_OF[target]: "+".join(dict.fromkeys(rule.name for rule in RULES if rule.target == target)) for target in RULE_OF
}


def test_a_learning_rate_that_is_a_tensor_stays_one():
    """As 8-bit optimizers that compile their step keep it."""
    base = Recorder(lr=torch.tensor(0.1), betas=(0.9, 0.999))
    optimizer = AdaptiveOptimizer(base, lr_rule="trend")
    for loss in noisy(-1.0, steps=100):
        optimizer.step_loss(torch.tensor(loss, requires_grad=True))
        optimizer.step()
    assert all(isinstance(group["lr"], torch.Tensor) for group in base.seen) and base.seen[-1]["lr"] > 0.2
    assert base.param_groups[0]["lr"] == 0.1 and isinstance(optimizer.lr, float)


def train(make, wrap, steps=30):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    x, y = torch.randn(32, 5), torch.randn(32, 1)
    optimizer = wrap(make(model.parameters()))
    for _ in range(steps):
        loss = (model(x) - y).square().mean()
        loss.backward()
        if hasattr(optimizer, "step_loss"):
            optimizer.step_loss(loss)
        optimizer.step()
        optimizer.zero_grad()
    return optimizer, torch.cat([p.detach().ravel() for p in model.parameters()])


OPTIMIZERS = [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    lambda p: torch.optim.Adagrad(p, lr=0.1),
    lambda p: torch.optim.ASGD(p, lr=0.1),
    lambda p: torch.optim.Adafactor(p, lr=0.01),
    lambda p: torch.optim.NAdam(p, lr=0.01),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_without_a_rule_every_step_is_the_base_optimizers_bit_for_bit(make):
    _, expected = train(make, lambda base: base)
    _, found = train(make, lambda base: AdaptiveOptimizer(base, **NO_RULE))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_any_torch_optimizer_trains_under_every_rule(make):
    optimizer, weights = train(make, lambda base: AdaptiveOptimizer(base, **EVERY_RULE))
    assert weights.isfinite().all() and optimizer.lr != optimizer.param_groups[0]["lr"]


def test_a_loss_or_reward_that_is_not_finite_is_ignored():
    clean = [1.0, 0.9, 0.8, 0.7]
    broken = [1.0, float("nan"), 0.9, float("inf"), 0.8, -float("inf"), 0.7]
    assert factors(broken, lr_rule="trend")[-1] == factors(clean, lr_rule="trend")[-1]


def test_a_scheduler_on_the_wrapper_composes_with_the_rules():
    optimizer, _ = train(OPTIMIZERS[1], lambda base: AdaptiveOptimizer(base, lr_rule="trend"), steps=25)
    free = optimizer.lr
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.step(loss=0.1)
    scheduler.step()
    assert optimizer.lr == pytest.approx(0.5 * free) and optimizer.base.param_groups[0]["lr"] == 0.005


def test_a_closure_returns_the_loss():
    weights = torch.nn.Parameter(torch.ones(2))
    optimizer = AdaptiveOptimizer(torch.optim.SGD([weights], lr=1e-3), lr_rule="trend")

    def closure():
        optimizer.zero_grad()
        loss = weights.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).detach() == 2.0 and weights.max() < 1.0


def test_a_state_dict_resumes_bit_for_bit(tmp_path):
    rules = {"lr_rule": "trend+variance+cosine", "reward_rule": "trend"}
    whole, first = (AdaptiveOptimizer(Recorder(lr=1.0), **rules) for _ in range(2))
    losses = noisy(-1.0, steps=80)
    for loss in losses[:45]:
        for optimizer in (whole, first):
            optimizer.step_reward(-loss)
            optimizer.step(loss=loss)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    resumed = AdaptiveOptimizer(Recorder(lr=1.0), **rules)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for loss in losses[45:]:
        for optimizer in (whole, resumed):
            optimizer.step_reward(-loss)
            optimizer.step(loss=loss)
    assert [group["lr"] for group in resumed.base.seen] == [group["lr"] for group in whole.base.seen[45:]]
    assert whole.lr != 1.0


def test_it_is_copied_and_pickled_with_its_rules():
    optimizer, _ = train(OPTIMIZERS[1], lambda base: AdaptiveOptimizer(base, **EVERY_RULE))
    assert copy.deepcopy(optimizer).lr == pickle.loads(pickle.dumps(optimizer)).lr == optimizer.lr


def test_without_a_rule_on_the_loss_none_is_needed_and_with_one_it_is():
    rewarded = AdaptiveOptimizer(Recorder(lr=1.0), **{**NO_RULE, "reward_rule": "trend"})
    for step in range(100):
        rewarded.step_reward(float(step))
        rewarded.step()
    assert rewarded.lr > 2.0
    with pytest.raises(ValueError, match="expected loss="):
        AdaptiveOptimizer(Recorder(lr=1.0), lr_rule="trend").step()


@pytest.mark.parametrize("wrong", [3, torch.nn.Linear(1, 1)])
def test_what_is_no_optimizer_is_refused(wrong):
    with pytest.raises(TypeError, match="base: expected a torch.optim.Optimizer"):
        AdaptiveOptimizer(wrong)


def test_a_cycle_that_is_no_whole_number_is_refused():
    with pytest.raises(ValueError, match="cycle_length: expected a whole number of at least 1; received 0"):
        AdaptiveOptimizer(Recorder(lr=1.0), cycle_length=0)
    with pytest.raises(ValueError, match="cycle_mult"):
        agents.make("adaptive", cycle_mult=1.5)


def control(losses, steps=10, **options):
    """Decades of scale that the controller asks for along minibatch losses, `steps` to a control step."""
    controller = agents.make("adaptive", **options)
    controller.reset(1, 1)
    signals, asked = Signals.start(np.array([np.nan]), 1), []
    nothing = np.full((1, 1), np.nan)
    for part in losses.reshape(-1, steps):
        action = controller.act(observe(signals))[0, 0, 0]
        asked.append(action if action > 0 else 2.0 * action)
        noise = 0.5 * np.mean(np.diff(part) ** 2)
        interval = Interval(steps, np.array([part.mean()]), np.array([noise]), Products(*[nothing] * 8))
        signals.advance(interval, np.zeros((1, 1)))
    return np.array(asked)


def test_the_controller_raises_the_scale_while_the_loss_falls_and_stands_still_under_noise():
    only = {"lr_rule": "trend"}
    assert control(noisy(-1.0), **only)[10:].min() > 0.5 and control(noisy(1.0), **only)[10:].max() < -0.5
    flat = control(2.0 + noisy(0.0, steps=5000), lr_rule="trend+variance")
    assert flat[0] == 0.0 and abs(flat.mean()) < 0.1 and np.abs(flat).max() < 0.7


def test_the_controller_sees_a_burst_of_noise_and_not_a_growing_fall():
    step = np.arange(1000)
    noise = np.random.default_rng(0).normal(size=1000) * np.where(step < 700, 0.1, 1.0)
    moved = control(50.0 * np.exp(-step / 50.0) + noise, lr_rule="variance")
    assert moved[72:76].max() < -0.15 and moved[:70].min() > -0.3
    falling = control(noisy(-1.0), lr_rule="variance")
    assert np.abs(falling).max() < 0.3


def test_the_controller_moves_the_knobs_of_all_groups_alike():
    controller = agents.make("adaptive")
    controller.reset(2, 3)
    view = np.zeros((2, 3, len(FEATURE_NAMES)), np.float32)
    view[0, :, FEATURE_NAMES.index("significance")] = 0.9
    controller.act(view)
    action = controller.act(view)
    assert action.shape == (2, 3, 4) and (action[0, 0, :2] > 0).all() and action[0, 0, 3] < 0 and not action[1].any()
    assert (action == action[:, :1]).all()
