"""Few examples: classification and regression where a run sees every example many times, and can overfit."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from optenv.tasks.mlp import PerceptronTask
from optenv.tasks.synthetic import classification, regression
from optenv.tasks.synthetic.family import DrawnFamily, log_integer
from optenv.tasks.task import Data, Task

EXAMPLES = (64, 800)
BATCH_SIZES = (16, 32)


def _scarce(
    draw: Callable[[random.Random, str], PerceptronTask], changes: dict[str, float], rng: random.Random, name: str
) -> Task:
    """Draw a task as `draw` does, then give it fewer examples, smaller minibatches, and its data `changes`."""
    task = draw(rng, name)
    plentiful: Callable[..., Data] = task.source
    source = partial(plentiful, examples=log_integer(rng, *EXAMPLES), **changes)  # the last value given counts
    return replace(task, source=source, batch_size=rng.choice(BATCH_SIZES))


CLASSIFICATION = DrawnFamily("small_classification", partial(_scarce, classification.draw_task, {"wrong": 0.1}))
REGRESSION = DrawnFamily("small_regression", partial(_scarce, regression.draw_task, {}))
