"""Text for the character models: source code of Python's own standard library."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from optenv.tasks.task import Data

MODULES = ("argparse", "ast", "calendar", "configparser", "dataclasses", "difflib", "heapq", "json.decoder", "textwrap")
# Every printable ASCII character and the end of a line; whatever else occurs is read as a space.
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
CONTEXT = 32
VALID_WINDOWS = 48


@cache
def load() -> Data:
    """Return windows of `CONTEXT + 1` characters as indices into `ALPHABET`, [B, CONTEXT + 1].

    Training windows start at every character of the first nine tenths of each module, validation
    windows are spread over the last tenths. The text is that of the running Python, so losses
    compare only within one Python version.
    """
    texts = [_encode(_source(module)) for module in MODULES]
    train = torch.cat([text[: _cut(text)] for text in texts])
    held_back = torch.cat([text[_cut(text) :] for text in texts])
    starts = torch.linspace(0, len(held_back) - CONTEXT - 1, VALID_WINDOWS).long()
    # Overlapping windows are views of one text, so that all of them cost no memory.
    return Data(train=(train.unfold(0, CONTEXT + 1, 1),), valid=(held_back.unfold(0, CONTEXT + 1, 1)[starts],))


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"text of the character models: expected the source of module {module!r}, found none")
    return Path(spec.origin).read_text(encoding="utf-8")


def _encode(text: str) -> Tensor:
    position = {character: k for k, character in enumerate(ALPHABET)}
    return torch.tensor([position.get(character, position[" "]) for character in text])


def _cut(text: Tensor) -> int:
    return len(text) * 9 // 10
