"""A character language model: a small pre-norm transformer."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from optenv.tasks.layers import cross_entropy, embedding, init_embedding, init_linear, init_norm, layer_norm, linear
from optenv.tasks.real import text
from optenv.tasks.task import Batch, Data, Params, Task

WIDTH = 24
HEADS = 2
BLOCKS = 2


class CharTransformer(Task):
    """Two blocks of causal attention and a ReLU perceptron, sinusoidal positions."""

    name = "char_transformer"
    batch_size = 8

    def init(self, generator: Generator) -> Params:
        """Draw fresh weights: 15 groups."""
        params = init_embedding(generator, "embedding", len(text.ALPHABET), WIDTH)
        for k in range(BLOCKS):
            params |= init_norm(f"block{k}.norm_attention", WIDTH)
            params |= init_linear(generator, f"block{k}.heads", WIDTH, 3 * WIDTH)
            params |= init_linear(generator, f"block{k}.mix", WIDTH, WIDTH)
            params |= init_norm(f"block{k}.norm_perceptron", WIDTH)
            params |= init_linear(generator, f"block{k}.expand", WIDTH, 2 * WIDTH)
            params |= init_linear(generator, f"block{k}.contract", 2 * WIDTH, WIDTH)
        params |= init_norm("norm", WIDTH)
        return {**params, **init_linear(generator, "output", WIDTH, len(text.ALPHABET))}

    def draw(self, generator: Generator) -> Data:
        """Return the text's windows."""
        return text.load()

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of every next character, in nats."""
        (windows,) = batch
        x = embedding(params, "embedding", windows[:, :-1]) + _positions()
        for k in range(BLOCKS):
            x = x + attention(params, f"block{k}.", layer_norm(params, f"block{k}.norm_attention", x))
            hidden = linear(params, f"block{k}.expand", layer_norm(params, f"block{k}.norm_perceptron", x))
            x = x + linear(params, f"block{k}.contract", hidden.relu())
        logits = linear(params, "output", layer_norm(params, "norm", x))
        return cross_entropy(logits, windows[:, 1:])


def attention(params: Params, prefix: str, x: Tensor) -> Tensor:
    """Let every position [B, T, WIDTH] look at itself and those before it (Vaswani et al. 2017, section 3.2)."""
    split = linear(params, prefix + "heads", x).unflatten(-1, (3, HEADS, -1)).movedim(1, -2)  # [B, 3, heads, T, D]
    query, key, value = split.unbind(1)
    scores = query @ key.mT / math.sqrt(query.shape[-1]) + _causal(x.shape[1])
    mixed = scores.softmax(-1) @ value
    return linear(params, prefix + "mix", mixed.movedim(1, 2).flatten(-2))


def _causal(length: int) -> Tensor:
    return torch.full((length, length), -torch.inf).triu(1)


def _positions() -> Tensor:
    """Return sines and cosines of growing wavelength, [CONTEXT, WIDTH] (Vaswani et al. 2017, section 3.5)."""
    rates = 10_000 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
    angles = torch.arange(text.CONTEXT)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


TASK = CharTransformer()
