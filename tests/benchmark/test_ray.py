"""Cells on a Ray cluster of two nodes, one of which is killed midway."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from optenv.benchmark.store import Store
from tests.benchmark.tally import Tally

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed; it comes with the extra 'ray'")
def test_every_cell_is_there_once_though_a_node_of_the_cluster_is_killed(tmp_path):
    path, count = tmp_path / "cells.sqlite", 40
    # A process of its own: Ray starts servers, changes signal handlers and warns at import.
    command = [sys.executable, "-m", "tests.benchmark.ray_cluster", str(path), str(tmp_path), str(count)]
    quiet = {
        **os.environ,
        "RAY_DEDUP_LOGS": "0",
        "RAY_usage_stats_enabled": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    first = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    assert count // 3 <= json.loads(first)["finished before the node was killed"] < count
    cells = [Tally(i, str(tmp_path)) for i in range(count)]
    with Store(path) as store:
        assert len(store) == count and not store.missing(cells)
        results = [store.get(cell) for cell in cells]
    assert [result["square"] for result in results] == [i * i for i in range(count)]
    assert len({result["pid"] for result in results}) >= 2  # both nodes took part
    assert max(cell.times_run() for cell in cells) <= 2
