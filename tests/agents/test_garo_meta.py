"""The benchmark of meta-trained controllers: a reference tuned on other seeds, paired runs, and its table."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import agents
from optenv.benchmark.compare import REFERENCE, Row
from optenv.benchmark.suites import Case, Suite


@pytest.fixture(scope="module")
def meta():
    spec = importlib.util.spec_from_file_location("meta", Path(__file__).parents[2] / "benchmarks" / "meta.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_methods_run_on_the_same_seeds_and_the_reference_at_one_rate(meta):
    case, suite = Case("quadratic:0", 20, "sgd", options=(("weight_decay", 1e-4),)), Suite("s", (), (1e-2,), 2)
    rows = meta.measure(case, suite, agents.make("garo"), agents.make("garo"))
    by_method = {name: [row for row in rows if row.method == name] for name in (REFERENCE, "trained", "untrained")}
    assert all([row.seed for row in group] == [0, 1] for group in by_method.values())
    assert len({row.rate for row in by_method[REFERENCE]}) == 1
    # An untrained GARO is SGD at the base rate: the same beside itself, and no better than the best constant rate.
    trained, untrained, tuned = (
        np.array([row.loss for row in by_method[m]]) for m in ("trained", "untrained", REFERENCE)
    )
    np.testing.assert_array_equal(trained, untrained)
    assert np.log(tuned / untrained).mean() < 0.0


def test_the_table_holds_geometric_means_of_paired_ratios(meta):
    rows = [Row(task, method, 0.1, seed, loss) for task, method, seed, loss in [
        ("a", REFERENCE, 0, 2.0), ("a", REFERENCE, 1, 4.0), ("a", "trained", 0, 1.0), ("a", "trained", 1, 2.0),
        ("a", "untrained", 0, 8.0), ("a", "untrained", 1, 16.0), ("b", REFERENCE, 0, 1.0), ("b", "trained", 0, 2.0),
        ("b", "untrained", 0, 1.0)]]  # fmt: skip
    text = meta.table(rows)
    assert "| a | 0.1 | 0.500 | 4 |" in text and "| **geometric mean** | | **1.000** | **2** |" in text
