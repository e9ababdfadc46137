"""Ill-conditioned quadratics, exact or seen through minibatches of a linear regression."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from optenv.tasks.synthetic import sampling
from optenv.tasks.synthetic.family import BATCH_SIZES, DrawnFamily, log_integer
from optenv.tasks.task import Batch, Data, Params, Task


@dataclass(frozen=True)
class Quadratic(Task):
    """The bowl f(x) = 0.5 (x - x*)^T H (x - x*), whose minimum is 0.

    The unknown is cut into blocks, one parameter group each; H couples them. An exact member's every
    batch is the whole bowl. The others sample rows a with E[a a^T] = H and targets b = a x* + noise,
    so that 0.5 (a x - b)^2 has the bowl's gradient on average; their validation set is the bowl itself.

    Attributes:
      name: the member's name.
      size: number of unknowns.
      blocks: number of parameter groups.
      examples: sampled rows; 0 for an exact member.
      noisy: whether the targets are noisy; without, the gradient noise vanishes at the minimum.
      batch_size: rows per inner step; 1 for an exact member.
    """

    name: str
    size: int
    blocks: int
    examples: int
    noisy: bool
    batch_size: int

    def init(self, generator: Generator) -> Params:
        """Draw a starting point from a standard normal."""
        start = sampling.normal(generator, self.size)
        return {f"block{k}.weight": part.clone() for k, part in enumerate(start.tensor_split(self.blocks))}

    def draw(self, generator: Generator) -> Data:
        """Draw H, of condition 10 to 1e5, and x*; rows (a [B, R, size]) and targets (b [B, R])."""
        scales = sampling.spectrum(generator, self.size, sampling.log_between(generator, 10.0, 1e5)).sqrt()
        root = sampling.rotate(generator, torch.diag(scales * sampling.log_between(generator, 0.1, 10.0)))
        minimum = sampling.normal(generator, self.size)
        if not self.examples:
            bowl = (root[None], (root @ minimum)[None])
            return Data(train=bowl, valid=bowl)
        rows = sampling.normal(generator, self.examples, self.size) @ root
        noise = sampling.log_between(generator, 1e-3, 1.0) if self.noisy else 0.0
        targets = rows @ minimum
        targets = targets + noise * targets.std() * sampling.normal(generator, self.examples)
        # The mean over `size` rows of this scale is the sum over the rows of the root of H.
        exact = root * self.size**0.5
        return Data(train=(rows[:, None], targets[:, None]), valid=(exact[:, None], (exact @ minimum)[:, None]))

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the mean of 0.5 |a x - b|^2 over the batch."""
        rows, targets = batch
        x = torch.cat([params[f"block{k}.weight"] for k in range(self.blocks)])
        return 0.5 * (rows @ x - targets).square().sum(-1).mean()


def _member(rng: random.Random, name: str) -> Task:
    size, kind = log_integer(rng, 8, 96), rng.choice(("exact", "interpolating", "noisy"))
    return Quadratic(
        name=name,
        size=size,
        blocks=rng.randint(1, 6),
        examples=0 if kind == "exact" else log_integer(rng, 128, 1024),
        noisy=kind == "noisy",
        batch_size=1 if kind == "exact" else rng.choice(BATCH_SIZES),
    )


FAMILY = DrawnFamily("quadratic", _member)
