"""Two processes with validation losses of their own keep the same weights."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def reports(tmp_path_factory, run_ranks):
    return run_ranks("validated_ranks.py", tmp_path_factory.mktemp("validated"))


def test_both_keep_the_weights_whose_mean_loss_is_least(reports):
    one, two = (report["together"] for report in reports)
    assert one["own"] != two["own"] and len(one["own"]) == len(two["own"]) >= 1 + 41 // 2 + 1
    means = (np.array(one["own"]) + np.array(two["own"])) / 2
    assert one["best"] == two["best"] == pytest.approx(means.min(), rel=1e-12)
    assert one["weights"] == two["weights"]


def test_a_rank_that_pauses_alone_is_one_error_on_both(reports):
    one, two = (report["one pauses"] for report in reports)
    assert one["error"] == two["error"]
    assert "expected all ranks to pause and resume at the same step" in one["error"]
    assert one["weights"] == two["weights"]
