"""Presets of the page of functions: comparisons worth seeing, one row of data each."""

from __future__ import annotations

from dataclasses import dataclass

from agents.playground.function_settings import FunctionSettings
from optenv.registry import Registry, by_name


@dataclass(frozen=True)
class Preset:
    """A comparison.

    Attributes:
      name: on the page.
      why: what to look at.
      settings: all of them; applying a preset leaves nothing of the settings before.
    """

    name: str
    why: str
    settings: FunctionSettings


PRESETS: Registry[Preset] = by_name(
    "preset",
    (
        Preset(
            "With and without a controller",
            "The dashed paths are the same optimizers under “ppo”, trained on small networks, not on this.",
            FunctionSettings(
                start=(0.2, -4.5), optimizers=("gd", "adam", "lion"), controllers=("ppo",),
                options={"adam": {"lr": 0.3}, "lion": {"lr": 0.1}},
            ),
        ),
        Preset(
            "Four minima",
            "Himmelblau's function has four: where a method ends depends on how it moves, not on the start alone.",
            FunctionSettings(
                start=(0.2, -4.5), options={"sgd": {"lr": 4e-3}, "adam": {"lr": 0.3}, "lion": {"lr": 0.1},
                                            "sophia": {"lr": 0.3}},
            ),
        ),
        Preset(
            "Long valley",
            "In a valley with one steep and one flat side the rate that is safe for one is slow for the other.",
            FunctionSettings(
                function="quadratic", start=(-4.5, 1.5), optimizers=("gd", "sgd", "adagrad", "adam", "sophia"),
                options={"gd": {"lr": 0.09}, "sgd": {"lr": 0.01}, "adam": {"lr": 0.1}, "sophia": {"lr": 0.3}},
                iterations=120,
            ),
        ),
        Preset(
            "Curved valley, all twelve",
            "Rosenbrock's valley is easy to find and hard to follow.",
            FunctionSettings(
                function="rosenbrock", start=(-1.5, 2.0),
                optimizers=("gd", "sgd", "rmsprop", "adagrad", "adam", "amsgrad", "adamw", "sophia", "lion", "lars",
                            "adan", "mars"),
                iterations=500,
            ),
        ),
        Preset(
            "Many local minima",
            "Rastrigin's function holds small steps in the nearest dip; momentum and noise carry some of them on.",
            FunctionSettings(
                function="rastrigin", start=(3.3, -2.2), optimizers=("sgd", "adam", "lion", "adan"), noise=20.0,
                options={"sgd": {"lr": 0.002}, "adam": {"lr": 0.3}, "adan": {"lr": 0.3}, "lion": {"lr": 0.1}},
            ),
        ),
        Preset(
            "Too high a rate",
            "Above 0.1 gradient descent diverges here, and is shown so; a controller with its own first step does not.",
            FunctionSettings(
                function="quadratic", start=(-4.5, 1.5), optimizers=("gd",), options={"gd": {"lr": 0.15}},
                controllers=("ppo", "cosine"), iterations=200,
            ),
        ),
        Preset(
            "Too low a rate",
            "At a rate a hundred times too low Adam hardly moves; a controller that may raise it does.",
            FunctionSettings(
                function="beale", start=(-1.0, 2.0), optimizers=("adam",), options={"adam": {"lr": 1e-4}},
                controllers=("ppo",), iterations=300,
            ),
        ),
        Preset(
            "L2 against none",
            "A penalty on the weights moves the minimum towards 0: each method runs with and without it.",
            FunctionSettings(
                function="himmelblau", start=(0.0, 0.0), optimizers=("sgd", "adam"), l2=10.0, iterations=200,
                options={"sgd": {"lr": 0.002}},
            ),
        ),
        Preset(
            "Noise",
            "The same noise for all: averages of the gradient help, and a rate that falls helps more.",
            FunctionSettings(
                function="quadratic", start=(-4.0, 3.0), optimizers=("gd", "sgd", "adam"), controllers=("linear",),
                options={"gd": {"lr": 0.03}, "sgd": {"lr": 0.01}, "adam": {"lr": 0.2}}, noise=10.0, iterations=300,
            ),
        ),
    ),
)  # fmt: skip
