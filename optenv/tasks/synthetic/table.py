"""Standardised tables under plain perceptrons: classes far apart or not, targets with much or little noise."""

from __future__ import annotations

import random
from functools import partial

from torch import Generator
from torch.nn import functional as F

from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import NORMS, Mlp, PerceptronTask
from optenv.tasks.synthetic import sampling
from optenv.tasks.synthetic.family import ACTIVATION_NAMES, GROUP_COUNTS, MAX_PARAMS, DrawnFamily, log_integer
from optenv.tasks.task import Batch, Data, Task

# The other families draw most choices from wide ranges; here they are what people commonly take.
WIDTHS = (16, 32, 64, 128, 256)
BATCH_SIZES = (16, 32, 32, 64)
EXAMPLES = (100, 2000)


def draw_classes(generator: Generator, *, examples: int, inputs: int, classes: int, separation: float) -> Data:
    """Draw standardised features (x [B, inputs]) and labels (y [B]), all right, of a Gaussian mixture.

    Drawn afresh for every run: up to three clusters a class, their centres, the correlation of the features.

    Args:
      generator: source of randomness.
      examples: size of the training set.
      inputs: number of features.
      classes: number of classes.
      separation: distance between centres in units of sqrt(2) standard deviations: at 2 classes overlap, at 6 hardly.
    """

    def draw(rows: sampling.Examples) -> Batch:
        clusters = classes * sampling.integer(rows.generator, 1, 3)
        centres = sampling.normal(rows.generator, clusters, inputs) * separation / inputs**0.5
        cluster = rows.integers(clusters)
        x = sampling.conditioned(rows.generator, centres[cluster] + rows.normal(inputs), worst=30.0)
        return rows.standardised(x), cluster % classes

    return sampling.draw_data(generator, examples, draw)


def draw_targets(generator: Generator, *, examples: int, inputs: int, noise: float) -> Data:
    """Draw standardised features (x [B, inputs]) and a standardised target (y [B, 1]) of a random network.

    Args:
      generator: source of randomness.
      examples: size of the training set.
      inputs: number of features.
      noise: standard deviation of the noise over that of the target without it.
    """

    def draw(rows: sampling.Examples) -> Batch:
        x = rows.standardised(sampling.conditioned(rows.generator, rows.normal(inputs), worst=30.0))
        y = rows.teacher(x, 1)
        return x, rows.standardised(y + noise * rows.normal(1))

    return sampling.draw_data(generator, examples, draw)


def _classification(rng: random.Random, name: str) -> Task:
    inputs, classes = log_integer(rng, 4, 64), log_integer(rng, 2, 12)
    source = partial(
        draw_classes,
        examples=log_integer(rng, *EXAMPLES),
        inputs=inputs,
        classes=classes,
        separation=rng.uniform(1.5, 8.0),
    )
    return PerceptronTask(name, _perceptron(rng, inputs, classes), cross_entropy, source, rng.choice(BATCH_SIZES))


def _regression(rng: random.Random, name: str) -> Task:
    inputs = log_integer(rng, 4, 64)
    source = partial(
        draw_targets, examples=log_integer(rng, *EXAMPLES), inputs=inputs, noise=10.0 ** rng.uniform(-2.0, 0.3)
    )
    return PerceptronTask(name, _perceptron(rng, inputs, 1), F.mse_loss, source, rng.choice(BATCH_SIZES))


def _perceptron(rng: random.Random, inputs: int, outputs: int) -> Mlp:
    """Draw a perceptron of at most `MAX_PARAMS` parameters and an allowed number of groups."""
    while True:
        depth = rng.choice((0, 1, 1, 2, 2, 2, 3))
        mlp = Mlp(
            inputs=inputs,
            hidden=(rng.choice(WIDTHS),) * depth,
            outputs=outputs,
            activation=rng.choice(ACTIVATION_NAMES),
            norm=rng.choice(list(NORMS)),
            normed=depth if rng.random() < 0.3 else 0,
        )
        if mlp.num_params <= MAX_PARAMS and mlp.num_groups in GROUP_COUNTS:
            return mlp


CLASSIFICATION = DrawnFamily("table_classification", _classification)
REGRESSION = DrawnFamily("table_regression", _regression)
