"""Two ranks with unequally many minibatches, in DistributedDataParallel's `join`."""

import pytest

uneven = pytest.mark.parametrize("batches", [(12, 9), (9, 12), (3, 12)])


@pytest.fixture(scope="module")
def reports(tmp_path_factory, run_ranks):
    return run_ranks("uneven_ranks.py", tmp_path_factory.mktemp("uneven"))


@uneven
def test_a_neutral_controller_ends_as_the_base_does(reports, batches):
    for report in reports:
        assert report[f"neutral {batches}"]["weights"] == report[f"None {batches}"]["weights"]


@uneven
def test_all_ranks_end_alike_and_decide_on_while_all_have_inputs(reports, batches):
    one, two = (report[f"ppo {batches}"] for report in reports)
    assert one == two and one["steps"] == 2 * max(batches)
    assert [step for step in one["decisions"] if step >= max(batches)][0] == max(batches)
