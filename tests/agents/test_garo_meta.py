"""The benchmark of meta-trained controllers: a reference tuned on other seeds, and paired runs."""

import importlib.util
from pathlib import Path

import numpy as np

import agents
from optenv.benchmark.driver import Workers
from optenv.benchmark.methods import REFERENCE
from optenv.benchmark.store import Store
from optenv.benchmark.suites import Case, Suite
from optenv.benchmark.whole import run_suite


def test_all_methods_run_on_the_same_seeds_and_the_reference_at_one_rate(tmp_path):
    spec = importlib.util.spec_from_file_location("meta", Path(__file__).parents[2] / "benchmarks" / "meta.py")
    meta = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(meta)
    case = Case("quadratic:0", 20, "sgd", options=(("weight_decay", 1e-4),))
    with Store(tmp_path / "cells.sqlite") as store:
        compared = meta.methods(agents.make("garo"), agents.make("garo"))
        suite = Suite("s", (case,), (1e-2,), 2)
        runs = run_suite(suite, compared, store, Workers(jobs=1), progress=False)[-1].runs
    assert {name: own.loss.shape for name, own in runs.items()} == dict.fromkeys(
        (REFERENCE, "trained", "untrained", "sgd_tuned"), (1, 1, 2)
    )
    # An untrained GARO is SGD at the base rate: the same beside itself, and no better than the best constant rate.
    np.testing.assert_array_equal(runs["trained"].loss, runs["untrained"].loss)
    assert runs["untrained"].log_ratios.mean() > 0.0
