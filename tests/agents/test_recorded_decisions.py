"""The controllers decide as they were recorded to: `recorded_decisions.npz` was written by earlier code.

It holds whole runs of three rows on two tasks (160 inner steps of AdamW at 1e-3, a decision every 4):
`NAME|TASK|observations`, [40, 3, G, features], and `NAME|TASK|actions`, [40, 3, G, knobs], of commit 25410b0. Actions
of `optbrain` are those on the same observations since it decides half as often; `ppo`, `recurrent_ppo` and `opt2vec`
were recorded anew, without a guard, when their files began to start from the norm of the first update, and the actions
of the first two once more, on the same observations, when their files became those of imitation alone.
"""

from pathlib import Path

import numpy as np
import pytest

import agents

FILE = Path(__file__).with_name("recorded_decisions.npz")
with np.load(FILE, allow_pickle=False) as file:
    RECORDED = {name: file[name] for name in file.files}
RUNS = sorted({name.rpartition("|")[0] for name in RECORDED})
# Matrix products differ in the last bits between processors; where they were recorded all are equal bit for bit.
ROUNDING = 1e-6


@pytest.mark.parametrize("run", RUNS)
def test_a_controller_decides_as_recorded(run):
    observations, actions = RECORDED[f"{run}|observations"], RECORDED[f"{run}|actions"]
    controller = agents.load(run.partition("|")[0])
    controller.reset(*observations.shape[1:3])
    for seen, decided in zip(observations, actions, strict=True):
        np.testing.assert_allclose(controller.act(seen), decided, rtol=0.0, atol=ROUNDING)
