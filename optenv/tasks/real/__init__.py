"""Held-out tasks on real and computed data sets, none of which needs a network."""

from optenv.tasks.real import digits, gru, tables, transformer, wide

TASKS = (*digits.TASKS, *tables.TASKS, transformer.TASK, gru.TASK, *wide.TASKS)
