"""A person's own formula: read by its own parser, right in value and gradient, refused with a place."""

import math

import pytest
import torch

from agents.playground.formula import FUNCTIONS, own_function, parse
from agents.playground.function_settings import FunctionSettings
from agents.playground.validation import InvalidSetting

BOX = (-2.0, 3.0, -1.0, 2.0)
FORMULAS = {
    "x^2 + 10 y^2": lambda x, y: x**2 + 10 * y**2,
    "(1 - x)^2 + 100(y - x^2)^2": lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
    "-x^2": lambda x, y: -(x**2),
    "2 - 3 - 4 x": lambda x, y: 2 - 3 - 4 * x,
    "12 / 3 / 2 * y": lambda x, y: 2 * y,
    "2^3^2": lambda x, y: 512.0,
    "x**-2": lambda x, y: x**-2,
    "2 x y": lambda x, y: 2 * x * y,
    "sin(pi x) cos(y) + e^(x y)": lambda x, y: math.sin(math.pi * x) * math.cos(y) + math.exp(x * y),
    "|x - y| + 3 |y|": lambda x, y: abs(x - y) + 3 * abs(y),
    "sqrt(1 + x^2) + 1.5e-1 tanh(y)": lambda x, y: math.sqrt(1 + x * x) + 0.15 * math.tanh(y),
}


def points():
    return torch.rand(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 + 0.1


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_has_the_values_that_python_gives_it(text):
    x, y = points().unbind(-1)
    expected = [FORMULAS[text](a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    torch.testing.assert_close(parse(text)(x, y), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("text", [*FORMULAS, "3", "x", *(f"{name}(x + y / 2) y" for name in FUNCTIONS)])
def test_gradients_match_finite_differences(text):
    function = own_function(text, (0.2, 2.0, 0.2, 1.5))
    at = points().requires_grad_()
    (gradient,) = torch.autograd.grad(function.evaluate(at).sum(), at)
    for axis in (0, 1):
        step = torch.zeros(2, dtype=torch.float64)
        step[axis] = 1e-6
        difference = (function.evaluate(at.detach() + step) - function.evaluate(at.detach() - step)) / 2e-6
        close = (gradient[:, axis] - difference).abs() <= 1e-4 * (1 + difference.abs())
        assert close.float().mean() > 0.9  # a tangent has poles, |x| a corner
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "ends too early"),
        ("x +", "ends too early"),
        ("(x", "ends too early"),
        ("x^2)", r"character 4: '\)' does not fit"),
        ("sin x", "character 5: 'x' does not fit here; expected \\("),
        ("xy", "character 1: 'xy' does not fit"),
        ("x $ y", r"character 3: '\$' does not fit"),
        ("__import__('os').system('true')", "character 1: '_' does not fit"),
        ("lambda x: x", "character 1: 'lambda' does not fit"),
        ("x.real", r"character 2: '\.' does not fit"),
        ("x" * 301, "301 characters"),
        ("(" * 300, "more than 50 brackets"),
        ("|(" * 100, "more than 50 brackets"),
        ("log(-1 - x^2)", "nowhere in the domain a finite number"),
    ],
)
def test_what_is_no_formula_is_refused_with_a_place(text, sentence):
    with pytest.raises(InvalidSetting, match=sentence):
        FunctionSettings(function="own", formula=text)


@pytest.mark.parametrize("text", ["9^9^9^9^9^9^9^9", "e^e^e^e^e^e^e^x", "(" * 50 + "x" + ")" * 50, "-" * 298 + "x"])
def test_huge_powers_and_deep_nesting_end_at_once(text):
    value = parse(text)(torch.ones(1), torch.ones(1))
    assert value.shape == (1,)


def test_the_least_value_in_the_domain_becomes_zero():
    function = own_function("(x - 1)^2 + 3 (y - 0.5)^2 - 7", BOX)
    assert function.minima[0] == pytest.approx((1.0, 0.5))
    assert float(function.evaluate(torch.tensor([1.0, 0.5], dtype=torch.float64))) == pytest.approx(0.0, abs=1e-12)
    slope = own_function("x + y", BOX)
    assert slope.minima == ((-2.0, -1.0),)


def test_optimizers_and_controllers_race_on_an_own_formula():
    settings = FunctionSettings(
        function="own", formula="x^2 + 3 y^2 + 2 sin(3 x) cos(2 y)", start=(2.0, 2.0), iterations=60,
        optimizers=("gd", "adam", "sophia"), controllers=("ppo",), options={"gd": {"lr": 0.05}},
    )  # fmt: skip
    result = settings.run()
    assert (result.losses[:, -1] < 0.5 * result.losses[:, 0]).all()


@pytest.mark.parametrize("domain", [(1, 0, 0, 1), (0, 1, 0), "abcd", (0, 1, 0, float("inf"))])
def test_a_domain_that_is_none_gets_a_sentence(domain):
    with pytest.raises(InvalidSetting):
        FunctionSettings(function="own", domain=domain, start=None)
