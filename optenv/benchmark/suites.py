"""Suites: what a controller is judged on, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from optenv import tasks
from optenv.errors import unknown_name
from optenv.inner.layout import GROUPINGS
from optenv.inner.optimizers import OPTIMIZERS
from optenv.registry import by_name

BASE_RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
QUICK_STEPS, QUICK_SEEDS = 80, 2

# What one inner step of one run costs among 25, in units of digits_mlp's. The order of the cells and the progress
# bar's estimate read it, and nothing else: a task that is not here counts as 1.
STEP_COST = {
    "char_transformer": 22.0,
    "char_gru": 17.0,
    "digits_conv": 8.0,
    "digits_mlp_x4": 6.0,
    "mnist_mlp": 11.0,
    "mnist_deep": 11.0,
    "mnist_conv": 11.0,
    "deliveries": 4.5,
    "hotel_rates": 7.0,
    "rodents": 3.5,
    "prose_conv": 12.0,
    "denoise_unet": 11.0,
    "point_sets": 7.0,
}


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


def check_case(case: Case) -> tasks.Task:
    """Return the task of a case.

    Raises:
      ValueError: if its task, optimizer or grouping is unknown, or the task a whole family.
    """
    task, _ = tasks.get(case.task), OPTIMIZERS[case.optimizer]
    if not isinstance(task, tasks.Task):
        raise ValueError(f"task: expected a single task, such as '{case.task}:0'; received the family {case.task!r}")
    if case.grouping not in GROUPINGS:
        raise unknown_name("groups", case.grouping, GROUPINGS)
    return task


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
    Case("friedman", 600),
    Case("teacher_student_wide", 800),
    Case("char_transformer", 400),
    Case("char_gru", 400),
)
MOMENTUM = (("momentum", 0.9),)
_OTHER_OPTIMIZERS = tuple(
    Case(task, total, optimizer, options=options)
    for optimizer, options in (("sgd", MOMENTUM), ("lion", ()))
    for task, total in (("digits_mlp", 400), ("digits_conv", 300), ("digits_autoencoder", 600), ("friedman", 600))
)
_REAL = (
    Case("mnist_mlp", 400),
    Case("mnist_deep", 400),
    Case("mnist_conv", 300),
    Case("diamonds", 1000),
    Case("deliveries", 600),
    Case("hotel_rates", 600),
    Case("rodents", 800),
    Case("prose_conv", 500),
    Case("denoise_unet", 300),
    Case("point_sets", 1000),
)
_SMALL_TABLES = ("breast_cancer", "wine", "diabetes", "penguins", "boston", "concrete", "olive")
_REFERENCE = ("tuned", "constant")  # what a variant is held against

SUITES = by_name(
    "suite",
    (
        Suite("held_out", _HELD_OUT, num_seeds=5, why="tasks and architectures that no controller was trained on"),
        Suite("real", _REAL, num_seeds=5, why="real data, with test sets of at least 1,000 examples"),
        Suite("mnist", _REAL[:3], num_seeds=5, why="5,000 handwritten digits of 28 x 28, three architectures"),
        Suite(
            "small_tables", tuple(Case(f"{name}_splits", 300) for name in _SMALL_TABLES), num_seeds=20,
            why="small tables; every seed is another split",
        ),
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
    ),
)  # fmt: skip
VARIANTS = ("long", "wide", "family", "optimizers", "rates")


def shortened(suite: Suite) -> Suite:
    """Return the quick form of a suite: fewer steps and seeds, and three base rates at most.

    It shows that everything runs and roughly where each method stands; its numbers are not the suite's.
    """
    cases = tuple(replace(case, total=min(case.total, QUICK_STEPS)) for case in suite.cases)
    rates = suite.rates[0], suite.rates[len(suite.rates) // 2], suite.rates[-1]
    seeds = min(suite.num_seeds, QUICK_SEEDS)
    return replace(suite, cases=cases, rates=tuple(dict.fromkeys(rates)), num_seeds=seeds)
