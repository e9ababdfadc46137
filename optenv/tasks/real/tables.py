"""Small tables: three of scikit-learn's, and two that are computed."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from optenv.errors import needed_for
from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import Mlp, PerceptronTask
from optenv.tasks.real.fixed import Fixed, split, standardise
from optenv.tasks.task import Batch, Data


@cache
def examples(name: str) -> Batch:
    """Return a table of scikit-learn's: features, [B, D], and labels, [B], or targets, [B, 1]; not standardised."""
    with needed_for("the data of this task"):
        from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    target = torch.tensor(y)
    return torch.tensor(x, dtype=torch.float32), target.float()[:, None] if target.is_floating_point() else target


@cache
def breast_cancer() -> Data:
    """Return 569 tumours: 30 standardised measurements and the class, malignant or benign."""
    return standardise(split(*examples("breast_cancer")))


@cache
def wine() -> Data:
    """Return 178 wines: 13 standardised measurements and one of three cultivars."""
    return standardise(split(*examples("wine")))


@cache
def diabetes() -> Data:
    """Return 442 patients: 10 standardised measurements and the standardised progression of the disease."""
    return standardise(split(*examples("diabetes")), first=2)


@cache
def friedman() -> Data:
    """Return 1000 examples of Friedman's first function (1991), of 10 features and one noisy target, and 1000 for test.

    y = 10 sin(pi x1 x2) + 20 (x3 - 0.5)^2 + 10 x4 + 5 x5 + N(0, 1), x uniform in [0, 1]; five of the
    features have no effect. Both are standardised.
    """
    generator = Generator().manual_seed(1)
    seen, test = _friedman(generator), _friedman(generator)
    return standardise(replace(split(*seen), test=test), first=2)


def _friedman(generator: Generator) -> Batch:
    x = torch.rand(1000, 10, generator=generator)
    y = 10 * torch.sin(math.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    y = y + torch.randn(1000, generator=generator)
    return x, y[:, None]


@cache
def teacher_student_wide() -> Data:
    """Return 2048 examples of a teacher, 24 standard normal features, 3 targets, noise 1e-4, and 1000 for test."""
    generator = Generator().manual_seed(2)
    teacher = Mlp(24, (12,), 3, activation="elu", gain=1.5)
    x = torch.randn(2048, 24, generator=generator)
    params = teacher.init(generator)
    seen = x, _labelled(generator, teacher.apply(params, x))
    x = torch.randn(1000, 24, generator=generator)
    test = x, _labelled(generator, teacher.apply(params, x))
    return standardise(replace(split(*seen), test=test), first=2)


def _labelled(generator: Generator, y: Tensor) -> Tensor:
    return y + 1e-4 * y.std(0) * torch.randn(y.shape, generator=generator)


TASKS = (
    PerceptronTask("breast_cancer", Mlp(30, (), 2), cross_entropy, Fixed(breast_cancer)),
    PerceptronTask("wine", Mlp(13, (32,), 3), cross_entropy, Fixed(wine), batch_size=16),
    PerceptronTask("diabetes", Mlp(10, (32, 32), 1), F.mse_loss, Fixed(diabetes)),
    PerceptronTask("friedman", Mlp(10, (32, 32), 1, activation="tanh", normed=1), F.mse_loss, Fixed(friedman)),
    PerceptronTask(
        "teacher_student_wide",
        Mlp(24, (160,), 3, activation="elu"),
        F.mse_loss,
        Fixed(teacher_student_wide),
        batch_size=64,
    ),
)
