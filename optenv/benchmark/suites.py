"""Suites: what a controller is judged on, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from optenv import tasks
from optenv.errors import unknown_name

BASE_RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
QUICK_STEPS, QUICK_SEEDS = 80, 2

# What one inner step of one run costs among 25, in units of digits_mlp's. The order of the cells and the progress
# bar's estimate read it, and nothing else: a task that is not here counts as 1.
STEP_COST = {"char_transformer": 22.0, "char_gru": 17.0, "digits_conv": 8.0, "digits_mlp_x4": 6.0}


@dataclass(frozen=True)
class Case:
    """One task under one base optimizer with one budget.

    Attributes:
      task: a registered name.
      total: budget in inner steps.
      optimizer: the base optimizer.
      grouping: "layer" or "model".
      options: the base optimizer's hyperparameters besides the learning rate, as (name, value).
    """

    task: str
    total: int
    optimizer: str = "adamw"
    grouping: str = "layer"
    options: tuple[tuple[str, float], ...] = ()

    @property
    def label(self) -> str:
        """The task, and the base optimizer where it is not AdamW."""
        return self.task if self.optimizer == "adamw" else f"{self.task} ({self.optimizer})"


@dataclass(frozen=True)
class Suite:
    """Cases, base learning rates and the number of paired seeds.

    Attributes:
      name: as in `--suite held_out`.
      cases: what is trained.
      rates: base learning rates of the methods that have no rate of their own.
      num_seeds: runs from seed 0 to this, at every rate.
      why: one line on what it asks.
      methods: names of the baselines run beside the controllers; None for all of them.
    """

    name: str
    cases: tuple[Case, ...]
    rates: tuple[float, ...] = BASE_RATES
    num_seeds: int = 3
    why: str = ""
    methods: tuple[str, ...] | None = None


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
_MOMENTUM = (("momentum", 0.9),)
_OTHER_OPTIMIZERS = tuple(
    Case(task, total, optimizer, options=options)
    for optimizer, options in (("sgd", _MOMENTUM), ("lion", ()))
    for task, total in (("digits_mlp", 400), ("digits_conv", 300), ("digits_autoencoder", 600), ("friedman", 600))
)
_REFERENCE = ("tuned", "constant")  # what a variant is held against

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("held_out", _HELD_OUT, num_seeds=5, why="tasks and architectures that no controller was trained on"),
        Suite(
            "long",
            tuple(Case(task, 10_000) for task in ("breast_cancer", "digits_mlp", "digits_autoencoder", "friedman")),
            (1e-5, 1e-3, 1e-1), 5, "ten times the longest horizon of the training", _REFERENCE,
        ),
        Suite(
            "wide",
            (Case("digits_mlp_x4", 400), Case("digits_autoencoder_x4", 600), Case("breast_cancer_x4", 300),
             Case("friedman_x4", 600)),
            num_seeds=5, why="four times the width", methods=_REFERENCE,
        ),
        Suite(
            "family", tuple(Case(f"matrix_completion:{index}", 400) for index in range(6)), num_seeds=5,
            why="a family of another kind: matrix completion, bilinear, a few rows at a time", methods=_REFERENCE,
        ),
        Suite(
            "optimizers", _OTHER_OPTIMIZERS, num_seeds=5, methods=_REFERENCE,
            why="other base optimizers, SGD with momentum 0.9 and Lion; the reference is the same optimizer, tuned",
        ),
        Suite("rates", _HELD_OUT, (1e-6, 1.0), 5, "base rates two and three decades off", _REFERENCE),
        Suite(
            "functions", tuple(Case(name, 200) for name in tasks.names() if name.startswith("function_")), num_seeds=5,
            why="two-dimensional test functions from random starts", methods=_REFERENCE,
        ),
        Suite("quick", tuple(Case(task, 100) for task in ("breast_cancer", "wine", "diabetes")), (1e-4, 1e-2), 2,
              "three small tables, for a first look"),
    )
}  # fmt: skip
VARIANTS = ("long", "wide", "family", "optimizers", "rates")


def get_suite(name: str) -> Suite:
    """Return the suite registered as `name`.

    Raises:
      ValueError: if there is none.
    """
    if name not in SUITES:
        raise unknown_name("suite", name, SUITES)
    return SUITES[name]


def shortened(suite: Suite) -> Suite:
    """Return the quick form of a suite: fewer steps and seeds, and three base rates at most.

    It shows that everything runs and roughly where each method stands; its numbers are not the suite's.
    """
    cases = tuple(replace(case, total=min(case.total, QUICK_STEPS)) for case in suite.cases)
    return replace(suite, cases=cases, rates=_ends_and_middle(suite.rates), num_seeds=min(suite.num_seeds, QUICK_SEEDS))


def _ends_and_middle(rates: Sequence[float]) -> tuple[float, ...]:
    return tuple(dict.fromkeys((rates[0], rates[len(rates) // 2], rates[-1])))


def step_cost(task: str) -> float:
    """Return what an inner step of one run costs, in units of digits_mlp's; see `STEP_COST`."""
    return STEP_COST.get(task, 1.0)
