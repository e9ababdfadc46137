"""Damaged inputs for `benchmarks/fuzz.py`: bytes, JSON, arrays, archives and paths, each a function of a generator."""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Change = Callable[[random.Random, bytes], bytes]

# What stands in a JSON text for these cannot be written by `json.dumps`.
RAW = {
    "@deep": "[" * 10_000 + "]" * 10_000,
    "@deep by name": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "@digits": "1" * 5_000,
    "@nan": "NaN",
    "@infinity": "-Infinity",
    "@many": "[" + "[]," * 200_000 + "[]]",
    "@twice": '{"a": 1, "a": 2}',
    "@bare": "\\ud800",
}
ODD = (
    *RAW, None, True, False, -1, 0, 1, 2.5, 10**12, 2**63, 10**400, 1e308, -1e308, 1e-320, "", "a", "\0", "1" * 100_000,
    [], {}, [None], [[1]], ["a"], [1, 2], {"a": 1}, [1e308] * 50, list(range(5000)), {str(k): k for k in range(2000)},
)  # fmt: skip


def truncated(rng: random.Random, content: bytes) -> bytes:
    """Cut off the end."""
    return content[: rng.randrange(len(content) + 1)]


def bits_flipped(rng: random.Random, content: bytes) -> bytes:
    """Flip 1 to 64 bits, half of the time in the first 600 bytes, where headers are."""
    changed, reach = bytearray(content), min(len(content), 600) if rng.random() < 0.5 else len(content)
    for _ in range(2 ** rng.randrange(7) if content else 0):
        changed[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def block_replaced(rng: random.Random, content: bytes) -> bytes:
    """Put zeros, ones, noise, nothing, or another part of the content in the place of a block."""
    start, length = rng.randrange(len(content) + 1), 2 ** rng.randrange(11)
    other = rng.randrange(len(content) + 1)
    fill = (b"\0" * length, b"\xff" * length, rng.randbytes(length), b"", content[other : other + length])
    return content[:start] + rng.choice(fill) + content[start + length :]


def appended(rng: random.Random, content: bytes) -> bytes:
    """Append noise, or the content once more."""
    return content + rng.choice((rng.randbytes(rng.randrange(1, 2000)), content, b"\0"))


def of_another_kind(rng: random.Random, content: bytes) -> bytes:
    """Return another file altogether."""
    shipped = Path(__file__).parents[1] / "agents" / "pretrained" / "ppo.safetensors"
    made = shipped.read_bytes(), rng.randbytes(rng.randrange(4000)), npz({"a": np.ones(3)})
    return rng.choice((*OTHERS, *made))


OTHERS = (
    b"", b"\0", b"PK\3\4", b"\x80\x04\x95 a pickle", b"{}", b"[]", b"null", b"SQLite format 3\0", b"\xff\xfe{\0}\0",
    b"\x1f\x8b\x08", b'{"step": 1, "loss": 1.0, "rate": [1.0]}\n', RAW["@deep"].encode(), RAW["@many"].encode(),
)  # fmt: skip
BYTES: tuple[Change, ...] = (truncated, bits_flipped, block_replaced, appended, of_another_kind)


def path_damaged(rng: random.Random, path: Path) -> None:
    """Put something that is no such file in its place: a folder, links, a pipe, nothing, or a file of 8 GB."""
    path.unlink()
    what = rng.randrange(6)
    if what == 0:
        path.mkdir()
    elif what == 1:
        path.symlink_to(path)
    elif what == 2:
        path.symlink_to(path.with_name("nowhere"))
    elif what == 3:
        os.mkfifo(path)
    elif what == 4:
        with path.open("wb") as file:
            file.truncate(2**33)


def json_changed(rng: random.Random, value: Any) -> str:
    """Change one place of a nest of lists and dicts, or several, and return it as text."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 1, 3))):
        value = _changed(rng, value)
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw)
    return text


def _changed(rng: random.Random, value: Any) -> Any:
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.1:
        return copy.deepcopy(rng.choice(ODD))
    if isinstance(value, list):
        where: Any = rng.randrange(len(value))
        if rng.random() < 0.2:
            return rng.choice(
                (value[:where], value + value, [value], {str(k): own for k, own in enumerate(value)}, value[::-1])
            )
    else:
        where = rng.choice(list(value))
        if rng.random() < 0.3:
            kept = {name: own for name, own in value.items() if name != where}
            renamed, added = {**kept, where + "x": value[where]}, {**value, "unheard_of": 1}
            return rng.choice((kept, renamed, added, list(value), [value]))
    value[where] = _changed(rng, value[where])
    return value


def json_file(rng: random.Random, content: bytes) -> bytes:
    """Change a JSON file."""
    return json_changed(rng, json.loads(content)).encode(errors="surrogatepass")


def json_lines(rng: random.Random, content: bytes) -> bytes:
    """Change, repeat, drop or break a line of JSON lines."""
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    broken = (json_file(rng, lines[at]) + b"\n",) * 4 + (lines[at] * 2, b"", b"\n", lines[at][:-9], b"\xff" + lines[at])
    return b"".join([*lines[:at], rng.choice(broken), *lines[at + 1 :]])


def array_changed(rng: random.Random, array: np.ndarray) -> np.ndarray:
    """Give an array another type, another shape, or other numbers."""
    types = ("f2", "f4", "f8", "i1", "i8", "u8", "?", "c16", "U8", "S4", "M8[s]")
    shapes = ((1, -1), (-1, 1), (-1,), (1, 1, 1, -1))
    numbers = (np.nan, np.inf, -np.inf, 1e38, -1e38, 1e300, 0.0, -1.0, 1e6, -1e6, 1e12, 1e-40)
    if array.dtype.kind == "U" and str(array).startswith("{"):
        return np.array(json_changed(rng, json.loads(str(array))))
    choice = rng.random()
    with np.errstate(all="ignore"):
        if choice < 0.3:
            return array.astype(rng.choice(types)) if array.dtype.kind in "biuf" else np.zeros(array.shape)
        if choice < 0.5:
            cut = (
                array.ravel()[:0],
                np.zeros((0, *array.shape)),
                array.ravel()[:-1],
                array.T,
                array[None],
                np.zeros(()),
            )
            return rng.choice((array.reshape(rng.choice(shapes)), *cut))
        if array.dtype.kind != "f" or not array.size:
            return np.full(array.shape, rng.choice(numbers))
        changed = array.astype(rng.choice((array.dtype, np.dtype("f8"))))
        number = rng.choice(numbers)
        if choice < 0.8:
            changed.reshape(-1)[rng.randrange(array.size)] = number
        else:
            changed[...] = number
        return changed


def named_arrays_changed(rng: random.Random, arrays: dict[str, Any]) -> dict[str, Any]:
    """Change, drop, rename or add one of several arrays."""
    name, arrays = rng.choice(list(arrays)), dict(arrays)
    if rng.random() < 0.7:
        return {**arrays, name: array_changed(rng, np.asarray(arrays[name]))}
    array = arrays.pop(name)
    rest = {name + "x": array}, {}, {name: array, name + "/deeper": array}, {name: array, "weight99": array}
    return {**arrays, **rng.choice(rest)}


SAFE = {"f2": "F16", "f4": "F32", "f8": "F64", "i1": "I8", "i8": "I64", "u8": "U64", "b1": "BOOL"}


def safetensors(rng: random.Random, content: bytes) -> bytes:
    """Change the tensors, the metadata, or the header of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    choice = rng.random()
    if choice < 0.3:
        return _safe(json_changed(rng, header), data)
    if choice < 0.6 and header.get("__metadata__"):
        name = rng.choice(list(header["__metadata__"]))
        text = header["__metadata__"][name]
        nested = json_changed(rng, json.loads(text)) if text[:1] in "{[" else rng.choice(("", "é", "99", "1" * 5000))
        header["__metadata__"][name] = nested
        return _safe(json.dumps(header), data)
    if choice < 0.65:
        claimed = rng.choice((0, 1, 2**31, 2**63, 2**64 - 1, length + 1, length - 1, 99_000_000))
        return claimed.to_bytes(8, "little") + content[8:]
    arrays = {n: np.frombuffer(data[slice(*row["data_offsets"])], _type(row)).reshape(row["shape"])
              for n, row in header.items() if n != "__metadata__"}  # fmt: skip
    rows: dict[str, Any] = {"__metadata__": header.get("__metadata__", {})}
    parts, end = [], 0
    for name, array in named_arrays_changed(rng, arrays).items():
        part = np.ascontiguousarray(array).tobytes()
        kind = SAFE.get(array.dtype.str[1:], "BF16")
        rows[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [end, end + len(part)]}
        parts.append(part)
        end += len(part)
    return _safe(json.dumps(rows), b"".join(parts))


def _type(row: dict[str, Any]) -> str:
    return next(name for name, kind in SAFE.items() if kind == row["dtype"])


def _safe(header: str, data: bytes) -> bytes:
    text = header.encode(errors="surrogatepass")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def npz(arrays: dict[str, Any]) -> bytes:
    """Return arrays as an npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def archive(rng: random.Random, content: bytes) -> bytes:
    """Change the arrays of an npz, or the archive: false claims, bombs, objects, names twice, methods, many members."""
    if rng.random() < 0.6:
        with np.load(io.BytesIO(content)) as stored:
            return npz(named_arrays_changed(rng, dict(stored)))
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        members = [(name, old.read(name)) for name in old.namelist()]
    at = rng.randrange(len(members))
    name, array = members[at]
    kept, method, choice = [m for m in members if m[0] != name], zipfile.ZIP_DEFLATED, rng.randrange(9)
    if choice < 3:
        members = [*kept, (name, _claiming(rng, array))]
    elif choice == 3:
        members = [*kept, (name, rng.choice((truncated, bits_flipped, appended))(rng, array))]
    elif choice == 4:
        buffer = io.BytesIO()
        np.save(buffer, np.array([{"an": "object"}], object), allow_pickle=True)
        members = [*kept, (name, buffer.getvalue())]
    elif choice == 5:
        method = rng.choice((zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
    elif choice == 6:
        members += [(f"extra{k}.npy", b"") for k in range(3000)]
    elif choice == 7:
        return _unzipped_size_lied(rng, content)
    else:
        return _with_bomb(tuple(members[1:]), members[0][0])
    return _zip(members, method)


def _zip(members: list[tuple[str, bytes]], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as new:
        for member in members:
            new.writestr(*member)
    return buffer.getvalue()


def _claiming(rng: random.Random, array: bytes) -> bytes:
    many = "(" + "1," * 70 + ")"
    shape = rng.choice(("(1000000000000,)", "(99999, 99999, 9)", "(-1,)", f"(0, {2**62})", many, "7", "(2.0,)"))
    kind = rng.choice(("<f8", "<f8", "|O", "<U1000000000", "<U0", "V0", ">f8", "<c16", "<f16", "(99999,99999)<f8"))
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    start = 10 + int.from_bytes(array[8:10], "little")
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n" + array[start:]


def _unzipped_size_lied(rng: random.Random, content: bytes) -> bytes:
    """Change the size that the directory at the end claims for one member."""
    at, changed = rng.choice([i for i in range(len(content)) if content.startswith(b"PK\1\2", i)]), bytearray(content)
    changed[at + rng.choice((20, 24)) :][:4] = b"\0" * 4
    changed[at + 24 : at + 28] = struct.pack("<I", rng.choice((0, 1, 2**20, 2**31, 2**32 - 1)))
    return bytes(changed)


@cache
def _with_bomb(kept: tuple[tuple[str, bytes], ...], name: str) -> bytes:
    """Return an archive one of whose members unpacks to half a GiB of zeros, as its header says."""
    buffer, zeros = io.BytesIO(), b"\0" * 2**20
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for member in kept:
            new.writestr(*member)
        with new.open(name, "w") as file:
            shape = {"descr": "<f8", "fortran_order": False, "shape": (2**29 // 8,)}
            np.lib.format.write_array_header_1_0(file, shape)
            for _ in range(2**9):
                file.write(zeros)
    return buffer.getvalue()


@cache
def bomb(head: bytes, size: int) -> tuple[bytes, int, int]:
    """Return `head` and `size` zeros deflated, their checksum, and their length."""
    packer, crc, zeros = zlib.compressobj(9, zlib.DEFLATED, -15), zlib.crc32(head), b"\0" * 2**20
    parts = [packer.compress(head)]
    for _ in range(size // len(zeros)):
        parts.append(packer.compress(zeros))
        crc = zlib.crc32(zeros, crc)
    return b"".join([*parts, packer.flush()]), crc, len(head) + size


def idx(rng: random.Random, content: bytes) -> bytes:
    """Change the header of an IDX file: types, numbers of axes, lengths, among them enormous ones."""
    packed = content[:2] == b"\x1f\x8b"
    plain = bytearray(gzip.decompress(content) if packed else content)
    choice = rng.randrange(4)
    if choice == 0:
        plain[rng.randrange(4)] = rng.choice((0, 1, 2, 8, 9, 13, 200, 255))
    elif choice == 1:
        at = 4 + 4 * rng.randrange(plain[3])
        plain[at : at + 4] = struct.pack(">I", rng.choice((0, 1, 2**16, 2**31, 2**32 - 1)))
    elif choice == 2 and packed:
        body, crc, length = bomb(b"\0\0\x08\3" + struct.pack(">III", 2**9, 2**10, 2**10), 2**29)
        return b"\x1f\x8b\x08" + b"\0" * 5 + b"\2\xff" + body + struct.pack("<II", crc, length % 2**32)
    else:
        plain = bytearray(rng.choice((truncated, appended, bits_flipped))(rng, bytes(plain)))
    return gzip.compress(bytes(plain), 1) if packed else bytes(plain)
