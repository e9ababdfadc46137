"""A family held out as a whole: matrix completion, bilinear in its parameters, gradients of a few rows at a time."""

from __future__ import annotations

import random
from dataclasses import dataclass

from torch import Generator, Tensor

from optenv.tasks.layers import embedding
from optenv.tasks.synthetic import sampling
from optenv.tasks.synthetic.family import BATCH_SIZES, DrawnFamily, log_integer
from optenv.tasks.task import Batch, Data, Params, Task


@dataclass(frozen=True)
class MatrixCompletion(Task):
    """Mean squared error of u_i . v_j + a_i + b_j against noisy entries of a matrix of low rank (Koren et al. 2009).

    Attributes:
      name: the member's name.
      rows: rows of the matrix.
      columns: its columns.
      rank: length of the factors u and v.
      true_rank: rank of what is to be completed.
      examples: observed entries.
      batch_size: entries per inner step.
    """

    name: str
    rows: int
    columns: int
    rank: int
    true_rank: int
    examples: int
    batch_size: int

    def init(self, generator: Generator) -> Params:
        """Draw small factors and smaller offsets: 4 groups."""
        scale = 0.3 / self.rank**0.5
        return {
            "row.weight": scale * sampling.normal(generator, self.rows, self.rank),
            "column.weight": scale * sampling.normal(generator, self.columns, self.rank),
            "row_offset.weight": 1e-3 * sampling.normal(generator, self.rows, 1),
            "column_offset.weight": 1e-3 * sampling.normal(generator, self.columns, 1),
        }

    def draw(self, generator: Generator) -> Data:
        """Draw a matrix and entries of it: rows i and columns j, whole numbers [B], and values y [B]."""

        def draw(entries: sampling.Examples) -> Batch:
            u, v = (sampling.normal(entries.generator, n, self.true_rank) for n in (self.rows, self.columns))
            a, b = (sampling.normal(entries.generator, n, 1) for n in (self.rows, self.columns))
            matrix = u @ v.mT / self.true_rank**0.5 + a + b.mT
            i, j = entries.integers(self.rows), entries.integers(self.columns)
            noise = sampling.log_between(entries.generator, 0.03, 0.5) * entries.normal()
            return i, j, matrix[i, j] + noise

        return sampling.draw_data(generator, self.examples, draw)

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the mean squared error of the entries."""
        i, j, y = batch
        offsets = embedding(params, "row_offset", i) + embedding(params, "column_offset", j)
        products = embedding(params, "row", i) * embedding(params, "column", j)
        return (products.sum(-1) + offsets[..., 0] - y).square().mean()


def _member(rng: random.Random, name: str) -> Task:
    rows, columns = log_integer(rng, 20, 80), log_integer(rng, 20, 80)
    return MatrixCompletion(
        name=name,
        rows=rows,
        columns=columns,
        rank=log_integer(rng, 2, 12),
        true_rank=log_integer(rng, 1, 6),
        examples=round(rng.uniform(0.4, 1.2) * rows * columns) + 256,
        batch_size=rng.choice(BATCH_SIZES),
    )


FAMILY = DrawnFamily("matrix_completion", _member)
