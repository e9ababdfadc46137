"""Classification of Gaussian mixtures and of teacher networks' decisions; some labels are wrong."""

from __future__ import annotations

import random
from functools import partial

import torch
from torch import Generator, Tensor

from optenv.tasks.layers import cross_entropy
from optenv.tasks.perceptron import PerceptronTask
from optenv.tasks.synthetic import sampling
from optenv.tasks.synthetic.family import BATCH_SIZES, DrawnFamily, draw_examples, draw_mlp, log_integer
from optenv.tasks.task import Data


def draw_data(generator: Generator, *, examples: int, inputs: int, classes: int, wrong: float = 0.3) -> Data:
    """Draw features (x [B, inputs]) and labels (y [B]).

    Drawn afresh for every run: mixture or teacher, their parameters, the conditioning of the
    features (up to 1e3) and the share of labels that are replaced by random ones (none in half of the draws).

    Args:
      generator: source of randomness.
      examples: size of the training set.
      inputs: number of features.
      classes: number of classes.
      wrong: largest share of labels that are replaced.
    """
    source = _mixture if sampling.chance(generator, 0.5) else _decisions
    x, y = source(generator, examples + sampling.VALID_EXAMPLES, inputs, classes)
    return sampling.split(sampling.conditioned(generator, x), _mislabelled(generator, y, classes, wrong))


def _mixture(generator: Generator, total: int, inputs: int, classes: int) -> tuple[Tensor, Tensor]:
    clusters = classes * sampling.integer(generator, 1, 3)
    # Centres lie about separation * sqrt(2) apart whatever the dimension; the noise has unit scale.
    separation = sampling.log_between(generator, 1.0, 8.0)
    centres = sampling.normal(generator, clusters, inputs) * separation / inputs**0.5
    cluster = torch.randint(clusters, (total,), generator=generator)
    x = centres[cluster] + sampling.normal(generator, total, inputs)
    return x / (1 + separation**2 / inputs) ** 0.5, cluster % classes


def _decisions(generator: Generator, total: int, inputs: int, classes: int) -> tuple[Tensor, Tensor]:
    x = sampling.normal(generator, total, inputs)
    return x, sampling.teacher(generator, x, classes).argmax(-1)


def _mislabelled(generator: Generator, y: Tensor, classes: int, worst: float) -> Tensor:
    share = max(0.0, sampling.between(generator, -worst, worst))
    wrong = torch.rand(y.shape, generator=generator) < share
    return torch.where(wrong, torch.randint(classes, y.shape, generator=generator), y)


def draw_task(rng: random.Random, name: str) -> PerceptronTask:
    """Draw a classification task called `name`; every choice is made by `rng`."""
    inputs, classes = log_integer(rng, 4, 128), log_integer(rng, 2, 20)
    mlp = draw_mlp(rng, inputs=inputs, outputs=classes)
    source = partial(draw_data, examples=draw_examples(rng, inputs=inputs), inputs=inputs, classes=classes)
    return PerceptronTask(name, mlp, cross_entropy, source, rng.choice(BATCH_SIZES))


FAMILY = DrawnFamily("synthetic_classification", draw_task)
