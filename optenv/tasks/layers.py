"""Layers as functions of a parameter dict, and their initial values as in `torch.nn`."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from optenv.tasks.task import Params


def uniform(generator: Generator, *shape: int, bound: float) -> Tensor:
    """Draw a tensor from U(-bound, bound)."""
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def init_linear(generator: Generator, name: str, fan_in: int, fan_out: int, *, gain: float = 1.0) -> Params:
    """Draw a linear layer as `torch.nn.Linear` does: U(-b, b) with b = gain / sqrt(fan_in)."""
    bound = gain / math.sqrt(fan_in)
    return {
        f"{name}.weight": uniform(generator, fan_out, fan_in, bound=bound),
        f"{name}.bias": uniform(generator, fan_out, bound=bound),
    }


def init_conv(generator: Generator, name: str, channels: int, filters: int, *, kernel: int) -> Params:
    """Draw a convolution of `kernel` x `kernel` pixels as `torch.nn.Conv2d` does."""
    bound = 1 / math.sqrt(channels * kernel**2)
    return {
        f"{name}.weight": uniform(generator, filters, channels, kernel, kernel, bound=bound),
        f"{name}.bias": uniform(generator, filters, bound=bound),
    }


def init_embedding(generator: Generator, name: str, rows: int, width: int, *, gain: float = 1.0) -> Params:
    """Draw a table of embeddings from a normal of deviation `gain`; `torch.nn.Embedding` has 1."""
    return {f"{name}.weight": gain * torch.randn(rows, width, generator=generator)}


def init_norm(name: str, width: int) -> Params:
    """Return the parameters of a norm layer: weight 1, bias 0."""
    return {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}


def linear(params: Params, name: str, x: Tensor) -> Tensor:
    """Apply the linear layer `name` to the last axis."""
    weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
    if x.dim() > 2:  # sequences, which the layer after would have to copy into their own memory order otherwise
        return F.linear(x, weight, bias)
    # Unlike that of F.linear, the weight's gradient then comes in the weight's own memory order.
    return (weight @ x.mT).mT + bias


def conv(params: Params, name: str, x: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
    """Apply the convolution `name` to pictures, [B, channels, height, width]."""
    return F.conv2d(x, params[f"{name}.weight"], params[f"{name}.bias"], stride, padding)


def layer_norm(params: Params, name: str, x: Tensor) -> Tensor:
    """Normalise the last axis, as `torch.nn.LayerNorm` does."""
    return F.layer_norm(x, x.shape[-1:], params[f"{name}.weight"], params[f"{name}.bias"])


def batch_norm(params: Params, name: str, x: Tensor) -> Tensor:
    """Normalise each feature, axis 1, over every other axis.

    The statistics are those of the batch it is given, in training and in validation alike: a run
    then has no state but its parameters.
    """
    return F.batch_norm(x, None, None, params[f"{name}.weight"], params[f"{name}.bias"], training=True)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats, for logits [..., B, C] and classes [..., B]."""
    # With the classes on the axis before the last, log_softmax takes a quarter of the time.
    return -logits.mT.log_softmax(-2).gather(-2, target[..., None, :]).mean()


def embedding(params: Params, name: str, tokens: Tensor) -> Tensor:
    """Look up rows of the table `name`: [...] whole numbers become [..., width]."""
    return F.embedding(tokens, params[f"{name}.weight"])
