"""Tiles of photographs (from the package `scikit-image`), and a small U-shaped network that takes noise from them."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from optenv.tasks.layers import conv, init_conv
from optenv.tasks.real.fixed import distinct, parts
from optenv.tasks.real.packages import data_file
from optenv.tasks.task import Batch, Data, Params, Task

# No training family has seen these.
HELD_OUT = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png")
SIDE, NOISE = 12, 0.5
VALID, TEST = 256, 1000
CHANNELS = 12


def tiles(picture: str, side: int) -> Tensor:
    """Cut a picture into squares that do not overlap, row by row; grey values in [0, 1], [B, side, side].

    Raises:
      ImportError: if `scikit-image` is not installed.
    """
    file = data_file("scikit-image", f"skimage/data/{picture}")
    from PIL import Image  # scikit-image needs it, too

    with Image.open(file) as image:
        grey = torch.from_numpy(np.array(image.convert("L"), np.float32)) / 255
    return grey.unfold(0, side, side).unfold(1, side, side).flatten(0, 1).contiguous()


@cache
def load() -> Data:
    """Return 4,756 tiles of four pictures for training, 256 for validation and 1,000 for test: noisy, and clean.

    Both are [B, 1, 12, 12], in units of the grey values' deviation among training tiles; that of the noise is 0.5.
    """
    clean = torch.cat([tiles(picture, SIDE) for picture in HELD_OUT])[:, None]
    order = distinct(clean)
    deviation, mean = torch.std_mean(clean[order[VALID + TEST :]])
    clean = (clean - mean) / deviation
    noise = NOISE * torch.randn(clean.shape, generator=Generator().manual_seed(0))
    return parts(clean + noise, clean, order=order, valid=VALID, test=TEST)


class DenoiseUnet(Task):
    """Convolutions at half and a quarter of the resolution, joined at a half; what they find is taken from the tile."""

    name = "denoise_unet"
    batch_size = 8

    def init(self, generator: Generator) -> Params:
        """Draw fresh weights: 4 groups."""
        return {
            **init_conv(generator, "outer", 4, CHANNELS, kernel=3),
            **init_conv(generator, "inner", CHANNELS, 2 * CHANNELS, kernel=3),
            **init_conv(generator, "joined", 3 * CHANNELS, CHANNELS, kernel=3),
            **init_conv(generator, "output", CHANNELS, 4, kernel=3),
        }

    def draw(self, generator: Generator) -> Data:
        """Return the tiles."""
        return load()

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the mean squared error of the pixels."""
        noisy, clean = batch
        # The four pixels of a square become four channels.
        outer = F.silu(conv(params, "outer", F.pixel_unshuffle(noisy, 2), padding=1))
        inner = F.silu(conv(params, "inner", F.avg_pool2d(outer, 2), padding=1))
        wide = inner.repeat_interleave(2, -1).repeat_interleave(2, -2)
        joined = F.silu(conv(params, "joined", torch.cat([outer, wide], 1), padding=1))
        return F.mse_loss(noisy - F.pixel_shuffle(conv(params, "output", joined, padding=1), 2), clean)


TASKS = (DenoiseUnet(),)
