"""Multilayer perceptrons as data, and the tasks of one: a perceptron, a criterion and a source of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from optenv.tasks.layers import batch_norm, init_linear, init_norm, layer_norm, linear
from optenv.tasks.task import Batch, Data, Params, Task

# What comes from the layer before is theirs to overwrite.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "tanh": lambda x: x.tanh(),
    "gelu": F.gelu,
    "silu": F.silu,
    "elu": F.elu,
}
NORMS: dict[str, Callable[[Params, str, Tensor], Tensor]] = {"layer": layer_norm, "batch": batch_norm}


@dataclass(frozen=True)
class Mlp:
    """A multilayer perceptron.

    Every linear layer and every norm is one parameter group: `hidden0`, `norm0`, ..., `output`.

    Attributes:
      inputs: features of an example.
      hidden: widths of the hidden layers.
      outputs: outputs per example.
      activation: a key of `ACTIVATIONS`.
      norm: a key of `NORMS`; applied before the activation.
      normed: how many hidden layers, from the first, have a norm.
      residual: whether a hidden layer as wide as its input adds its input.
      gain: factor on torch's default initial weights.
      zero_last: whether the output layer starts at zero.
    """

    inputs: int
    hidden: tuple[int, ...]
    outputs: int
    activation: str = "relu"
    norm: str = "layer"
    normed: int = 0
    residual: bool = False
    gain: float = 1.0
    zero_last: bool = False

    @property
    def num_groups(self) -> int:
        """Number of parameter groups."""
        return len(self.hidden) + 1 + self.normed

    @property
    def num_params(self) -> int:
        """Number of parameters."""
        widths = (self.inputs, *self.hidden, self.outputs)
        linear = sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(widths, widths[1:], strict=False))
        return linear + 2 * sum(self.hidden[: self.normed])

    def init(self, generator: Generator) -> Params:
        """Draw fresh parameters."""
        params: Params = {}
        fan_in = self.inputs
        for k, width in enumerate(self.hidden):
            params |= init_linear(generator, f"hidden{k}", fan_in, width, gain=self.gain)
            if k < self.normed:
                params |= init_norm(f"norm{k}", width)
            fan_in = width
        last = 0.0 if self.zero_last else self.gain
        return params | init_linear(generator, "output", fan_in, self.outputs, gain=last)

    def apply(self, params: Params, x: Tensor) -> Tensor:
        """Map examples [B, inputs] to outputs [B, outputs]."""
        for k, width in enumerate(self.hidden):
            y = linear(params, f"hidden{k}", x)
            if k < self.normed:
                y = NORMS[self.norm](params, f"norm{k}", y)
            y = ACTIVATIONS[self.activation](y)
            x = x + y if self.residual and x.shape[-1] == width else y
        return linear(params, "output", x)


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
