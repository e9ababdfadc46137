"""Suites: what a controller is judged on, as data."""

from __future__ import annotations

from dataclasses import dataclass

from optenv.errors import unknown_name

BASE_RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Case:
    """One task under one base optimizer with one budget.

    Attributes:
      task: a registered name.
      total: budget in inner steps.
      optimizer: the base optimizer.
      grouping: "layer" or "model".
    """

    task: str
    total: int
    optimizer: str = "adamw"
    grouping: str = "layer"


@dataclass(frozen=True)
class Suite:
    """Cases, base learning rates and the number of paired seeds."""

    name: str
    cases: tuple[Case, ...]
    rates: tuple[float, ...] = BASE_RATES
    num_seeds: int = 3


_HELD_OUT = (
    Case("digits_mlp", 400),
    Case("digits_conv", 300),
    Case("digits_autoencoder", 600),
    Case("breast_cancer", 300),
    Case("wine", 300),
    Case("diabetes", 400),
    Case("friedman", 600),
    Case("teacher_student_wide", 800),
    Case("char_transformer", 400),
    Case("char_gru", 400),
)

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("held_out", _HELD_OUT),
        Suite("quick", tuple(Case(task, 100) for task in ("breast_cancer", "wine", "diabetes")), (1e-4, 1e-2), 2),
    )
}


def get_suite(name: str) -> Suite:
    """Return the suite registered as `name`.

    Raises:
      ValueError: if there is none.
    """
    if name not in SUITES:
        raise unknown_name("suite", name, SUITES)
    return SUITES[name]
