"""Families to train on: tables of R packages, and tiles of photographs; none of their data is held out."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import PerceptronTask
from optenv.tasks.real import pictures, r_tables
from optenv.tasks.real.fixed import Resplit, spread
from optenv.tasks.synthetic.family import BATCH_SIZES, draw_mlp
from optenv.tasks.task import Batch, Family, Task

# Chosen by benchmarks/select_tables.py, which says how.
TABLES = Path(__file__).with_name("tables.csv")
MOST_ROWS = 4096
PICTURES = (
    "brick.png",
    "cell.png",
    "clock_motion.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
TILES = 400  # of each picture
SIDES = (5, 7, 9)


class Listed(NamedTuple):
    """A table of the list.

    Attributes:
      table: R package and table.
      target: the column that is to be predicted.
      inputs: features of an example.
      classes: how many; 0 where the target is a number.
    """

    table: str
    target: str
    inputs: int
    classes: int


class RealTables(Family):
    """Classification and regression on real tables, one table a member, split anew for every run."""

    name = "real_tables"

    def __init__(self) -> None:
        with open(TABLES, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            self.listed = [Listed(r["table"], r["target"], int(r["inputs"]), int(r["classes"])) for r in rows]
        self.num_members = len(self.listed)

    def build(self, index: int) -> Task:
        """Draw the perceptron of a table."""
        table, target, inputs, classes = self.listed[index]
        load = partial(r_tables.examples, table, target, most=MOST_ROWS)
        return _perceptron(f"{self.name}:{index}", load, inputs, classes)


class RealPictures(Family):
    """Tiles of photographs, split anew for every run: which photograph is one from, or how bright is its centre?"""

    name = "real_pictures"
    num_members = 20

    def build(self, index: int) -> Task:
        """Draw the photographs, the tiles' size and the perceptron."""
        name = f"{self.name}:{index}"
        rng = random.Random(name)
        side, chosen = rng.choice(SIDES), tuple(rng.sample(PICTURES, rng.randint(2, 8)))
        if index % 2:
            return _perceptron(name, partial(centres, chosen, side), side**2 - 1, 0)
        return _perceptron(name, partial(origins, chosen, side), side**2, len(chosen))


def _perceptron(name: str, load: Callable[[], Batch], inputs: int, classes: int) -> Task:
    rng = random.Random(f"{name} perceptron")
    mlp = draw_mlp(rng, inputs=inputs, outputs=classes or 1)
    criterion = cross_entropy if classes else F.mse_loss
    return PerceptronTask(name, mlp, criterion, Resplit(load), rng.choice(BATCH_SIZES))


@cache
def origins(chosen: tuple[str, ...], side: int) -> Batch:
    """Return tiles as pixels, [B, side^2], and which of the chosen photographs each is from, [B]."""
    return _tiles(chosen, side), torch.arange(len(chosen)).repeat_interleave(TILES)


@cache
def centres(chosen: tuple[str, ...], side: int) -> Batch:
    """Return the pixels of tiles but the one at the centre, [B, side^2 - 1], and that one, [B, 1]."""
    pixels, centre = _tiles(chosen, side), side**2 // 2
    return torch.cat([pixels[:, :centre], pixels[:, centre + 1 :]], 1), pixels[:, centre, None]


def _tiles(chosen: tuple[str, ...], side: int) -> Tensor:
    """Return `TILES` tiles of every picture, spread over it."""
    cut = [pictures.tiles(picture, side).flatten(1) for picture in chosen]
    return torch.cat([spread(tiles, TILES) for tiles in cut])


FAMILIES = (RealTables(), RealPictures())
