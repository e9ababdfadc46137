"""Classification of Gaussian mixtures and of teacher networks' decisions; some labels are wrong."""

from __future__ import annotations

import random
from functools import partial

import torch
from torch import Generator, Tensor

from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import PerceptronTask
from optenv.tasks.synthetic import sampling
from optenv.tasks.synthetic.family import BATCH_SIZES, DrawnFamily, draw_examples, draw_mlp, log_integer
from optenv.tasks.task import Batch, Data


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

    def draw(rows: sampling.Examples) -> Batch:
        source = _mixture if sampling.chance(rows.generator, 0.5) else _decisions
        x, y = source(rows, inputs, classes)
        return sampling.conditioned(rows.generator, x), _mislabelled(rows, y, classes, wrong)

    return sampling.draw_data(generator, examples, draw)


def _mixture(rows: sampling.Examples, inputs: int, classes: int) -> tuple[Tensor, Tensor]:
    clusters = classes * sampling.integer(rows.generator, 1, 3)
    # Centres lie about separation * sqrt(2) apart whatever the dimension; the noise has unit scale.
    separation = sampling.log_between(rows.generator, 1.0, 8.0)
    centres = sampling.normal(rows.generator, clusters, inputs) * separation / inputs**0.5
    cluster = rows.integers(clusters)
    x = centres[cluster] + rows.normal(inputs)
    return x / (1 + separation**2 / inputs) ** 0.5, cluster % classes


def _decisions(rows: sampling.Examples, inputs: int, classes: int) -> tuple[Tensor, Tensor]:
    x = rows.normal(inputs)
    return x, rows.teacher(x, classes).argmax(-1)


def _mislabelled(rows: sampling.Examples, y: Tensor, classes: int, worst: float) -> Tensor:
    share = max(0.0, sampling.between(rows.generator, -worst, worst))
    wrong = rows.draw(lambda generator, count: torch.rand(count, generator=generator)) < share
    return torch.where(wrong, rows.integers(classes), y)


def draw_task(rng: random.Random, name: str) -> PerceptronTask:
    """Draw a classification task called `name`; every choice is made by `rng`."""
    inputs, classes = log_integer(rng, 4, 128), log_integer(rng, 2, 20)
    mlp = draw_mlp(rng, inputs=inputs, outputs=classes)
    source = partial(draw_data, examples=draw_examples(rng, inputs=inputs), inputs=inputs, classes=classes)
    return PerceptronTask(name, mlp, cross_entropy, source, rng.choice(BATCH_SIZES))


FAMILY = DrawnFamily("synthetic_classification", draw_task)
