"""Bad input is one clear error: the subject, what was expected, what came, and the nearest valid name."""

import numpy as np
import pytest
import torch

from optenv.env import OptControlEnv, OptControlVectorEnv
from optenv.rewards import Reward
from optenv.tasks import from_functions

NAMES = {
    "task": ("digit_mlp", "unknown task 'digit_mlp'; expected one of .*Did you mean 'digits_mlp'"),
    "optimizer": ("adanw", "unknown optimizer 'adanw'; expected one of sgd, .*Did you mean 'adamw'"),
    "reward": (
        "log_loss_increase",
        "unknown reward 'log_loss_increase'; expected one of .*Did you mean 'log_loss_decrease'",
    ),
    "knobs": (("scale", "clop"), "unknown knob 'clop'; expected one of .*Did you mean 'clip'"),
    "control": ("absolut", "unknown control 'absolut'; expected one of absolute, relative. Did you mean 'absolute'"),
    "groups": ("layers", "unknown groups 'layers'; expected one of layer, model. Did you mean 'layer'"),
    "trainer": ("torchh", "unknown trainer 'torchh'; expected one of batched, torch. Did you mean 'torch'"),
    "render_mode": (
        "rgb_aray",
        "unknown render_mode 'rgb_aray'; expected one of rgb_array, ansi. Did you mean 'rgb_array'",
    ),
    "num_inner_step": (5, "unknown environment setting 'num_inner_step'; .*Did you mean 'num_inner_steps'"),
}


@pytest.mark.parametrize(("setting", "value", "message"), [(k, *v) for k, v in NAMES.items()], ids=NAMES)
def test_an_unknown_name_is_answered_with_the_nearest_one(setting, value, message):
    with pytest.raises(ValueError, match=message):
        OptControlEnv(**{setting: value})


RATE = "lr: expected a positive number, or a range \\(low, high\\) of such with low at most high; received "
BUDGET = "num_inner_steps: expected a whole number of at least 1, or a range"
VALUES = [
    ("lr", -1e-3, RATE + "-0.001"),
    ("lr", 0, RATE + "0"),
    ("lr", float("nan"), RATE + "nan"),
    ("lr", float("inf"), RATE + "inf"),
    ("lr", (1e-1, 1e-3), RATE + r"\(0.1, 0.001\)"),
    ("lr", (1e-1,) * 3, RATE + r"\(0.1, 0.1, 0.1\)"),
    ("lr", "fast", RATE + "'fast'"),
    ("lr", True, RATE + "True"),
    ("num_inner_steps", 0, BUDGET + ".*; received 0"),
    ("num_inner_steps", -5, BUDGET),
    ("num_inner_steps", 2.5, BUDGET),
    ("num_inner_steps", (10, 5), BUDGET),
    ("steps_per_action", 0, "steps_per_action: expected a whole number of at least 1; received 0"),
    ("steps_per_action", 1.5, "steps_per_action: expected a whole number of at least 1; received 1.5"),
    ("knobs", (), "knobs: expected a sequence of at least one of scale, .*; received \\(\\)"),
    ("knobs", "scale", "knobs: expected a sequence of at least one of scale, .*; received 'scale'"),
    ("knobs", ("scale", "scale"), "knobs: expected each name once"),
    ("first_update", 0.1, "first_update: expected relative control of the knob 'scale'"),
    ("optimizer_options", {"beta3": 0.9}, "unknown hyperparameter of adamw 'beta3'.*Did you mean 'beta[12]'"),
    ("optimizer_options", {"weight_decay": -1.0}, "adamw weight_decay: expected a finite number of at least 0"),
    ("optimizer_options", {"eps": float("nan")}, "adamw eps: expected a finite number of at least 0; received nan"),
    ("optimizer", torch.optim.SGD, "optimizer: expected a name, or trainer='torch'; received"),
    ("lr", (1e-3,), RATE + r"\(0.001,\)"),
    ("lr", None, RATE + "None"),
    ("num_inner_steps", (5,), BUDGET),
    ("knobs", (["scale"],), r"unknown knob \['scale'\]"),
    ("knobs", {"scale"}, "knobs: expected a sequence of at least one of scale"),
    ("features", 3, "features: expected a sequence of names; received 3"),
    ("reward", ["final_loss"], r"unknown reward \['final_loss'\]"),
    ("optimizer_options", "beta1", "optimizer_options: expected a dictionary of numbers by name; received 'beta1'"),
    ("optimizer_options", {"beta1": None}, "adamw beta1: expected a finite number of at least 0 and below 1"),
    ("optimizer_options", {"beta2": 1.0}, "adamw beta2: expected a finite number of at least 0 and below 1"),
    *(("device", d, "device: expected one that torch can use here") for d in ("tpu", "meta", "cuda:99", None, 99)),
    *(("max_episode_steps", n, "max_episode_steps: expected a whole number") for n in (0, -2, 1.5, True, "2")),
    ("num_envs", 2, "unknown environment setting 'num_envs'"),
    ("autoreset_mode", "Disabled", "unknown environment setting 'autoreset_mode'"),
    ("task", "synthetic_classification:99", "has members 0 to 15, received 99"),
]


