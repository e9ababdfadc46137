"""The clip's reference: whom it clips, what it remembers, and that runs do not see each other."""

import numpy as np
import torch

from optenv import tasks
from optenv.control.clipping import CLIP_DECAY, clip_factor, decayed_reference
from optenv.inner.trainer import make_trainer


def test_a_clip_of_one_or_more_never_clips_however_small_its_reference():
    norm, reference = torch.tensor([1e6, 1e6, 1e6]), torch.full((3,), 1e-6)
    factor, kept = clip_factor(norm, torch.tensor([1.0, 5.0, 0.5]), reference)
    assert factor.tolist() == [1.0, 1.0, 0.5]  # and below 1 the present norm is part of the reference
    assert kept[:2].equal(reference[:2]) and kept[2] == norm[2]


def test_the_reference_is_the_largest_recent_norm_and_forgets_one_percent_a_step():
    reference = decayed_reference(torch.tensor([2.0, 2.0]), torch.tensor([1.0, 3.0]), 5)
    assert reference.tolist() == torch.tensor([2.0 * CLIP_DECAY**5, 3.0]).tolist()


def test_a_norm_that_is_not_finite_neither_clips_nor_stays():
    norm = torch.tensor([torch.nan, torch.inf])
    factor, reference = clip_factor(norm, torch.full((2,), 0.1), torch.ones(2))
    assert factor.tolist() == [1.0, 1.0] and reference.tolist() == [1.0, 1.0]
    assert decayed_reference(reference, norm, 0).tolist() == [1.0, 1.0]


def test_a_run_is_clipped_the_same_whether_its_neighbours_clip_or_not():
    trainer = make_trainer(tasks.get("synthetic_classification").member(14))
    seeds, rate, groups = np.array([3, 4], np.uint64), np.full(2, 0.01), trainer.num_groups
    ends = []
    for neighbour in (1.0, 0.2):
        state = trainer.start(seeds)
        for clip in (1.0, 0.3, 1.0, 0.3):
            values = {"clip": np.array([[clip] * groups, [neighbour] * groups])}
            trainer.run(state, rate, values, 3)
        ends.append((state.params[0], state.clip_reference[0], state.params[1]))
    assert torch.equal(ends[0][0], ends[1][0]) and torch.equal(ends[0][1], ends[1][1])
    assert not torch.equal(ends[0][2], ends[1][2])
