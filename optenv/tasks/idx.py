"""Image classification from a folder of IDX files, the format of MNIST; nothing is downloaded."""

from __future__ import annotations

import gzip
import math
import struct
from functools import cache, partial
from io import BufferedReader
from pathlib import Path

import torch
from torch import Tensor

from optenv.files import check_file, reading
from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import Mlp, PerceptronTask
from optenv.tasks.real.fixed import Fixed
from optenv.tasks.task import Data

# File names, with a dot or a dash before "idx"; each may end in ".gz".
TRAIN = ("train-images", "train-labels")
TEST = ("t10k-images", "t10k-labels")
# A whole test set of 10,000 would cost more than the steps between two validations.
VALID_EXAMPLES = 512
MOST_VALUES = 2**28  # of a file; a compressed one may claim any number


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
    train, (images, labels) = _pair(root, *TRAIN), _pair(root, *TEST)
    if train[0].shape[1] != images.shape[1]:
        sizes = f"{train[0].shape[1]} and {images.shape[1]}"
        raise ValueError(f"IDX data in {str(root)!r}: expected images of one size; received {sizes} pixels")
    return Data(train=train, valid=(images[:VALID_EXAMPLES], labels[:VALID_EXAMPLES]))


def _pair(root: Path, images_name: str, labels_name: str) -> tuple[Tensor, Tensor]:
    images, labels = read(_find(root, images_name, 3)), read(_find(root, labels_name, 1))
    if images.dim() != 3 or labels.dim() != 1 or len(images) != len(labels):
        shapes = f"{images_name} {tuple(images.shape)} and {labels_name} {tuple(labels.shape)}"
        raise ValueError(f"IDX data in {str(root)!r}: expected [B, height, width] and [B]; received {shapes}")
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
    with reading(path, "an IDX file of unsigned bytes"), _opened(path) as file:
        header = file.read(4)
        lengths = file.read(4 * header[3]) if header[:3] == b"\0\0\x08" and len(header) == 4 else b""
        if not lengths or len(lengths) < 4 * header[3]:
            raise ValueError(f"expected a header of unsigned bytes, received {header!r}")
        shape = struct.unpack(f">{header[3]}I", lengths)
        if not 0 < math.prod(shape) <= MOST_VALUES:
            raise ValueError(f"expected from 1 to {MOST_VALUES} values; received the shape {shape}")
        values = bytearray(math.prod(shape))  # takes no memory before it is filled
        received = file.readinto(values) + len(file.read(1))
        if received != len(values):
            raise ValueError(f"expected {len(values)} values for {shape}, received {received}")
    return torch.frombuffer(values, dtype=torch.uint8).reshape(shape)


def _opened(path: Path) -> BufferedReader:
    path = check_file(path)
    return BufferedReader(gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
