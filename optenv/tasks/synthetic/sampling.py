"""Random data for the synthetic families."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from optenv.tasks.mlp import ACTIVATIONS, Mlp
from optenv.tasks.task import Batch, Data

VALID_EXAMPLES, TEST_EXAMPLES = 256, 1000


@dataclass(frozen=True)
class Examples:
    """The examples of one run, drawn number by number; all of them share what is drawn from `generator` besides.

    Attributes:
      generator: of the run.
      count: training and validation examples, drawn from it.
      fresh: of test examples, which come after the others; None where they are not asked for.
    """

    generator: Generator
    count: int
    fresh: Generator | None = None

    def draw(self, sample: Callable[[Generator, int], Tensor], axis: int = 0) -> Tensor:
        """Draw a tensor with an entry for every example along `axis`; `sample` draws the given number of them."""
        drawn = sample(self.generator, self.count)
        return drawn if self.fresh is None else torch.cat([drawn, sample(self.fresh, TEST_EXAMPLES)], axis)

    def normal(self, *shape: int) -> Tensor:
        """Draw a standard normal tensor, [B, *shape]."""
        return self.draw(lambda generator, count: normal(generator, count, *shape))

    def integers(self, end: int) -> Tensor:
        """Draw whole numbers below `end`, [B]."""
        return self.draw(lambda generator, count: torch.randint(end, (count,), generator=generator))

    def teacher(self, x: Tensor, outputs: int) -> Tensor:
        """Label `x` by a random network, each output standardised; [B, outputs]."""
        depth = integer(self.generator, 0, 2)
        mlp = Mlp(
            inputs=x.shape[-1],
            hidden=(integer(self.generator, 4, 32),) * depth,
            outputs=outputs,
            activation=list(ACTIVATIONS)[integer(self.generator, 0, len(ACTIVATIONS) - 1)],
            gain=between(self.generator, 1.0, 4.0),
        )
        return self.standardised(mlp.apply(mlp.init(self.generator), x))

    def standardised(self, y: Tensor) -> Tensor:
        """Shift and scale each column to mean 0 and standard deviation 1, those of the test examples left aside."""
        deviation, mean = torch.std_mean(y[: self.count], 0)
        return (y - mean) / (deviation + 1e-12)


def draw_data(generator: Generator, examples: int, draw: Callable[[Examples], Batch]) -> Data:
    """Draw one run's data, `VALID_EXAMPLES` and `TEST_EXAMPLES` among them.

    Args:
      generator: source of randomness; test examples are drawn from where it is left, once they are asked for.
      examples: size of the training set.
      draw: draws tensors with a row for every example.
    """
    total, begin = examples + VALID_EXAMPLES, generator.get_state()
    tensors = draw(Examples(generator, total))
    end = generator.get_state()

    def test() -> Batch:
        # All is drawn again: what the examples share comes between them, and more rows at once round otherwise.
        again, fresh = Generator().set_state(begin), Generator().set_state(end)
        return tuple(tensor[total:] for tensor in draw(Examples(again, total, fresh)))

    return Data(tuple(t[:examples] for t in tensors), tuple(t[examples:] for t in tensors), draw_test=test)


def between(generator: Generator, low: float, high: float) -> float:
    """Draw one number from U(low, high)."""
    return low + (high - low) * torch.rand((), generator=generator).item()


def log_between(generator: Generator, low: float, high: float) -> float:
    """Draw one number whose logarithm is uniform."""
    return math.exp(between(generator, math.log(low), math.log(high)))


def integer(generator: Generator, low: int, high: int) -> int:
    """Draw one whole number from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator).item())


def chance(generator: Generator, probability: float) -> bool:
    """Return True with the given probability."""
    return torch.rand((), generator=generator).item() < probability


def normal(generator: Generator, *shape: int) -> Tensor:
    """Draw a standard normal tensor."""
    return torch.randn(shape, generator=generator)


def spectrum(generator: Generator, size: int, condition: float) -> Tensor:
    """Draw `size` values, log-uniform between 1/condition and 1, both ends present; [size]."""
    exponents = torch.rand(size, generator=generator)
    exponents[0], exponents[-1] = 0.0, 1.0
    return condition**-exponents


def rotate(generator: Generator, x: Tensor, *, reflections: int = 3) -> Tensor:
    """Rotate the last axis by random Householder reflections, which cost O(n) a row; an isometry."""
    for _ in range(reflections):
        direction = normal(generator, x.shape[-1])
        direction = direction / direction.norm()
        x = x - 2 * (x @ direction)[..., None] * direction
    return x


def conditioned(generator: Generator, x: Tensor, *, worst: float = 1e3) -> Tensor:
    """Give half of all data sets features of unlike scales.

    Args:
      generator: source of randomness.
      x: features of unit scale, [B, D].
      worst: largest ratio of the largest to the smallest standard deviation.
    """
    if chance(generator, 0.5):
        return x
    scales = spectrum(generator, x.shape[-1], log_between(generator, 1.0, worst))
    # A mean scale of 1 keeps the size of the inputs.
    return rotate(generator, x * scales / scales.square().mean().sqrt())


def gumbel(generator: Generator, *shape: int) -> Tensor:
    """Draw standard Gumbel noise; the largest logit + noise is a sample from the softmax."""
    # Both logarithms stay finite: rand is below 1, and 0 becomes the smallest number.
    uniform = torch.rand(shape, generator=generator).clamp_min_(torch.finfo(torch.float32).tiny)
    return -(-uniform.log()).clamp_min_(torch.finfo(torch.float32).tiny).log()
