"""Data of other packages: where they come from, how they are split, and that nothing held out is trained on."""

import io
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from optenv import tasks
from optenv.benchmark.suites import SUITES
from optenv.tasks.real import large_tables, mnist, packages, pictures, prose, r_tables, small_tables, training
from optenv.tasks.real.fixed import Resplit, parts, shuffled, standardise_all

LOADERS = (mnist.load, large_tables.load, r_tables.examples, prose.load, pictures.load, training.origins)
TABLE = {
    "row": np.arange(6.0),
    "weight": np.array([3.0, 1.0, 2.0, np.nan, 2.0, 5.0]),
    "site": np.array(["a", "b", "a", "b", "c", "a"]),
    "constant": np.full(6, 7.0),
    "note": np.array([*"uvwxy", ""]),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def fresh():
    """Loaders that have loaded nothing yet."""
    for load in LOADERS:
        load.cache_clear()


@pytest.mark.parametrize(
    "name", ["mnist_mlp", "diamonds", "olive_splits", "prose_conv", "denoise_unet", "real_pictures:0"]
)
def test_without_its_package_a_task_is_found_and_its_data_name_the_extra(monkeypatch, fresh, name):
    def missing(_):
        raise packages.PackageNotFoundError

    monkeypatch.setattr(packages, "distribution", missing)
    task = tasks.get(name)
    assert task.init(seeded())
    with pytest.raises(ImportError, match=r"""is not installed: pip install "optcontrol\[data\]\""""):
        task.draw(seeded())


def test_a_table_is_unpickled_once_and_read_from_the_users_cache_afterwards(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = r_tables.columns("palmerpenguins/penguins")
    monkeypatch.setattr(r_tables, "_unpickle", None)
    again = r_tables.columns("palmerpenguins/penguins")
    assert list(first) == list(again) and "species" in first and "rownames" not in first
    assert all(np.array_equal(first[name], again[name], equal_nan=first[name].dtype == float) for name in first)
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".npz"]


def test_documents_are_read_without_executing_anything():
    assert prose.Plain(io.BytesIO(pickle.dumps({"a": {"b": "text"}}))).load() == {"a": {"b": "text"}}
    with pytest.raises(pickle.UnpicklingError, match="expected text alone; received a pathlib"):
        prose.Plain(io.BytesIO(pickle.dumps(Path("x")))).load()


def test_examples_leave_out_row_numbers_free_text_constants_and_incomplete_rows(monkeypatch):
    monkeypatch.setattr(r_tables, "MAX_LEVELS", 4)
    x, y = r_tables.encode(TABLE, "site")
    assert x.tolist() == [[3.0], [1.0], [2.0], [2.0], [5.0]] and y.tolist() == [0, 1, 0, 2, 0]
    x, y = r_tables.encode(TABLE, "weight")
    assert x.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]] and y.shape == (5, 1)
    assert r_tables.encode(TABLE, "weight", most=3)[0].shape == (3, 2)


def test_parts_share_no_row_and_together_are_all_rows():
    rows = torch.arange(50)
    data = parts(rows, order=shuffled(50), valid=10, test=5)
    assert [len(part[0]) for part in (data.train, data.valid, data.test)] == [35, 10, 5]
    assert sorted(torch.cat([*data.train, *data.valid, *data.test]).tolist()) == rows.tolist()


def test_no_tile_of_a_photograph_is_in_two_sets():
    data = pictures.load()
    sets = [{tuple(row) for row in part[1].flatten(1).tolist()} for part in (data.train, data.valid, data.test)]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]


def test_text_for_validation_and_test_repeats_little_of_the_text_for_training():
    data = prose.load()
    seen = set(map(bytes, data.train[0].to(torch.uint8).numpy()))
    for part in (data.valid, data.test):
        windows = part[0].to(torch.uint8).numpy()
        assert sum(bytes(window) in seen for window in windows) < len(windows) / 4  # headings repeat


