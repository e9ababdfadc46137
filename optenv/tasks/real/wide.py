"""Held-out tasks of four times the width: 512, where no training task is wider than 128, or that of the namesake."""

from __future__ import annotations

from torch.nn import functional as F

from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import Mlp
from optenv.tasks.perceptron import PerceptronTask
from optenv.tasks.real import digits, tables
from optenv.tasks.real.fixed import Fixed

TASKS = (
    PerceptronTask("digits_mlp_x4", Mlp(64, (512,), 10), cross_entropy, Fixed(digits.load)),
    PerceptronTask("digits_autoencoder_x4", Mlp(64, (128, 32, 128), 64), F.mse_loss, Fixed(digits.load_pixels)),
    PerceptronTask("breast_cancer_x4", Mlp(30, (512,), 2), cross_entropy, Fixed(tables.breast_cancer)),
    PerceptronTask("friedman_x4", Mlp(10, (512,), 1, activation="tanh", normed=1), F.mse_loss, Fixed(tables.friedman)),
)
