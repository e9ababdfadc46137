"""Damaged files are one clear error each, or of use; `benchmarks/fuzz.py` tries ten thousand."""

import random

import numpy as np
import pytest
from fuzz import fuzz, one, outcome_of
from fuzz_inputs import RAW, npz, path_damaged
from fuzz_kinds import KINDS

from optenv.benchmark.store import Store
from optenv.files import read_json, read_npz, reading

INPUTS = 20


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_one_clear_error_or_of_use(name, tmp_path):
    found = fuzz(KINDS[name], tmp_path, INPUTS, 7)
    assert found["examples"] == [] and found["peak"] < 500.0
    assert found.get("error", 0) + found.get("accepted", 0) == INPUTS


@pytest.mark.parametrize("name", KINDS)
def test_files_that_are_whole_are_read(name, tmp_path):
    kind = KINDS[name]
    for path, content in kind.make(tmp_path / "valid").items():
        (tmp_path / "0" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "0" / path).write_bytes(content)
    assert outcome_of(kind, tmp_path / "0") == "accepted"


def test_the_same_seed_damages_the_same_way(tmp_path):
    kind, written = KINDS["images"], []
    files = kind.make(tmp_path / "valid")
    for place in ("0", "1"):
        one(kind, files, tmp_path / place, random.Random(3))
        written.append([p.read_bytes() for p in sorted((tmp_path / place).iterdir())])
    assert written[0] == written[1] != list(files.values())


@pytest.mark.parametrize("seed", range(12))
def test_what_is_no_file_is_named(tmp_path, seed):
    path = tmp_path / "brain.npz"
    path.write_bytes(npz({"a": np.ones(3)}))
    path_damaged(random.Random(seed), path)
    with (
        pytest.raises((ValueError, FileNotFoundError), match="brain.npz: expected an archive; "),
        reading(path, "an archive"),
    ):
        read_npz(path)


@pytest.mark.parametrize("text", [RAW["@deep"], RAW["@digits"], "[" + "[]," * 2_000_000 + "[]]", "{", "\ud800"])
def test_json_that_is_too_deep_too_large_or_none_is_a_value_error(text):
    with pytest.raises(ValueError, match="expected JSON") as caught:
        read_json(text)
    assert type(caught.value) is ValueError


def test_a_database_of_something_else_is_refused_and_left_as_it_is(tmp_path):
    import sqlite3

    connection = sqlite3.connect(tmp_path / "other.sqlite")
    connection.execute("CREATE TABLE bookmarks (name TEXT)")
    connection.commit()
    connection.close()
    before = (tmp_path / "other.sqlite").read_bytes()
    with pytest.raises(ValueError, match="other.sqlite: expected a benchmark's SQLite file; .*received bookmarks"):
        Store(tmp_path / "other.sqlite")
    assert (tmp_path / "other.sqlite").read_bytes() == before
