"""A benchmark that is interrupted goes on where it stopped, and every cell is written once."""

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from optenv.benchmark.driver import Workers, _places, run_cells, run_in_parallel
from optenv.benchmark.store import Store
from tests.benchmark.tally import Tally

ROOT = Path(__file__).parents[2]
ALONE = Workers(jobs=1)


def rows(path):
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT key, finished, result FROM cells").fetchall()
    connection.close()
    return {key: (finished, result) for key, finished, result in found}


def wait_for(path, count, process):
    """Wait until a store holds `count` cells."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if len(rows(path)) >= count:
                return
        except sqlite3.OperationalError:  # not made yet
            pass
        time.sleep(0.02)
    raise AssertionError(f"the run ended, or wrote fewer than {count} cells in five minutes")


def test_kill_9_loses_at_most_the_cell_under_way(tmp_path):
    path, count = tmp_path / "cells.sqlite", 200
    command = [sys.executable, "-m", "tests.benchmark.tally", str(path), str(tmp_path), str(count), "0.1"]
    process = subprocess.Popen(command, cwd=ROOT)
    wait_for(path, 4, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = rows(path)
    assert 4 <= len(before) < count
    cells = [Tally(i, str(tmp_path)) for i in range(count)]
    with Store(path) as store:
        run_cells(cells, store, ALONE, progress=False)
        assert [store.get(cell)["square"] for cell in cells] == [i * i for i in range(count)]
    after = rows(path)
    assert len(after) == count and all(after[key] == row for key, row in before.items())
    repeated = sum(cell.times_run() - 1 for cell in cells)
    assert repeated <= 1, "a finished cell was run again"


def test_what_is_finished_is_not_run_again(tmp_path):
    cells = [Tally(i, str(tmp_path)) for i in range(3)]
    with Store(tmp_path / "cells.sqlite") as store:
        run_cells(cells[:2], store, ALONE, progress=False)
        assert store.missing(cells) == cells[2:] and len(store) == 2
        run_cells(cells, store, ALONE, progress=False)
        run_cells(cells, store, ALONE, progress=False)
    assert [cell.times_run() for cell in cells] == [1, 1, 1]


def test_a_cell_is_written_once_whoever_comes_second(tmp_path):
    cell = Tally(5, str(tmp_path))
    with Store(tmp_path / "cells.sqlite") as store:
        assert store.get(cell) is None
        assert store.put(cell, {"square": 25}) and not store.put(cell, {"square": 26})
        assert store.get(cell) == {"square": 25} and len(store) == 1


def test_infinite_and_missing_numbers_survive_the_store(tmp_path):
    cell = Tally(0, str(tmp_path))
    with Store(tmp_path / "deep" / "cells.sqlite") as store:
        store.put(cell, {"loss": [float("inf"), 0.1 + 0.2, float("nan")]})
        loss = store.get(cell)["loss"]
    assert loss[:2] == [float("inf"), 0.1 + 0.2] and loss[2] != loss[2]


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to have a header of some sort " * 20)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="notes.txt: expected a benchmark's SQLite file"):
        Store(path)
    assert path.read_bytes() == before


def test_a_lost_worker_costs_only_its_cells_a_second_run(tmp_path, capsys):
    cells = [Tally(i, str(tmp_path), seconds=0.05, deadly=i == 3) for i in range(8)]
    with Store(tmp_path / "cells.sqlite") as store:
        run_cells(cells, store, Workers(jobs=2), progress=False)
        assert not store.missing(cells) and len(store) == 8
        pids = {store.get(cell)["pid"] for cell in cells}
    assert cells[3].times_run() == 2 and max(cell.times_run() for cell in cells) == 2
    assert len(pids) > 1
    assert "a worker was lost" in capsys.readouterr().err


def test_results_come_as_they_finish_not_in_the_end(tmp_path):
    slow_first = [Tally(0, str(tmp_path), seconds=1.5), *(Tally(i, str(tmp_path)) for i in range(1, 5))]
    order = [result["square"] for result in run_in_parallel(Tally.run, slow_first, Workers(jobs=2))]
    assert order[-1] == 0 and sorted(order) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"backend": "rai"}, "unknown backend 'rai'.*Did you mean 'ray'"), ({"jobs": 0}, "jobs: expected a positive")],
)
def test_workers_that_make_no_sense_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Workers(**options)


def test_a_cluster_has_room_for_a_cell_to_a_core_and_as_many_as_its_gpus_serve():
    assert _places({"CPU": 8.0, "GPU": 2.0}, 0.0) == 8 and _places({"CPU": 8.0, "GPU": 2.0}, 0.5) == 4
    with pytest.raises(ValueError, match="ray: expected a cluster with 1 GPUs for a cell"):
        _places({"CPU": 8.0}, 1.0)
