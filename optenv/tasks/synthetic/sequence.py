"""Next-token prediction on random Markov chains: an embedding, then a perceptron."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from optenv.tasks.layers import cross_entropy, embedding, init_embedding
from optenv.tasks.mlp import Mlp
from optenv.tasks.synthetic import sampling
from optenv.tasks.synthetic.family import BATCH_SIZES, DrawnFamily, draw_mlp, log_integer, log_uniform
from optenv.tasks.task import Batch, Data, Params, Task


@dataclass(frozen=True)
class SyntheticSequence(Task):
    """Cross-entropy of the next token given a window of tokens.

    Attributes:
      name: the member's name.
      tokens: size of the vocabulary.
      context: tokens in a window.
      mlp: maps the window's embeddings, side by side, to the next token's logits.
      examples: windows in the training set.
      batch_size: windows per inner step.
      gain: standard deviation of the first embeddings.
    """

    name: str
    tokens: int
    context: int
    mlp: Mlp
    examples: int
    batch_size: int
    gain: float = 1.0

    def init(self, generator: Generator) -> Params:
        """Draw fresh embeddings and weights."""
        table = init_embedding(generator, "embedding", self.tokens, self.mlp.inputs // self.context, gain=self.gain)
        return {**table, **self.mlp.init(generator)}

    def draw(self, generator: Generator) -> Data:
        """Draw a chain of order 1 or 2 and windows of it (x [B, context]) with their next tokens (y [B])."""

        def draw(rows: sampling.Examples) -> Batch:
            windows = _chains(rows, self.context + 1, self.tokens)
            return windows[:, :-1], windows[:, -1]

        return sampling.draw_data(generator, self.examples, draw)

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the mean cross-entropy in nats."""
        windows, following = batch
        embedded = embedding(params, "embedding", windows).flatten(-2)
        return cross_entropy(self.mlp.apply(params, embedded), following)


def _chains(rows: sampling.Examples, length: int, tokens: int) -> Tensor:
    """Run independent chains, one token for all of them at a time; [B, length]."""
    order = min(sampling.integer(rows.generator, 1, 2), length - 1)
    sharpness = sampling.between(rows.generator, 1.0, 4.0)
    logits = sharpness * sampling.normal(rows.generator, order, tokens, tokens)
    chain = list(rows.draw(lambda generator, n: torch.randint(tokens, (order, n), generator=generator), axis=1))
    while len(chain) < length:
        following = sum(logits[k][chain[-1 - k]] for k in range(order))
        noise = rows.draw(lambda generator, count: sampling.gumbel(generator, count, tokens))
        chain.append((following + noise).argmax(-1))
    return torch.stack(chain, 1)


def _member(rng: random.Random, name: str) -> Task:
    tokens, context = log_integer(rng, 6, 32), rng.randint(2, 5)
    return SyntheticSequence(
        name=name,
        tokens=tokens,
        context=context,
        mlp=draw_mlp(rng, inputs=context * rng.choice((4, 8, 16)), outputs=tokens, reserved=1),
        examples=log_integer(rng, 256, 2048),
        batch_size=rng.choice(BATCH_SIZES),
        gain=log_uniform(rng, 0.02, 1.0) if rng.random() < 0.5 else 1.0,
    )


FAMILY = DrawnFamily("synthetic_sequence", _member)
