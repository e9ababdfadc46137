"""Tasks from folders of IDX files."""

import gzip
import struct

import pytest
import torch

from optenv import tasks
from optenv.tasks.idx import read


def idx(values):
    return (
        b"\0\0\x08" + bytes([values.dim()]) + struct.pack(f">{values.dim()}I", *values.shape) + bytes(values.flatten())
    )


def write(path, values):
    path.write_bytes(gzip.compress(idx(values)) if path.suffix == ".gz" else idx(values))


@pytest.fixture
def folder(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for part, count, end in (("train", 40, ".gz"), ("t10k", 20, "")):
        images = torch.randint(256, (count, 3, 4), generator=generator, dtype=torch.uint8)
        write(tmp_path / f"{part}-images-idx3-ubyte{end}", images)
        write(tmp_path / f"{part}-labels-idx1-ubyte{end}", torch.arange(count, dtype=torch.uint8) % 5)
    return tmp_path


def test_a_folder_becomes_a_task_compressed_or_not(folder):
    task = tasks.get(f"idx:{folder}")
    data = task.draw(torch.Generator())
    assert tasks.get(f"idx:{folder}") is task
    assert [t.shape for t in data.train] == [(40, 12), (40,)]
    assert [t.shape for t in data.valid] == [(20, 12), (20,)]
    assert 0 <= data.train[0].min() and data.train[0].max() <= 1
    params = task.init(torch.Generator().manual_seed(0))
    assert params["output.weight"].shape == (5, 64)
    assert task.loss(params, data.valid).isfinite()


def test_values_are_read_as_they_were_written(tmp_path):
    values = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)
    write(tmp_path / "values", values)
    assert torch.equal(read(tmp_path / "values"), values)


def test_file_names_may_have_a_dot_before_idx(folder):
    old = folder / "t10k-labels-idx1-ubyte"
    old.rename(folder / "t10k-labels.idx1-ubyte")
    assert tasks.get(f"idx:{folder}").name == f"idx:{folder}"


def test_a_missing_folder_and_a_missing_file_are_named(folder):
    with pytest.raises(FileNotFoundError, match="expected a folder, found none at '/nowhere'"):
        tasks.get("idx:/nowhere")
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="expected train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz"):
        tasks.get(f"idx:{folder}")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "expected a header of unsigned bytes, received b''"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "expected a header of unsigned bytes"),
        (b"\0\0\x08\x03\0\0", "expected a header of unsigned bytes"),
        (b"\0\0\x08\x01\0\0\0\x14" + b"\0" * 19, "expected 20 values for .20,., received 19"),
        (idx(torch.zeros(7, dtype=torch.uint8)), "t10k-images .20, 3, 4. and t10k-labels .7,."),
    ],
)
def test_a_damaged_file_is_refused(folder, content, complaint):
    (folder / "t10k-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        tasks.get(f"idx:{folder}")


def test_a_damaged_compressed_file_is_refused(folder):
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte.gz: expected an IDX file .*damaged"):
        tasks.get(f"idx:{folder}")
