"""A character language model: a gated recurrent unit."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from optenv.tasks.layers import cross_entropy, embedding, init_embedding, init_linear, linear, uniform
from optenv.tasks.real import text
from optenv.tasks.task import Batch, Data, Params, Task

EMBEDDING = 24
WIDTH = 40


class CharGru(Task):
    """One layer of gated recurrent units (Cho et al. 2014, in torch's form) from a zero state."""

    name = "char_gru"
    batch_size = 8

    def init(self, generator: Generator) -> Params:
        """Draw fresh weights as `torch.nn.GRU` does: 3 groups."""
        bound = WIDTH**-0.5
        return {
            **init_embedding(generator, "embedding", len(text.ALPHABET), EMBEDDING),
            "gru.weight_ih": uniform(generator, 3 * WIDTH, EMBEDDING, bound=bound),
            "gru.weight_hh": uniform(generator, 3 * WIDTH, WIDTH, bound=bound),
            "gru.bias_ih": uniform(generator, 3 * WIDTH, bound=bound),
            "gru.bias_hh": uniform(generator, 3 * WIDTH, bound=bound),
            **init_linear(generator, "output", WIDTH, len(text.ALPHABET)),
        }

    def draw(self, generator: Generator) -> Data:
        """Return the text's windows."""
        return text.load()

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of every next character, in nats."""
        (windows,) = batch
        states = _scan(params, embedding(params, "embedding", windows[:, :-1]))
        logits = linear(params, "output", states)
        return cross_entropy(logits, windows[:, 1:])


def _scan(params: Params, x: Tensor) -> Tensor:
    """Run the unit over the inputs [B, T, EMBEDDING]; its states [B, T, WIDTH]."""
    inputs = F.linear(x, params["gru.weight_ih"], params["gru.bias_ih"])
    state, states = torch.zeros(x.shape[0], WIDTH), []
    # Splits, not slices: the gradient of a slice fills a tensor of zeros at every step.
    to_gates, to_candidate = inputs.split([2 * WIDTH, WIDTH], -1)
    for gates, candidate in zip(to_gates.unbind(1), to_candidate.unbind(1), strict=True):
        recurrent = F.linear(state, params["gru.weight_hh"], params["gru.bias_hh"])
        gates_recurrent, candidate_recurrent = recurrent.split([2 * WIDTH, WIDTH], -1)
        reset, update = (gates + gates_recurrent).sigmoid().chunk(2, -1)
        state = torch.lerp((candidate + reset * candidate_recurrent).tanh(), state, update)
        states.append(state)
    return torch.stack(states, 1)


TASK = CharGru()
