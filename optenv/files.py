"""Reading files that anybody may have written: nothing is executed, memory is bounded, and every fault is one error."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray
MOST_BYTES = 2**27  # of a file, and of all arrays that an archive unpacks to
MOST_TEXT = 2**26  # of JSON
MOST_HEADER = 2**22  # of safetensors
MOST_VALUES = 2_000_000  # in a JSON text: an empty list takes three bytes there and 64 in memory
MOST_MEMBERS = 1000  # of an archive
NUMBERS = "biuf"  # kinds of numpy's types
LONGEST = 400  # characters of a reason: some libraries quote what they stumbled over in full


@contextmanager
def reading(path: str | Path, expected: str) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into one error that names the file and what was expected.

    Args:
      path: of the file, as the error names it.
      expected: what the file should be, such as "a brain file (.npz)".

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for every other reason.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: expected {expected}; there is none") from error
    except Exception as error:  # parsers of damaged files raise whatever they meet: struct.error, zlib.error, ...
        raise ValueError(f"{path}: expected {expected}; {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        reason = f"{error} is missing"
    elif isinstance(error, (ValueError, OSError)):
        reason = str(error)
    else:
        reason = f"it is damaged or something else ({type(error).__name__}: {error})"
    return reason if len(reason) <= LONGEST else reason[:LONGEST] + " ..."


def check_file(path: str | Path) -> Path:
    """Return the path of a file.

    Raises:
      FileNotFoundError: if there is none; a device or a pipe, which may never end, is none.
      ValueError: if it is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError("received a folder")
    if not path.is_file():
        raise FileNotFoundError(path)
    return path


def read_bytes(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is a folder, or has more than `most` bytes.
    """
    if (size := check_file(path).stat().st_size) > most:
        raise ValueError(f"expected at most {most} bytes; received {size}")
    return Path(path).read_bytes()


def read_object(text: str | bytes) -> dict[str, Any]:
    """Return the object that a JSON text holds.

    Raises:
      ValueError: if it is no JSON, too large, too deep, or something else.
    """
    found = read_json(text)
    if not isinstance(found, dict):
        raise ValueError(f"expected an object by name; received {type(found).__name__}")
    return found


def read_json(text: str | bytes) -> Any:
    """Return what a JSON text holds.

    Raises:
      ValueError: if it is no JSON, too large or too deep.
    """
    content = text.encode(errors="replace") if isinstance(text, str) else text
    if len(content) > MOST_TEXT or sum(map(content.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise ValueError(f"expected JSON of at most {MOST_TEXT} bytes and {MOST_VALUES} values; received more")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON; {error}") from error


def read_safetensors(path: str | Path) -> tuple[dict[str, str], dict[str, Array]]:
    """Return the metadata and the tensors of a safetensors file.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is damaged, too large, or something else.
    """
    from safetensors import safe_open

    header = int.from_bytes(read_bytes(path)[:8], "little")
    try:
        if header > MOST_HEADER:
            raise ValueError(f"expected a header of at most {MOST_HEADER} bytes; it claims {header}")
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise ValueError(f"expected a safetensors file; it is damaged or something else: {error}") from error


def read_npz(path: str | Path) -> dict[str, Array]:
    """Return the arrays of an npz by name: numbers and strings, none of them an object.

    `numpy.load` takes the sizes that headers claim on trust; here every claim is held against the bytes that are there.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is damaged, too large, or something else.
    """
    with zipfile.ZipFile(io.BytesIO(read_bytes(path))) as archive:
        members = archive.infolist()
        if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_BYTES:
            raise ValueError(f"expected at most {MOST_MEMBERS} arrays and {MOST_BYTES} bytes; received more")
        if repeated := [name for name, times in Counter(m.filename for m in members).items() if times > 1]:
            raise ValueError(f"expected every array once; received {repeated[0]!r} again")
        return {member.filename.removesuffix(".npy"): _read_member(archive, member) for member in members}


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # only these unpack in bounded steps
        raise ValueError(f"expected arrays stored or deflated; received method {member.compress_type}")
    return parse_npy(archive.read(member), member.filename)


def parse_npy(content: bytes, name: str = "array") -> Array:
    """Return the array of an npy file, a view of its bytes.

    Raises:
      ValueError: if it is no array of numbers or strings, or its header claims another size than there is.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"{name}: expected an npy header of version 1.0; received {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    size = math.prod(shape) * dtype.itemsize
    if dtype.kind not in NUMBERS + "U" or dtype.itemsize == 0 or size != len(content) - file.tell() or min((0, *shape)):
        raise ValueError(f"{name}: expected numbers or text of shape {shape} in {len(content) - file.tell()} bytes")
    flat = np.frombuffer(content, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
