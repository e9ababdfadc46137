"""What the synthetic families share: members drawn by number, random architectures."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from optenv.tasks.mlp import NORMS, Mlp
from optenv.tasks.task import Family, Task

# Divisors of 60: runs of different members then fill the same rows of a per-group batch.
GROUP_COUNTS = (1, 2, 3, 4, 5, 6, 10, 12)
BATCH_SIZES = (16, 32, 64, 128)
# "elu" is left to held-out tasks.
ACTIVATION_NAMES = ("relu", "tanh", "gelu", "silu")
MAX_PARAMS = 30_000

# (hidden layers, norms among them) by number of groups; the deep ones need residual connections to train.
_PLAIN = {
    1: [(0, 0)],
    2: [(1, 0)],
    3: [(1, 1), (2, 0)],
    4: [(2, 1), (3, 0)],
    5: [(2, 2), (3, 1), (4, 0)],
    6: [(3, 2), (4, 1)],
}
_RESIDUAL = {4: [(3, 0)], 5: [(3, 1)], 6: [(3, 2)], 10: [(5, 4), (6, 3), (9, 0)], 12: [(6, 5), (11, 0)]}


class DrawnFamily(Family):
    """A family whose members are drawn, by number, from a distribution over tasks.

    Args:
      name: the registered name.
      draw: `draw(rng, name)` returns a task called `name`, all of its choices made by `rng`.
    """

    def __init__(self, name: str, draw: Callable[[random.Random, str], Task]) -> None:
        self.name = name
        self._draw = draw

    def build(self, index: int) -> Task:
        """Draw member `index`; nothing but the family's name and the index matters."""
        name = f"{self.name}:{index}"
        return self._draw(random.Random(name), name)


def log_uniform(rng: random.Random, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def log_integer(rng: random.Random, low: int, high: int) -> int:
    """Draw a whole number from `low` to `high`, small ones as likely as large ones."""
    return round(log_uniform(rng, low, high))


def draw_gain(rng: random.Random) -> float:
    """Draw a factor on torch's initial weights: 1, or down to a tenth, as language models begin, or up to twice."""
    return log_uniform(rng, 0.1, 2.0) if rng.random() < 0.5 else 1.0


def draw_mlp(rng: random.Random, *, inputs: int, outputs: int, reserved: int = 0) -> Mlp:
    """Draw a perceptron of at most `MAX_PARAMS` parameters and an allowed number of groups.

    Args:
      rng: source of all choices.
      inputs: features of an example.
      outputs: outputs of the network.
      reserved: groups the task adds to those of the network.
    """
    residual = rng.random() < 0.25
    shapes = _RESIDUAL if residual else _PLAIN
    while True:
        groups = rng.choice([count for count in GROUP_COUNTS if count - reserved in shapes])
        depth, normed = rng.choice(shapes[groups - reserved])
        mlp = Mlp(
            inputs=inputs,
            hidden=(log_integer(rng, 8, 128),) * depth,
            outputs=outputs,
            activation=rng.choice(ACTIVATION_NAMES),
            norm=rng.choice(list(NORMS)),
            normed=normed,
            residual=residual,
            gain=draw_gain(rng),
            zero_last=rng.random() < 0.25 and depth > 0,
        )
        if mlp.num_params <= MAX_PARAMS:
            return mlp


def draw_examples(rng: random.Random, *, inputs: int) -> int:
    """Draw the size of a training set: 128 to 4096 examples, fewer of wide ones."""
    # 1e5 numbers keep one draw of the data near a millisecond.
    return log_integer(rng, 128, min(4096, 100_000 // inputs))
