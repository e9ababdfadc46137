"""Students that learn narrower teachers almost without noise: the loss can fall by decades."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

from torch import Generator
from torch.nn import functional as F

from optenv.tasks.mlp import Mlp, PerceptronTask
from optenv.tasks.synthetic import sampling
from optenv.tasks.synthetic.family import BATCH_SIZES, DrawnFamily, draw_mlp, log_integer
from optenv.tasks.task import Batch, Data, Task


def draw_data(generator: Generator, *, teacher: Mlp, examples: int) -> Data:
    """Draw inputs (x [B, D]) and a fresh teacher's standardised outputs (y [B, outputs]).

    Args:
      generator: source of randomness.
      teacher: architecture of the teacher.
      examples: size of the training set.
    """

    def draw(rows: sampling.Examples) -> Batch:
        x = rows.normal(teacher.inputs)
        y = rows.standardised(teacher.apply(teacher.init(rows.generator), x))
        noise = sampling.log_between(rows.generator, 1e-5, 1e-3) * rows.normal(teacher.outputs)
        return x, y + noise

    return sampling.draw_data(generator, examples, draw)


def _member(rng: random.Random, name: str) -> Task:
    inputs, outputs = log_integer(rng, 2, 12), log_integer(rng, 1, 4)
    student = draw_mlp(rng, inputs=inputs, outputs=outputs)
    narrow = tuple(max(2, width // 4) for width in student.hidden[:2])
    teacher = Mlp(inputs, narrow, outputs, activation=student.activation, gain=rng.uniform(0.5, 1.5))
    source = partial(draw_data, teacher=teacher, examples=log_integer(rng, 1024, 4096))
    # Batch statistics would add noise of their own, and with it a floor under the loss.
    return PerceptronTask(name, replace(student, norm="layer"), F.mse_loss, source, rng.choice(BATCH_SIZES))


FAMILY = DrawnFamily("teacher_student", _member)
