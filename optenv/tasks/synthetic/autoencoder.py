"""Autoencoders on data that lie near a curved surface of few dimensions."""

from __future__ import annotations

import random
from functools import partial

from torch import Generator
from torch.nn import functional as F

from optenv.tasks.mlp import NORMS, Mlp, PerceptronTask
from optenv.tasks.synthetic import sampling
from optenv.tasks.synthetic.family import (
    ACTIVATION_NAMES,
    BATCH_SIZES,
    DrawnFamily,
    draw_examples,
    draw_gain,
    log_integer,
)
from optenv.tasks.task import Batch, Data, Task

# (hidden layers on either side of the bottleneck, norms): 2, 3, 4, 5, 6 and 6 groups.
_SHAPES = ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0))


def draw_data(generator: Generator, *, examples: int, inputs: int) -> Data:
    """Draw points (x [B, inputs]) near the image of a few latent variables.

    Drawn afresh for every run: the number of latent variables (at most a quarter of the features),
    the surface, the noise around it (1e-3 to 0.5) and the scales of the features.

    Args:
      generator: source of randomness.
      examples: size of the training set.
      inputs: number of features.
    """

    def draw(rows: sampling.Examples) -> Batch:
        rank = sampling.integer(rows.generator, 1, max(1, inputs // 4))
        latent = rows.normal(rank) * sampling.spectrum(rows.generator, rank, 10.0)
        noise = sampling.log_between(rows.generator, 1e-3, 0.5) * rows.normal(inputs)
        x = rows.teacher(latent, inputs) + noise
        return (sampling.conditioned(rows.generator, x, worst=10.0),)

    return sampling.draw_data(generator, examples, draw)


def _member(rng: random.Random, name: str) -> Task:
    inputs = log_integer(rng, 8, 96)
    around, normed = rng.choice(_SHAPES)
    wide = (log_integer(rng, 8, 96),) * around
    mlp = Mlp(
        inputs=inputs,
        hidden=(*wide, max(2, inputs // rng.choice((2, 4, 8))), *wide),
        outputs=inputs,
        activation=rng.choice(ACTIVATION_NAMES),
        norm=rng.choice(list(NORMS)),
        normed=normed,
        gain=draw_gain(rng),
    )
    source = partial(draw_data, examples=draw_examples(rng, inputs=inputs), inputs=inputs)
    return PerceptronTask(name, mlp, F.mse_loss, source, rng.choice(BATCH_SIZES))


FAMILY = DrawnFamily("synthetic_autoencoder", _member)
