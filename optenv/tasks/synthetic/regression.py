"""Regression on noisy teachers, under several losses."""

from __future__ import annotations

import random
from functools import partial

from torch import Generator, Tensor
from torch.nn import functional as F

from optenv.tasks.mlp import PerceptronTask
from optenv.tasks.synthetic import sampling
from optenv.tasks.synthetic.family import BATCH_SIZES, DrawnFamily, draw_examples, draw_mlp, log_integer
from optenv.tasks.task import Batch, Data

# The squared error twice: it is what most regressions use.
CRITERIA = (F.mse_loss, F.mse_loss, F.l1_loss, F.smooth_l1_loss)


def draw_data(generator: Generator, *, examples: int, inputs: int, outputs: int) -> Data:
    """Draw features (x [B, inputs]) and targets (y [B, outputs]).

    Drawn afresh for every run: the teacher, the conditioning of the features (up to 1e3), the
    targets' scale (0.3 to 3) and noise (0.01 to 1.5 of that scale, sometimes with heavy tails).

    Args:
      generator: source of randomness.
      examples: size of the training set.
      inputs: number of features.
      outputs: number of targets.
    """

    def draw(rows: sampling.Examples) -> Batch:
        x = rows.normal(inputs)
        y = rows.teacher(x, outputs)
        scale = sampling.log_between(rows.generator, 0.3, 3.0)
        return sampling.conditioned(rows.generator, x), scale * (y + _noise(rows, outputs))

    return sampling.draw_data(generator, examples, draw)


def _noise(rows: sampling.Examples, outputs: int) -> Tensor:
    noise = rows.normal(outputs)
    if sampling.chance(rows.generator, 0.25):
        # Student's t with 3 degrees of freedom: a normal over the root of a mean of 3 squared normals.
        squares = rows.draw(lambda generator, count: sampling.normal(generator, 3, count, outputs).square(), axis=1)
        noise = noise / squares.mean(0).sqrt()
    return noise * sampling.log_between(rows.generator, 0.01, 1.5)


def draw_task(rng: random.Random, name: str) -> PerceptronTask:
    """Draw a regression task called `name`; every choice is made by `rng`."""
    inputs, outputs = log_integer(rng, 4, 128), log_integer(rng, 1, 8)
    mlp = draw_mlp(rng, inputs=inputs, outputs=outputs)
    source = partial(draw_data, examples=draw_examples(rng, inputs=inputs), inputs=inputs, outputs=outputs)
    return PerceptronTask(name, mlp, rng.choice(CRITERIA), source, rng.choice(BATCH_SIZES))


FAMILY = DrawnFamily("synthetic_regression", draw_task)