def test_features_and_targets_are_standardised_by_the_training_rows_alone():
    x, y = 5 + 3 * torch.randn(100, 2, generator=seeded()), torch.randn(100, 1, generator=seeded(1))
    x = torch.cat([x, (x[:, :1] > 5).float(), torch.full((100, 1), 9.0)], 1)
    data = standardise_all(parts(x, y, order=torch.arange(100), valid=20, test=20))
    changed = standardise_all(parts(torch.cat([99 * x[:40], x[40:]]), y, order=torch.arange(100), valid=20, test=20))
    assert torch.equal(data.train[0], changed.train[0]) and not torch.equal(data.test[0], changed.test[0])
    deviation, mean = torch.std_mean(torch.cat([data.train[0][:, :2], data.train[1]], 1), 0)
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(deviation, torch.ones(3))
    assert torch.equal(data.train[0][:, 2:], x[40:, 2:])  # an indicator and a constant


@pytest.mark.parametrize("task", small_tables.TASKS, ids=lambda task: task.name)
def test_twenty_seeds_are_twenty_splits_of_a_small_table(task):
    splits = [task.draw(seeded(seed)) for seed in range(20)]
    assert len({tuple(data.test[0].flatten().tolist()) for data in splits}) == 20
    assert torch.equal(task.draw(seeded(3)).test[0], splits[3].test[0])
    rows = len(task.source.load()[0])
    assert len(splits[0].valid[0]) == len(splits[0].test[0]) == rows // 5
    assert sum(len(part[0]) for part in (splits[0].train, splits[0].valid, splits[0].test)) == rows


def test_a_run_that_splits_anew_never_tests_on_what_it_trains_on():
    rows = torch.arange(1000)
    data = Resplit(partial(tuple, (rows, rows)))(seeded())
    assert len(set(torch.cat([data.train[0], data.valid[0], data.test[0]]).tolist())) == 1000


@pytest.mark.parametrize("case", SUITES["real"].cases, ids=lambda case: case.task)
def test_tasks_of_real_size_have_a_thousand_test_examples(case):
    data = tasks.get(case.task).draw(seeded())
    assert len(data.test[0]) >= 1000 and len(data.valid[0]) >= 256
    assert all(tensor.isfinite().all() for tensor in (*data.train, *data.valid, *data.test))


def test_every_listed_table_has_the_features_and_classes_that_the_list_says():
    family = tasks.get("real_tables")
    assert len(family.listed) == family.num_members == 200
    for row, task in zip(family.listed, tasks.members(family), strict=True):
        x, y = task.source.load()
        assert 200 <= len(x) <= training.MOST_ROWS and x.isfinite().all() and y.isfinite().all()
        assert (x.shape[1], 0 if y.is_floating_point() else int(y.max()) + 1) == (row.inputs, row.classes)


def test_nothing_that_is_held_out_is_in_a_family_to_train_on():
    held_out = {load.args[0] for load in (*map(_load, large_tables.TASKS), *map(_load, small_tables.TASKS))}
    names = {table.partition("/")[2].lower() for table in held_out if "/" in table}
    listed = {row.table.partition("/")[2].lower() for row in tasks.get("real_tables").listed}
    assert len(names) == 8 and not names & listed
    assert not set(pictures.HELD_OUT) & set(training.PICTURES)


def _load(task):
    return task.source.load


def test_the_character_convolution_does_not_look_ahead():
    task = tasks.get("prose_conv")
    (windows,) = task.draw(seeded()).valid
    params, changed = task.init(seeded()), windows[:4].clone()
    changed[:, 20:] = 0
    before, after = task.logits(params, windows[:4]), task.logits(params, changed)
    torch.testing.assert_close(before[:, :20], after[:, :20])
    assert not torch.allclose(before[:, 20:], after[:, 20:])


def test_the_network_of_sets_is_blind_to_the_order_of_points():
    task = tasks.get("point_sets")
    params, (points, shapes) = task.init(seeded()), task.draw(seeded()).valid
    shuffled_points = points[:, torch.randperm(points.shape[1], generator=seeded())]
    torch.testing.assert_close(task.loss(params, (points, shapes)), task.loss(params, (shuffled_points, shapes)))


def test_a_network_that_finds_no_noise_leaves_the_tile_as_it_is():
    task = tasks.get("denoise_unet")
    params, (noisy, clean) = task.init(seeded()), task.draw(seeded()).valid
    params |= {name: torch.zeros_like(value) for name, value in params.items() if name.startswith("output")}
    torch.testing.assert_close(task.loss(params, (noisy, clean)), (noisy - clean).square().mean())
