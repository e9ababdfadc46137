"""A perceptron, a criterion and a source of data: most tasks are these three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor

from optenv.tasks.mlp import Mlp
from optenv.tasks.task import Batch, Data, Params, Task


@dataclass(frozen=True)
class PerceptronTask(Task):
    """A perceptron trained on pairs (x, y), or as an autoencoder on (x,).

    Attributes:
      name: the task's name.
      mlp: the architecture.
      criterion: maps outputs [B, outputs] and the last tensor of the batch to a scalar.
      source: draws one run's data; a fixed data set returns the same object every time.
      batch_size: examples per inner step.
    """

    name: str
    mlp: Mlp
    criterion: Callable[[Tensor, Tensor], Tensor]
    source: Callable[[Generator], Data]
    batch_size: int = 32

    def init(self, generator: Generator) -> Params:
        """Draw fresh weights."""
        return self.mlp.init(generator)

    def draw(self, generator: Generator) -> Data:
        """Draw one run's data from the source."""
        return self.source(generator)

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the criterion between the perceptron's outputs and the last tensor of the batch."""
        return self.criterion(self.mlp.apply(params, batch[0]), batch[-1])
