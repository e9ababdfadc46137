"""Image classification from a folder of IDX files, the format of MNIST; nothing is downloaded."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import Mlp
from optenv.tasks.perceptron import PerceptronTask
from optenv.tasks.real.fixed import Fixed
from optenv.tasks.task import Data

# File names, with a dot or a dash before "idx"; each may end in ".gz".
TRAIN = ("train-images", "train-labels")
TEST = ("t10k-images", "t10k-labels")
# A whole test set of 10,000 would cost more than the steps between two validations.
VALID_EXAMPLES = 512


@cache
def idx_classification(folder: str) -> PerceptronTask:
    """Make a task of the images in a folder: a perceptron with 64 hidden units, batches of 32.

    Args:
      folder: holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`
        and `t10k-labels-idx1-ubyte`, each as it is or compressed (`.gz`).

    Returns:
      A task named "idx:FOLDER", validated on the first 512 test images; pixels are in [0, 1].

    Raises:
      FileNotFoundError: if the folder or one of the files is missing.
      ValueError: if a file is damaged, or images and labels differ in number.
    """
    data = load(folder)
    classes = int(max(data.train[1].max(), data.valid[1].max())) + 1
    mlp = Mlp(data.train[0].shape[1], (64,), classes)
    return PerceptronTask(f"idx:{folder}", mlp, cross_entropy, Fixed(partial(load, folder)))


@cache
def load(folder: str) -> Data:
    """Read a folder of IDX files: pixels [B, height * width] in [0, 1] and labels [B]."""
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"IDX data: expected a folder, found none at {folder!r}")
    images, labels = _pair(root, *TEST)
    return Data(train=_pair(root, *TRAIN), valid=(images[:VALID_EXAMPLES], labels[:VALID_EXAMPLES]))


def _pair(root: Path, images_name: str, labels_name: str) -> tuple[Tensor, Tensor]:
    images, labels = read(_find(root, images_name, 3)), read(_find(root, labels_name, 1))
    if len(images) != len(labels) or not len(images):
        raise ValueError(f"IDX data in {str(root)!r}: {len(images)} {images_name} and {len(labels)} {labels_name}")
    return images.flatten(1).float() / 255, labels.long()


def _find(root: Path, name: str, axes: int) -> Path:
    candidates = [root / f"{name}{mark}idx{axes}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    for path in candidates:
        if path.is_file():
            return path
    expected = " or ".join(path.name for path in candidates)
    raise FileNotFoundError(f"IDX data in {str(root)!r}: expected {expected}, found none of them")


def read(path: Path) -> Tensor:
    """Read one IDX file of unsigned bytes.

    The format: two zero bytes, the type (8), the number of axes, each axis' length as four
    bytes, most significant first, then the values.

    Raises:
      ValueError: if the file is no such file or its length does not fit its header.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"IDX file {str(path)!r}: damaged: {error}") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"IDX file {str(path)!r}: expected a header of unsigned bytes, received {content[:4]!r}")
    start = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    values = len(content) - start
    if values != math.prod(shape):
        raise ValueError(f"IDX file {str(path)!r}: expected {math.prod(shape)} values for {shape}, received {values}")
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).reshape(shape)
