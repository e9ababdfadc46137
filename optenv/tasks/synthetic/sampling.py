"""Random data for the synthetic families."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from optenv.tasks.mlp import ACTIVATIONS, Mlp
from optenv.tasks.task import Data

VALID_EXAMPLES = 256


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


def teacher(generator: Generator, x: Tensor, outputs: int) -> Tensor:
    """Label `x` by a random network, each output standardised; [B, outputs]."""
    depth = integer(generator, 0, 2)
    mlp = Mlp(
        inputs=x.shape[-1],
        hidden=(integer(generator, 4, 32),) * depth,
        outputs=outputs,
        activation=list(ACTIVATIONS)[integer(generator, 0, len(ACTIVATIONS) - 1)],
        gain=between(generator, 1.0, 4.0),
    )
    return standardised(mlp.apply(mlp.init(generator), x))


def standardised(y: Tensor) -> Tensor:
    """Shift and scale each column to mean 0 and standard deviation 1."""
    deviation, mean = torch.std_mean(y, 0)
    return (y - mean) / (deviation + 1e-12)


def gumbel(generator: Generator, *shape: int) -> Tensor:
    """Draw standard Gumbel noise; the largest logit + noise is a sample from the softmax."""
    # Both logarithms stay finite: rand is below 1, and 0 becomes the smallest number.
    uniform = torch.rand(shape, generator=generator).clamp_min_(torch.finfo(torch.float32).tiny)
    return -(-uniform.log()).clamp_min_(torch.finfo(torch.float32).tiny).log()


def split(*tensors: Tensor) -> Data:
    """Make the last `VALID_EXAMPLES` rows the validation set and the others the training set."""
    cut = len(tensors[0]) - VALID_EXAMPLES
    return Data(train=tuple(t[:cut] for t in tensors), valid=tuple(t[cut:] for t in tensors))
