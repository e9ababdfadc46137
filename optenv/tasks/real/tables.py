"""Small tables: three of scikit-learn's, and two that are computed."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import Mlp
from optenv.tasks.perceptron import PerceptronTask
from optenv.tasks.real.fixed import Fixed, split, standardise
from optenv.tasks.task import Data


def _features(table: tuple) -> Tensor:
    return torch.tensor(table[0], dtype=torch.float32)


@cache
def breast_cancer() -> Data:
    """Return 569 tumours: 30 standardised measurements and the class, malignant or benign."""
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer(return_X_y=True)
    return standardise(split(_features(table), torch.tensor(table[1])))


@cache
def wine() -> Data:
    """Return 178 wines: 13 standardised measurements and one of three cultivars."""
    from sklearn.datasets import load_wine

    table = load_wine(return_X_y=True)
    return standardise(split(_features(table), torch.tensor(table[1])))


@cache
def diabetes() -> Data:
    """Return 442 patients: 10 standardised measurements and the standardised progression of the disease."""
    from sklearn.datasets import load_diabetes

    table = load_diabetes(return_X_y=True)
    target = torch.tensor(table[1], dtype=torch.float32)[:, None]
    return standardise(split(_features(table), target), first=2)


@cache
def friedman() -> Data:
    """Return 1000 examples of Friedman's first function (1991), of 10 features and one noisy target.

    y = 10 sin(pi x1 x2) + 20 (x3 - 0.5)^2 + 10 x4 + 5 x5 + N(0, 1), x uniform in [0, 1]; five of the
    features have no effect. Both are standardised.
    """
    generator = Generator().manual_seed(1)
    x = torch.rand(1000, 10, generator=generator)
    y = 10 * torch.sin(math.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    y = y + torch.randn(1000, generator=generator)
    return standardise(split(x, y[:, None]), first=2)


@cache
def teacher_student_wide() -> Data:
    """Return 2048 examples of a fixed teacher, 24 standard normal features, 3 targets, noise 1e-4."""
    generator = Generator().manual_seed(2)
    teacher = Mlp(24, (12,), 3, activation="elu", gain=1.5)
    x = torch.randn(2048, 24, generator=generator)
    y = teacher.apply(teacher.init(generator), x)
    y = y + 1e-4 * y.std(0) * torch.randn(y.shape, generator=generator)
    return standardise(split(x, y), first=2)


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