@pytest.mark.parametrize(("setting", "value", "message"), VALUES, ids=[f"{k}={v!r}" for k, v, _ in VALUES])
def test_a_value_out_of_range_is_one_clear_error(setting, value, message):
    with pytest.raises(ValueError, match=message):
        OptControlEnv(**{setting: value})


def test_a_task_that_is_none_is_one_clear_error():
    with pytest.raises(TypeError, match="task: expected a name, a Task or a Family, received int"):
        OptControlEnv(task=3)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3"])
def test_a_number_of_environments_that_is_none_is_one_clear_error(value):
    with pytest.raises(ValueError, match="num_envs: expected a whole number of at least 1; received"):
        OptControlVectorEnv(value)


@pytest.mark.parametrize("mode", ["NextSteps", "same_step", None])
def test_an_autoreset_mode_that_gymnasium_lacks_is_one_clear_error(mode):
    with pytest.raises(ValueError, match="unknown autoreset_mode .*; expected one of NextStep, SameStep, Disabled"):
        OptControlVectorEnv(1, autoreset_mode=mode)


@pytest.mark.parametrize(
    ("loss", "received"),
    [
        (lambda p, batch: p["p.w"], r"shape \(2,\)"),
        (lambda p, batch: p["p.w"].sum()[None], r"shape \(1,\)"),
        (lambda p, batch: 1.0, "1.0"),
    ],
)
@pytest.mark.parametrize("trainer", ["batched", "torch"])
def test_a_loss_that_is_no_scalar_is_one_clear_error(loss, received, trainer):
    task = from_functions(name="own", init=lambda g: {"p.w": torch.ones(2)}, loss=loss, train=(), valid=())
    with pytest.raises(ValueError, match=f"loss of task 'own': expected a scalar tensor; received {received}"):
        OptControlEnv(task=task, trainer=trainer)


@pytest.mark.parametrize("trainer", ["batched", "torch"])
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, r"expected at least one parameter from init\(\); received none"),
        (dict.fromkeys(["a.w", "b.w", "a.b"], torch.ones(2)), "expected the parameters of layer 'a' side by side"),
    ],
)
def test_parameters_that_cannot_be_laid_out_are_one_clear_error(params, message, trainer):
    loss = {"loss": lambda p, batch: sum(v.sum() for v in p.values()) + torch.zeros(()), "train": (), "valid": ()}
    with pytest.raises(ValueError, match=message):
        OptControlEnv(task=from_functions(name="own", init=lambda g: params, **loss), trainer=trainer)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(3, np.float32), r"action: expected shape \(3, 6\); received \(3,\)"),
        (np.zeros((3, 5), np.float32), r"action: expected shape \(3, 6\); received \(3, 5\)"),
        (np.zeros((2, 6), np.float32), r"action: expected shape \(3, 6\); received \(2, 6\)"),
        (None, r"action: expected numbers of shape \(3, 6\); received None"),
        ([["a"] * 6] * 3, r"action: expected numbers of shape \(3, 6\)"),
        ([[0.0] * 6, [0.0] * 6, [0.0]], r"action: expected numbers of shape \(3, 6\)"),
        (np.zeros((3, 6), complex), r"action: expected numbers of shape \(3, 6\)"),
        (torch.zeros(3, 6, requires_grad=True), r"action: expected numbers of shape \(3, 6\)"),
        (np.full((3, 6), np.nan, np.float32), r"action: expected numbers in \[-1, 1\]; received NaN"),
    ],
)
def test_misshapen_and_nan_actions_are_one_clear_error_and_change_nothing(make_envs, parameters, action, message):
    env = make_envs(3)
    env.reset(seed=0)
    before = parameters(env)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    assert torch.equal(parameters(env), before)


def test_actions_beyond_the_space_count_as_its_edge(make_envs, play):
    steps = []
    for size in (1.0, 7.0, np.inf):
        env = make_envs(3)
        env.reset(seed=0)
        steps.append(play(env, 2, actions=np.full((2, 3, 6), size)))
    for one, other in zip(steps[0] * 2, steps[1] + steps[2], strict=True):
        np.testing.assert_array_equal(one[0], other[0])


@pytest.mark.parametrize("kind", [np.int64, np.float32, bool, list, torch.tensor])
def test_actions_of_any_kind_of_number_are_taken(make_envs, kind):
    seen = []
    for action in (
        np.ones((3, 6), np.float32),
        kind([[1] * 6] * 3) if kind in (list, torch.tensor) else np.ones((3, 6), kind),
    ):
        env = make_envs(3)
        env.reset(seed=0)
        seen.append(env.step(action)[0])
    np.testing.assert_array_equal(*seen)


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), [3], np.array([3])])
def test_seeds_of_any_kind_of_whole_number_are_taken(make_envs, tiny_task, seed):
    expected = make_envs(1).reset(seed=3)[1]["loss"]
    assert make_envs(1).reset(seed=seed)[1]["loss"] == expected
    scalar = OptControlEnv(task=tiny_task, num_inner_steps=20, lr=1e-2)
    assert scalar.reset(seed=seed)[1]["loss"] == expected


