"""A person's own function, typed as a formula of x and y; read by this parser alone and never run as Python.

    sum      = product (("+" | "-") product)*
    product  = sign (("*" | "/" | nothing) sign)*
    sign     = ("+" | "-") sign | power
    power    = atom (("^" | "**") sign)?
    atom     = number | "x" | "y" | "pi" | "e" | function "(" sum ")" | "(" sum ")" | "|" sum "|"

Numbers are floats from the start: 9^9^9 is infinite, at once, and not an integer with 370 million digits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import torch
from torch import Tensor

from agents.playground.validation import InvalidSetting
from optenv.tasks.functions import TestFunction

LONGEST, DEEPEST = 300, 50  # characters; brackets within brackets
NAME = "own"
Value = Callable[[Tensor, Tensor], Tensor]
Bounds = tuple[float, float, float, float]

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": torch.sin, "cos": torch.cos, "tan": torch.tan, "exp": torch.exp, "log": torch.log, "ln": torch.log,
    "sqrt": torch.sqrt, "abs": torch.abs, "tanh": torch.tanh, "sinh": torch.sinh, "cosh": torch.cosh,
    "atan": torch.atan, "sign": torch.sign,
}  # fmt: skip
CONSTANTS = {"pi": math.pi, "e": math.e}
_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([A-Za-z]+)|(\*\*|[-+*/^()|]))")
_ATOMS, _SIGNS = "1.5 x y sin() ( |", "+ - * / ^"
_GRID, _POLISH = 201, 50


def parse(text: str) -> Value:
    """Read a formula.

    Args:
      text: such as "x^2 + 10 y^2" or "(1 - x)^2 + 100 (y - x^2)^2"; "2 x" and "2 (x + y)" multiply.

    Returns:
      From x and y, [...] each, to values, [...], differentiable by autograd.

    Raises:
      InvalidSetting: with the place, if it is no formula.
    """
    if len(text) > LONGEST:
        template = "The formula has {count} characters; {most} are the most."
        raise InvalidSetting(template, count=len(text), most=LONGEST)
    parser = _Parser(text)
    value = parser.sum()
    if parser.token:
        parser.expected(_SIGNS)
    return value


def own_function(text: str, bounds: Bounds) -> TestFunction:
    """Make a test function of a formula, shifted so that its least value in the domain is 0.

    The least value is searched for on a grid, and from its best point on with Newton's method.

    Raises:
      InvalidSetting: if it is no formula, or nowhere on the grid a number.
    """
    value = parse(text)

    def evaluate(points: Tensor) -> Tensor:
        x, y = points.unbind(-1)
        return value(x, y) + 0.0 * (x * x + y * y)  # what does not depend on a point still has derivatives there

    lowest, minima = _minima(evaluate, bounds)
    shift = f" {'-' if lowest >= 0 else '+'} {abs(lowest):.6g}" if lowest else ""
    return TestFunction(
        NAME, lambda points: evaluate(points) - lowest, bounds, minima, text.strip() + shift,
        "your own; shown above its least value in the domain", "",
    )  # fmt: skip


def _minima(evaluate: Callable[[Tensor], Tensor], bounds: Bounds) -> tuple[float, tuple[tuple[float, float], ...]]:
    """Return the least value in the domain, and where it is taken."""
    low_x, high_x, low_y, high_y = bounds
    x, y = (torch.linspace(low, high, _GRID, dtype=torch.float64) for low, high in ((low_x, high_x), (low_y, high_y)))
    points = torch.stack(torch.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    values = evaluate(points)
    finite = torch.isfinite(values)
    if not finite.any():
        raise InvalidSetting("The formula is nowhere in the domain a finite number.")
    best = points[torch.where(finite, values, torch.inf).argmin()]
    best, lowest = _polished(evaluate, best, bounds)
    return lowest, ((float(best[0]), float(best[1])),)


def _polished(evaluate: Callable[[Tensor], Tensor], best: Tensor, bounds: Bounds) -> tuple[Tensor, float]:
    """Take Newton steps while they lead down and stay in the domain."""
    low, high = torch.tensor(bounds[::2], dtype=torch.float64), torch.tensor(bounds[1::2], dtype=torch.float64)
    lowest = float(evaluate(best))
    for _ in range(_POLISH):
        point = best.clone().requires_grad_()
        (slope,) = torch.autograd.grad(evaluate(point), point, create_graph=True)
        rows = [torch.autograd.grad(partial, point, retain_graph=True)[0] for partial in slope]
        if not torch.isfinite(torch.stack([slope, *rows])).all():
            break
        step = torch.linalg.lstsq(torch.stack(rows), slope.detach()[:, None]).solution[:, 0]
        after = torch.minimum(torch.maximum(best - step, low), high)
        reached = float(evaluate(after))
        if not reached < lowest:
            break
        best, lowest = after, reached
    return best, lowest


class _Parser:
    """Recursive descent over the tokens of a formula."""

    def __init__(self, text: str):
        self._text, self._end, self.token, self._kind, self._start = text, 0, "", "", 0
        self._in_bars = False  # there, the next | closes
        self._depth = 0
        self._next()

    def _next(self) -> str:
        """Move on, and return the token passed."""
        passed, rest = self.token, self._text[self._end :]
        self._start = self._end + len(rest) - len(rest.lstrip())
        found = _TOKEN.match(self._text, self._end)
        self.token, self._kind = "", "end"
        if found:
            self.token, self._end = found[found.lastindex or 0], found.end()
            self._kind = ("number", "name", "sign")[(found.lastindex or 1) - 1]
        elif rest.strip():
            self.token = rest.strip()[0]
            self.expected(f"{_ATOMS} {_SIGNS}")
        return passed

    def expected(self, what: str) -> None:
        """Say what does not fit, and where.

        Raises:
          InvalidSetting: always.
        """
        if not self.token:
            raise InvalidSetting("The formula ends too early: expected {what}", what=what)
        template = "Formula, character {place}: {token!r} does not fit here; expected {what}"
        raise InvalidSetting(template, place=self._start + 1, token=self.token, what=what)

    def sum(self) -> Value:
        value = self._product()
        while self.token in ("+", "-"):
            value = _plus(value, self._product()) if self._next() == "+" else _minus(value, self._product())
        return value

    def _product(self) -> Value:
        value = self._sign()
        while self.token in ("*", "/", "(") or self._kind in ("number", "name") or self._opens_bars():
            if self.token == "/":
                self._next()
                value = _over(value, self._sign())
            else:
                if self.token == "*":
                    self._next()
                value = _times(value, self._sign())
        return value

    def _opens_bars(self) -> bool:
        return self.token == "|" and not self._in_bars

    def _sign(self) -> Value:
        if self.token == "-":
            self._next()
            return _minus(_number(0.0), self._sign())
        if self.token == "+":
            self._next()
            return self._sign()
        return self._power()

    def _power(self) -> Value:
        base = self._atom()
        if self.token not in ("^", "**"):
            return base
        self._next()
        return _raised(base, self._sign())

    def _atom(self) -> Value:
        if self._kind == "number":
            return _number(float(self._next()))
        if self._kind == "name":
            return self._name()
        closing = {"(": ")", "|": "|"}.get(self.token)
        if closing is None:
            self.expected(_ATOMS)
        opening = self._next()
        value = self._inside(str(closing))
        return _applied(torch.abs, value) if opening == "|" else value

    def _name(self) -> Value:
        name = self.token
        if name in FUNCTIONS:
            self._next()
            if self.token != "(":
                self.expected("(")
            self._next()
            return _applied(FUNCTIONS[name], self._inside(")"))
        if name in CONSTANTS:
            self._next()
            return _number(CONSTANTS[name])
        if name not in ("x", "y"):
            self.expected(" ".join(("x", "y", *CONSTANTS, *FUNCTIONS)))
        self._next()
        return (lambda x, y: x) if name == "x" else (lambda x, y: y)

    def _inside(self, closing: str) -> Value:
        """Read a sum and the sign that closes it."""
        outside, self._in_bars = self._in_bars, closing == "|"
        self._depth += 1
        if self._depth > DEEPEST:
            raise InvalidSetting("The formula has more than {most} brackets within brackets.", most=DEEPEST)
        value = self.sum()
        self._in_bars, self._depth = outside, self._depth - 1
        if self.token != closing:
            self.expected(closing)
        self._next()
        return value


def _number(number: float) -> Value:
    return lambda x, y: torch.full_like(x, number)


def _plus(a: Value, b: Value) -> Value:
    return lambda x, y: a(x, y) + b(x, y)


def _minus(a: Value, b: Value) -> Value:
    return lambda x, y: a(x, y) - b(x, y)


def _times(a: Value, b: Value) -> Value:
    return lambda x, y: a(x, y) * b(x, y)


def _over(a: Value, b: Value) -> Value:
    return lambda x, y: a(x, y) / b(x, y)


def _applied(function: Callable[[Tensor], Tensor], a: Value) -> Value:
    return lambda x, y: function(a(x, y))


def _raised(base: Value, exponent: Value) -> Value:
    """A power whose exponent is the same everywhere keeps the gradient right at a base of 0 or below."""

    def raised(x: Tensor, y: Tensor) -> Tensor:
        powers = exponent(x, y)
        flat = powers.detach().reshape(-1)
        if not powers.requires_grad and flat.numel() and bool((flat == flat[0]).all()):
            return base(x, y) ** float(flat[0])
        return base(x, y) ** powers

    return raised
