"""Character language models, a gated recurrent unit and a small transformer, of source code of Python itself."""

from __future__ import annotations

import importlib.util
import math
from abc import abstractmethod
from functools import cache
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from optenv.tasks.layers import (
    cross_entropy,
    embedding,
    init_embedding,
    init_linear,
    init_norm,
    layer_norm,
    linear,
    uniform,
)
from optenv.tasks.real.fixed import spread
from optenv.tasks.task import Batch, Data, Params, Task

MODULES = ("argparse", "ast", "calendar", "configparser", "dataclasses", "difflib", "heapq", "json.decoder", "textwrap")
# Every printable ASCII character and the end of a line; whatever else occurs is read as a space.
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
CONTEXT = 32
VALID_WINDOWS = 48
EMBEDDING, STATE = 24, 40  # widths in the recurrent unit
WIDTH, HEADS, BLOCKS = 24, 2, 2  # of the transformer


@cache
def load() -> Data:
    """Return windows of `CONTEXT + 1` characters as indices into `ALPHABET`, [B, CONTEXT + 1].

    Training windows start at every character of the first nine tenths of each module, validation
    windows are spread over the last tenths. The text is that of the running Python, so losses
    compare only within one Python version.
    """
    texts = [encode(_source(module)) for module in MODULES]
    train = torch.cat([text[: _cut(text)] for text in texts])
    held_back = torch.cat([text[_cut(text) :] for text in texts])
    # Overlapping windows are views of one text, so that all of them cost no memory.
    windows, held_back_windows = (text.unfold(0, CONTEXT + 1, 1) for text in (train, held_back))
    return Data(train=(windows,), valid=(spread(held_back_windows, VALID_WINDOWS),))


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"text of the character models: expected the source of module {module!r}, found none")
    return Path(spec.origin).read_text(encoding="utf-8")


def encode(text: str) -> Tensor:
    """Return a text as indices into `ALPHABET`; other characters are read as spaces."""
    position = {character: k for k, character in enumerate(ALPHABET)}
    return torch.tensor([position.get(character, position[" "]) for character in text])


def _cut(text: Tensor) -> int:
    return len(text) * 9 // 10


class CharacterModel(Task):
    """A model of every next character, from those before it."""

    batch_size = 8

    def draw(self, generator: Generator) -> Data:
        """Return the text's windows."""
        return load()

    @abstractmethod
    def logits(self, params: Params, characters: Tensor) -> Tensor:
        """Return the next characters' logits, [B, T, characters], given indices, [B, T]."""

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of every next character, in nats."""
        (windows,) = batch
        return cross_entropy(self.logits(params, windows[:, :-1]), windows[:, 1:])


class CharGru(CharacterModel):
    """One layer of gated recurrent units (Cho et al. 2014, in torch's form) from a zero state."""

    name = "char_gru"

    def init(self, generator: Generator) -> Params:
        """Draw fresh weights as `torch.nn.GRU` does: 3 groups."""
        bound = STATE**-0.5
        return {
            **init_embedding(generator, "embedding", len(ALPHABET), EMBEDDING),
            "gru.weight_ih": uniform(generator, 3 * STATE, EMBEDDING, bound=bound),
            "gru.weight_hh": uniform(generator, 3 * STATE, STATE, bound=bound),
            "gru.bias_ih": uniform(generator, 3 * STATE, bound=bound),
            "gru.bias_hh": uniform(generator, 3 * STATE, bound=bound),
            **init_linear(generator, "output", STATE, len(ALPHABET)),
        }

    def logits(self, params: Params, characters: Tensor) -> Tensor:
        """Run the unit, and read the logits off its states."""
        return linear(params, "output", _scan(params, embedding(params, "embedding", characters)))


def _scan(params: Params, x: Tensor) -> Tensor:
    """Run the unit over the inputs [B, T, EMBEDDING]; its states [B, T, STATE]."""
    inputs = F.linear(x, params["gru.weight_ih"], params["gru.bias_ih"])
    state, states = torch.zeros(x.shape[0], STATE), []
    # Splits, not slices: the gradient of a slice fills a tensor of zeros at every step.
    to_gates, to_candidate = inputs.split([2 * STATE, STATE], -1)
    for gates, candidate in zip(to_gates.unbind(1), to_candidate.unbind(1), strict=True):
        recurrent = F.linear(state, params["gru.weight_hh"], params["gru.bias_hh"])
        gates_recurrent, candidate_recurrent = recurrent.split([2 * STATE, STATE], -1)
        reset, update = (gates + gates_recurrent).sigmoid().chunk(2, -1)
        state = torch.lerp((candidate + reset * candidate_recurrent).tanh(), state, update)
        states.append(state)
    return torch.stack(states, 1)


class CharTransformer(CharacterModel):
    """Two blocks of causal attention and a ReLU perceptron, sinusoidal positions."""

    name = "char_transformer"

    def init(self, generator: Generator) -> Params:
        """Draw fresh weights: 15 groups."""
        params = init_embedding(generator, "embedding", len(ALPHABET), WIDTH)
        for k in range(BLOCKS):
            params |= init_norm(f"block{k}.norm_attention", WIDTH)
            params |= init_linear(generator, f"block{k}.heads", WIDTH, 3 * WIDTH)
            params |= init_linear(generator, f"block{k}.mix", WIDTH, WIDTH)
            params |= init_norm(f"block{k}.norm_perceptron", WIDTH)
            params |= init_linear(generator, f"block{k}.expand", WIDTH, 2 * WIDTH)
            params |= init_linear(generator, f"block{k}.contract", 2 * WIDTH, WIDTH)
        params |= init_norm("norm", WIDTH)
        return {**params, **init_linear(generator, "output", WIDTH, len(ALPHABET))}

    def logits(self, params: Params, characters: Tensor) -> Tensor:
        """Apply the blocks."""
        x = embedding(params, "embedding", characters) + _positions()
        for k in range(BLOCKS):
            x = x + attention(params, f"block{k}.", layer_norm(params, f"block{k}.norm_attention", x))
            hidden = linear(params, f"block{k}.expand", layer_norm(params, f"block{k}.norm_perceptron", x))
            x = x + linear(params, f"block{k}.contract", hidden.relu())
        return linear(params, "output", layer_norm(params, "norm", x))


def attention(params: Params, prefix: str, x: Tensor) -> Tensor:
    """Let every position [B, T, WIDTH] look at itself and those before it (Vaswani et al. 2017, section 3.2)."""
    split = linear(params, prefix + "heads", x).unflatten(-1, (3, HEADS, -1)).movedim(1, -2)  # [B, 3, heads, T, D]
    query, key, value = split.unbind(1)
    scores = query @ key.mT / math.sqrt(query.shape[-1]) + _causal(x.shape[1])
    mixed = scores.softmax(-1) @ value
    return linear(params, prefix + "mix", mixed.movedim(1, 2).flatten(-2))


@cache
def _causal(length: int) -> Tensor:
    return torch.full((length, length), -torch.inf).triu(1)


@cache
def _positions() -> Tensor:
    """Return sines and cosines of growing wavelength, [CONTEXT, WIDTH] (Vaswani et al. 2017, section 3.5)."""
    rates = 10_000 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
    angles = torch.arange(CONTEXT)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


TASKS = (CharTransformer(), CharGru())