@pytest.mark.parametrize("seed", [-1, 0.5, True, "3"])
def test_a_scalar_seed_that_is_none_is_one_clear_error(tiny_task, seed):
    with pytest.raises(ValueError, match=r"seed: expected a whole number of at least 0"):
        OptControlEnv(task=tiny_task).reset(seed=seed)


def test_settings_may_be_numpys_numbers(make_envs):
    whole = {"num_inner_steps": (np.uint8(10), np.uint8(200)), "steps_per_action": np.uint8(5)}
    env = make_envs(np.int64(2), lr=(np.float32(1e-3), np.float64(1e-2)), max_episode_steps=np.int16(1), **whole)
    env.reset(seed=0)
    assert env.step(np.zeros((2, 6)))[3].all()


@pytest.mark.parametrize("options", [[], 3, "reset_mask"])
def test_options_that_are_none_are_one_clear_error(make_envs, options):
    with pytest.raises(ValueError, match="options: expected a dictionary or None; received"):
        make_envs(2).reset(options=options)


@pytest.mark.parametrize("trainer", ["batched", "torch"])
@pytest.mark.parametrize(("optimizer", "knob"), [("adagrad", "momentum"), ("rmsprop", "momentum"), ("sgd", "beta2")])
def test_a_knob_for_which_the_optimizer_has_nothing_is_refused(make_envs, optimizer, knob, trainer):
    for own in (optimizer, torch.optim.Adagrad)[: 1 + (trainer == "torch")]:
        with pytest.raises(ValueError, match=f"knob '{knob}': expected a base optimizer with .*{knob}; received"):
            make_envs(1, optimizer=own, knobs=("scale", knob), trainer=trainer)


REWARDS_THAT_ARE_NONE = {
    "a number": lambda trace: 1.0,
    "a column": lambda trace: np.ones((2, 1)),
    "one too many": lambda trace: np.ones(3),
    "NaN": lambda trace: [0.0, np.nan],
    "infinity": lambda trace: trace.current + np.inf,
    "None": lambda trace: None,
    "words": lambda trace: ["a", "b"],
    "ragged": lambda trace: [[1.0], [1.0, 2.0]],
    "complex": lambda trace: trace.current * 1j,
    "a gradient's": lambda trace: torch.ones(2, requires_grad=True),
    "a mistake": lambda trace: trace.currently,
}


@pytest.mark.parametrize("function", REWARDS_THAT_ARE_NONE.values(), ids=REWARDS_THAT_ARE_NONE)
def test_an_own_reward_that_is_none_is_one_clear_error(make_envs, function):
    env = make_envs(2, reward=Reward("mine", "mine", function))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="reward 'mine': expected 2 finite numbers, one a run; received"):
        env.step(np.zeros(env.action_space.shape))


@pytest.mark.parametrize("given", [[1, 2], (True, False), np.array([1, 2], np.int8), torch.tensor([0.5, 1.5])])
def test_an_own_reward_may_be_any_kind_of_numbers(make_envs, given):
    env = make_envs(2, reward=Reward("mine", "mine", lambda trace: given))
    env.reset(seed=0)
    rewards = env.step(np.zeros(env.action_space.shape))[1]
    assert rewards.dtype == float and rewards.tolist() == [float(value) for value in given]


@pytest.mark.parametrize("seed", [-1, True, 0.5, "x", [1, 2], [1, 2, -3], [1.0, 2.0, 3.0]])
def test_a_seed_that_is_none_is_one_clear_error(make_envs, seed):
    with pytest.raises(ValueError, match=r"seed: expected a whole number of at least 0, or one per environment \(3\)"):
        make_envs(3).reset(seed=seed)


@pytest.mark.parametrize("mask", [[True], np.ones(3), np.ones((3, 1), bool), "all"])
def test_a_reset_mask_that_is_none_is_one_clear_error(make_envs, mask):
    env = make_envs(3)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="reset_mask: expected 3 booleans; received"):
        env.reset(options={"reset_mask": mask})


def test_settings_of_the_torch_trainer_that_cannot_be_are_one_clear_error():
    with pytest.raises(ValueError, match="unknown optimizer of torch.optim 'lion'; expected one of sgd, adam"):
        OptControlEnv(trainer="torch", optimizer="lion")
    with pytest.raises(ValueError, match="unknown optimizer of torch.optim 'sdg'.*Did you mean 'sgd'"):
        OptControlEnv(trainer="torch", optimizer="sdg")
    with pytest.raises(ValueError, match="unknown hyperparameter of sgd 'momentun'.*Did you mean 'momentum'"):
        OptControlEnv(trainer="torch", optimizer="sgd", optimizer_options={"momentun": 0.9})
    with pytest.raises(ValueError, match="optimizer_options: expected None beside an optimizer of your own"):
        OptControlEnv(trainer="torch", optimizer=torch.optim.SGD, optimizer_options={"momentum": 0.9})
    with pytest.raises(ValueError, match="compile: expected trainer='batched'"):
        OptControlEnv(trainer="torch", compile=True)
