"""Fifteen two-dimensional test functions, as data, and the tasks that minimise them from a random start."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from optenv.tasks.task import Batch, Data, Params, Task

# Schwefel's constant: the largest value of x sin(sqrt|x|) on [-500, 500].
_SCHWEFEL_DEPTH = 418.98288727243380
# Values of the plain functions at their minima.
_SIX_HUMP_DEPTH = 1.0316284534898774
_STYBLINSKI_DEPTH = 39.16616570377141


@dataclass(frozen=True)
class TestFunction:
    """A function of two variables with known minima; its least value is 0.

    Attributes:
      name: the function's name.
      evaluate: maps points [..., 2] to values [...]; differentiable everywhere by autograd.
      bounds: (x low, x high, y low, y high) of the region where runs start.
      minima: every global minimum in the region.
      formula: the function as text.
      why: one line on what it is hard about.
      source: who published it.
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    name: str
    evaluate: Callable[[Tensor], Tensor]
    bounds: tuple[float, float, float, float]
    minima: tuple[tuple[float, float], ...]
    formula: str
    why: str
    source: str


def _quadratic(point: Tensor) -> Tensor:
    x, y = point.unbind(-1)
    return x**2 + 10 * y**2


def _rastrigin(point: Tensor) -> Tensor:
    return (point**2 + 10 - 10 * torch.cos(2 * math.pi * point)).sum(-1)


def _rosenbrock(point: Tensor) -> Tensor:
    x, y = point.unbind(-1)
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def _himmelblau(point: Tensor) -> Tensor:
    x, y = point.unbind(-1)
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def _ackley(point: Tensor) -> Tensor:
    # vector_norm has gradient 0 at the origin, where a square root's is not a number; expm1 keeps
    # the value there exactly 0.
    radius = torch.linalg.vector_norm(point, dim=-1) / math.sqrt(2)
    waves = torch.cos(2 * math.pi * point).mean(-1)
    return -20 * torch.expm1(-0.2 * radius) - math.e * torch.expm1(waves - 1)


def _griewank(point: Tensor) -> Tensor:
    x, y = point.unbind(-1)
    return (x**2 + y**2) / 4000 + 1 - torch.cos(x) * torch.cos(y / math.sqrt(2))


def _schwefel(point: Tensor) -> Tensor:
    # Outside the region the sine term would fall without bound: a quadratic wall takes its place.
    inside = point.clamp(-500, 500)
    nonzero = inside != 0
    # The inner `where` keeps the infinite slope of the root at 0 out of the gradient.
    root = torch.where(nonzero, torch.where(nonzero, inside, 1).abs().sqrt(), 0)
    return (_SCHWEFEL_DEPTH - inside * torch.sin(root) + (point - inside) ** 2).sum(-1)


def _levy(point: Tensor) -> Tensor:
    u, v = (1 + (point - 1) / 4).unbind(-1)
    first, last = torch.sin(math.pi * u) ** 2, (v - 1) ** 2 * (1 + torch.sin(2 * math.pi * v) ** 2)
    return first + (u - 1) ** 2 * (1 + 10 * torch.sin(math.pi * u + 1) ** 2) + last


