"""Tasks: what the inner runs train. Controllers learn on the split "train" and are judged on "held_out"."""

from optenv.tasks import functions, idx, real, synthetic, unseen
from optenv.tasks.own import from_functions, from_module
from optenv.tasks.registry import get, names, register, register_scheme
from optenv.tasks.task import Batch, Data, Family, Params, Task, group_names, members

__all__ = [
    "Batch",
    "Data",
    "Family",
    "Params",
    "Task",
    "from_functions",
    "from_module",
    "get",
    "group_names",
    "members",
    "names",
    "register",
]

for _family in (*synthetic.FAMILIES, *real.FAMILIES):
    register(_family, split="train")
for _task in (*real.TASKS, *functions.TASKS):
    register(_task, split="held_out")
register(unseen.FAMILY, split="held_out")
register_scheme("idx", idx.idx_classification)
