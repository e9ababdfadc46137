"""The settings of the page of functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

from agents.playground.fields import VIEWS, Settings, controller_names, named, ranged
from agents.playground.formula import LONGEST, NAME, own_function
from agents.playground.optimizers import OPTIMIZERS, Value, check_options
from agents.playground.race import Entrant, Race, race, random_start
from agents.playground.validation import InvalidSetting, number
from optenv.figures.picture import COLOR_MAPS
from optenv.tasks.functions import FUNCTIONS, TestFunction

MAX_METHODS = 40
FUNCTION = {function.name: function for function in FUNCTIONS}
HEIGHTS = ("log", "linear")
DOMAIN = (-5.0, 5.0, -5.0, 5.0)
FARTHEST = 1e4


def function_names() -> list[str]:
    """List the test functions, the person's own last."""
    return [*FUNCTION, NAME]


@lru_cache(maxsize=64)
def find_function(name: str, formula: str, domain: tuple[float, float, float, float]) -> TestFunction:
    """Return a test function by name, or the person's own made from its formula.

    Raises:
      InvalidSetting: if the formula is none.
    """
    return own_function(formula, domain) if name == NAME else FUNCTION[name]


@dataclass(frozen=True, kw_only=True)
class FunctionSettings(Settings):
    """Settings of the page of functions.

    Attributes:
      function: which one; "own" is the formula's.
      formula: of x and y, for the function "own".
      domain: (x low, x high, y low, y high) of the function "own".
      start: where all methods begin, or None for a random point.
      optimizers: those compared.
      options: what is set of them, by optimizer and option; the rest are defaults.
      controllers: each is put on top of each optimizer, beside the optimizer alone.
      iterations: steps of each.
      noise: standard deviation of the gradient noise, in units of the gradient.
      l1: weight of |x| + |y|; with it each method also runs without any penalty.
      l2: weight of (x^2 + y^2) / 2; likewise.
      tolerance: loss that counts as arrived.
      view: "contour" or "surface".
      colors: of the contours and the surface.
      heights: "log" or "linear".
    """

    page: ClassVar[str] = "functions"
    function: str = named("himmelblau", "function", function_names)
    formula: str = "x^2 + 3 y^2 + 2 sin(3 x) cos(2 y)"
    domain: tuple[float, float, float, float] = DOMAIN
    start: tuple[float, float] | None = (-1.0, -4.0)
    optimizers: tuple[str, ...] = named(("gd", "sgd", "adam", "lion", "sophia"), "optimizer", OPTIMIZERS.keys)
    options: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    controllers: tuple[str, ...] = named((), "controller", controller_names)
    iterations: int = ranged(200, 1, 5000)
    noise: float = ranged(0.0, 0.0, 1e6)
    l1: float = ranged(0.0, 0.0, 1e6)
    l2: float = ranged(0.0, 0.0, 1e6)
    tolerance: float = ranged(1e-3, 0.0, 1e6)
    view: str = named("contour", "view", lambda: VIEWS)
    colors: str = named("cividis", "colors", lambda: COLOR_MAPS)
    heights: str = named("log", "heights", lambda: HEIGHTS)

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        self._check_formula()
        self._check_start()
        if not isinstance(self.options, Mapping) or not all(isinstance(v, Mapping) for v in self.options.values()):
            template = "{kind}: expected values by name; received {value!r}"
            raise InvalidSetting(template, kind="options", value=self.options)
        for name, options in self.options.items():
            check_options(OPTIMIZERS[name], options)

    def _check_formula(self) -> None:
        formula: object = self.formula
        if not isinstance(formula, str):
            raise InvalidSetting("{kind}: expected a text; received {value!r}", kind="formula", value=formula)
        given: object = self.domain
        if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 4:
            raise InvalidSetting("{kind}: expected four numbers; received {value!r}", kind="domain", value=given)
        domain = tuple(float(number("domain", value, -FARTHEST, FARTHEST)) for value in given)
        if domain[0] >= domain[1] or domain[2] >= domain[3]:
            raise InvalidSetting(
                "The domain's lower ends have to be below its upper ends; received {value}", value=domain
            )
        object.__setattr__(self, "domain", domain)
        self.test_function()

    def test_function(self) -> TestFunction:
        """Return the function.

        Raises:
          InvalidSetting: if it is the person's own, and its formula is none.
        """
        return find_function(self.function, self.formula[: LONGEST + 1], self.domain)

    def _check_start(self) -> None:
        if self.start is None:
            return
        if isinstance(self.start, str) or not isinstance(self.start, Sequence) or len(self.start) != 2:
            raise InvalidSetting("{kind}: expected two numbers; received {value!r}", kind="start", value=self.start)
        low_x, high_x, low_y, high_y = self.test_function().bounds
        start = number("x", self.start[0], low_x, high_x), number("y", self.start[1], low_y, high_y)
        object.__setattr__(self, "start", start)

    def methods(self) -> list[Entrant]:
        """List what is compared.

        Raises:
          InvalidSetting: if there is nothing to compare, or too much.
        """
        penalties = [(0.0, 0.0)] + ([(self.l1, self.l2)] if self.l1 or self.l2 else [])
        methods = [
            Entrant(name, dict(self.options.get(name, {})), controller, *penalty)
            for name in self.optimizers
            for controller in ("", *self.controllers)
            for penalty in penalties
        ]
        if not methods:
            raise InvalidSetting("Nothing to compare yet: choose at least one optimizer.")
        if len(methods) > MAX_METHODS:
            raise InvalidSetting(
                "{count} methods are more than the {most} a picture can hold: choose fewer optimizers or controllers.",
                count=len(methods),
                most=MAX_METHODS,
            )
        return methods

    def run(self) -> Race:
        """Run the race.

        Raises:
          ValueError: if there is nothing to compare, or an optimizer refuses its options.
        """
        function = self.test_function()
        start = self.start or random_start(function, self.seed)
        return race(function, self.methods(), start, self.iterations, noise=self.noise, seed=self.seed)