def _beale(point: Tensor) -> Tensor:
    x, y = point.unbind(-1)
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def _booth(point: Tensor) -> Tensor:
    x, y = point.unbind(-1)
    return (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2


def _three_hump_camel(point: Tensor) -> Tensor:
    x, y = point.unbind(-1)
    return 2 * x**2 - 1.05 * x**4 + x**6 / 6 + x * y + y**2


def _six_hump_camel(point: Tensor) -> Tensor:
    x, y = point.unbind(-1)
    return _SIX_HUMP_DEPTH + (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + 4 * (y**2 - 1) * y**2


def _styblinski_tang(point: Tensor) -> Tensor:
    return (_STYBLINSKI_DEPTH + (point**4 - 16 * point**2 + 5 * point) / 2).sum(-1)


def _goldstein_price(point: Tensor) -> Tensor:
    x, y = point.unbind(-1)
    first = 1 + (x + y + 1) ** 2 * (19 - 14 * x + 3 * x**2 - 14 * y + 6 * x * y + 3 * y**2)
    second = 30 + (2 * x - 3 * y) ** 2 * (18 - 32 * x + 12 * x**2 + 48 * y - 36 * x * y + 27 * y**2)
    return first * second - 3


def _easom(point: Tensor) -> Tensor:
    cosines = torch.cos(point).prod(-1)
    return 1 - cosines * torch.exp(-((point - math.pi) ** 2).sum(-1))


FUNCTIONS = (
    TestFunction(
        "quadratic", _quadratic, (-5, 5, -5, 5), ((0, 0),), "x^2 + 10 y^2",
        "a valley ten times steeper across than along: the rate that suits one is wrong for the other",
        "the standard example of ill-conditioning",
    ),
    TestFunction(
        "rastrigin", _rastrigin, (-5.12, 5.12, -5.12, 5.12), ((0, 0),),
        "20 + x^2 - 10 cos(2 pi x) + y^2 - 10 cos(2 pi y)",
        "a bowl full of dips, about a hundred local minima", "Rastrigin 1974",
    ),
    TestFunction(
        "rosenbrock", _rosenbrock, (-2, 2, -1, 3), ((1, 1),), "(1 - x)^2 + 100 (y - x^2)^2",
        "a curved valley with steep sides and a nearly flat floor", "Rosenbrock 1960",
    ),
    TestFunction(
        "himmelblau", _himmelblau, (-5, 5, -5, 5),
        (
            (3, 2),
            (-2.805118086952745, 3.131312518250573),
            (-3.779310253377747, -3.283185991286170),
            (3.584428340330492, -1.848126526964404),
        ),
        "(x^2 + y - 11)^2 + (x + y^2 - 7)^2",
        "four minima of equal depth: which one is reached depends on the path", "Himmelblau 1972",
    ),
    TestFunction(
        "ackley", _ackley, (-5, 5, -5, 5), ((0, 0),),
        "20 - 20 exp(-0.2 sqrt((x^2 + y^2) / 2)) + e - exp((cos(2 pi x) + cos(2 pi y)) / 2)",
        "a flat, rippled plain around one deep hole with a sharp tip", "Ackley 1987",
    ),
    TestFunction(
        "griewank", _griewank, (-10, 10, -10, 10), ((0, 0),), "1 + (x^2 + y^2) / 4000 - cos(x) cos(y / sqrt(2))",
        "waves as deep as the bowl they lie on is high", "Griewank 1981",
    ),
    TestFunction(
        "schwefel", _schwefel, (-500, 500, -500, 500), ((420.96874635998202, 420.96874635998202),),
        "2 * 418.9829 - x sin(sqrt|x|) - y sin(sqrt|y|); outside the region a quadratic wall",
        "the best minimum lies in a corner, far from the next best", "Schwefel 1981",
    ),
    TestFunction(
        "levy", _levy, (-10, 10, -10, 10), ((1, 1),),
        "sin^2(pi u) + (u - 1)^2 (1 + 10 sin^2(pi u + 1)) + (v - 1)^2 (1 + sin^2(2 pi v)), "
        "u = 1 + (x - 1) / 4, v = 1 + (y - 1) / 4",
        "parallel trenches across the way to the minimum", "Levy and Montalvo 1985",
    ),
    TestFunction(
        "beale", _beale, (-4.5, 4.5, -4.5, 4.5), ((3, 0.5),),
        "(1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2",
        "flat in the middle, cliffs at the corners", "Beale 1958",
    ),
    TestFunction(
        "booth", _booth, (-10, 10, -10, 10), ((1, 3),), "(x + 2 y - 7)^2 + (2 x + y - 5)^2",
        "a plain bowl, tilted: neither coordinate can be moved alone", "Booth, after Jamil and Yang 2013",
    ),
    TestFunction(
        "three_hump_camel", _three_hump_camel, (-5, 5, -5, 5), ((0, 0),), "2 x^2 - 1.05 x^4 + x^6 / 6 + x y + y^2",
        "three dips in one valley, walls that rise with the sixth power", "Branin 1972",
    ),
    TestFunction(
        "six_hump_camel", _six_hump_camel, (-2, 2, -1, 1),
        ((0.08984201310031806, -0.7126564030207396), (-0.08984201310031806, 0.7126564030207396)),
        "1.0316 + (4 - 2.1 x^2 + x^4 / 3) x^2 + x y + 4 (y^2 - 1) y^2",
        "two best minima among six, with saddles between them", "Dixon and Szego 1978",
    ),
    TestFunction(
        "styblinski_tang", _styblinski_tang, (-5, 5, -5, 5), ((-2.903534027771177, -2.903534027771177),),
        "78.3323 + (x^4 - 16 x^2 + 5 x + y^4 - 16 y^2 + 5 y) / 2",
        "four wells of different depth, one in each corner", "Styblinski and Tang 1990",
    ),
    TestFunction(
        "goldstein_price", _goldstein_price, (-2, 2, -2, 2), ((0, -1),),
        "(1 + (x + y + 1)^2 (19 - 14 x + 3 x^2 - 14 y + 6 x y + 3 y^2)) "
        "(30 + (2 x - 3 y)^2 (18 - 32 x + 12 x^2 + 48 y - 36 x y + 27 y^2)) - 3",
        "a flat cross between walls a million times as high", "Goldstein and Price 1971",
    ),
    TestFunction(
        "easom", _easom, (-2, 8, -2, 8), ((math.pi, math.pi),), "1 - cos(x) cos(y) exp(-(x - pi)^2 - (y - pi)^2)",
        "one narrow hole in a plain without a slope", "Easom 1990",
    ),
)  # fmt: skip

_NO_DATA = Data((), ())


@dataclass(frozen=True)
class FunctionTask(Task):
    """Minimisation of a test function; one group, `point`, and no data.

    Attributes:
      name: the task's name.
      function: a row of `FUNCTIONS`.
      batch_size: without meaning here.
    """

    name: str
    function: TestFunction
    batch_size: int = 1

    def init(self, generator: Generator) -> Params:
        """Draw a start, uniform in the function's region."""
        low_x, high_x, low_y, high_y = self.function.bounds
        low, high = torch.tensor([low_x, low_y]), torch.tensor([high_x, high_y])
        return {"point.weight": low + (high - low) * torch.rand(2, generator=generator)}

    def draw(self, generator: Generator) -> Data:
        """Return the data of a task without data."""
        return _NO_DATA

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the function's value."""
        # In float32 Schwefel's value near its minimum is the difference of two numbers of size 838.
        return self.function.evaluate(params["point.weight"].double()).float()


TASKS = tuple(FunctionTask(f"function_{function.name}", function) for function in FUNCTIONS)
