"""Handwritten digits of 8 x 8 pixels (scikit-learn): a perceptron, convolutions, an autoencoder."""

from __future__ import annotations

from functools import cache

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from optenv.errors import needed_for
from optenv.tasks.layers import batch_norm, conv, cross_entropy, init_conv, init_linear, init_norm, linear
from optenv.tasks.mlp import Mlp, PerceptronTask
from optenv.tasks.real.fixed import Fixed, split
from optenv.tasks.task import Batch, Data, Params, Task


@cache
def load() -> Data:
    """Return 1527 training and 270 validation digits: pixels in [0, 1], [B, 64], and labels, [B]."""
    with needed_for("the data of this task"):
        from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return split(torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels), valid=0.15)


@cache
def load_pixels() -> Data:
    """Return the digits without their labels."""
    data = load()
    return Data(train=data.train[:1], valid=data.valid[:1])


class DigitsConv(Task):
    """Two convolutions with batch norm, of 8 and 16 channels, then a linear layer.

    The batch norms use the statistics of the batch at hand, in training and validation alike.
    """

    name = "digits_conv"
    batch_size = 32

    def init(self, generator: Generator) -> Params:
        """Draw fresh weights."""
        return {
            **init_conv(generator, "conv0", 1, 8, kernel=3),
            **init_norm("norm0", 8),
            **init_conv(generator, "conv1", 8, 16, kernel=3),
            **init_norm("norm1", 16),
            **init_linear(generator, "output", 16 * 4 * 4, 10),
        }

    def draw(self, generator: Generator) -> Data:
        """Return the digits."""
        return load()

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the mean cross-entropy in nats."""
        pixels, labels = batch
        x = _block(params, "0", pixels.unflatten(-1, (1, 8, 8)))
        x = _block(params, "1", _halved(x))
        return cross_entropy(linear(params, "output", x.flatten(1)), labels)


def _block(params: Params, k: str, x: Tensor) -> Tensor:
    return batch_norm(params, f"norm{k}", conv(params, f"conv{k}", x, padding=1)).relu()


def _halved(x: Tensor) -> Tensor:
    """Return the means of 2 x 2 pixels; under `vmap`, `F.avg_pool2d` takes five times as long."""
    left, right = x.unflatten(-1, (-1, 2)).unbind(-1)
    upper, lower = (left + right).unflatten(-2, (-1, 2)).unbind(-2)
    return (upper + lower) * 0.25


TASKS = (
    PerceptronTask("digits_mlp", Mlp(64, (64,), 10), cross_entropy, Fixed(load)),
    DigitsConv(),
    PerceptronTask("digits_autoencoder", Mlp(64, (32, 8, 32), 64), F.mse_loss, Fixed(load_pixels)),
)
