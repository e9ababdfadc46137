"""Tasks: what the inner runs train. Controllers learn on the split "train" and are judged on "held_out"."""

from optenv.tasks import functions, real
from optenv.tasks.registry import get, names, register
from optenv.tasks.synthetic import FAMILIES
from optenv.tasks.task import Batch, Data, Family, Params, Task

__all__ = ["Batch", "Data", "Family", "Params", "Task", "get", "names", "register"]

for _family in FAMILIES:
    register(_family, split="train")
for _task in (*real.TASKS, *functions.TASKS):
    register(_task, split="held_out")
