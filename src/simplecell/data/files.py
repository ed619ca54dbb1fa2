"""Files of numbers: one function per format, one table by suffix (`READERS`), no unpickling ever.

What a file declares is compared with what it holds before anything is allocated.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from simplecell.data.binary import (
    NPY_MAGIC,
    array_from,
    check_size,
    checked_sparse,
    mapped_member,
    most_bytes,
    most_of,
    naming,
    npy_array,
    npy_header,
    opened,
    packed,
    refuse_trap,
    take,
)
from simplecell.data.columnar import read_arrow, read_parquet
from simplecell.data.hdf5 import read_hdf5, read_matlab
from simplecell.data.json_lines import read_json_lines
from simplecell.data.loaded import Loaded, choose
from simplecell.data.matlab import variables
from simplecell.data.matrix_market import read_matrix_market
from simplecell.data.options import Options
from simplecell.data.rows import Array, check_numbers
from simplecell.data.sound import SUFFIXES as SOUNDS
from simplecell.data.sound import read_sound
from simplecell.data.tensors import read_safetensors, read_torch
from simplecell.data.text_tables import parse_table
from simplecell.data.words import are_word_vectors, read_word_binary, read_word_text
from simplecell.errors import DataError, UsageError

_MOST_LINES, _MOST_COLUMNS, _LONG_LINE = 20_000_000, 500_000, 2**24
_LOOKED_AT = 2**16
_HDF5 = b"\x89HDF\r\n\x1a\n"
_TEXTS = ("csv", "tsv", "txt", "data")
_IDX = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_file(path: Path, options: Options | None = None) -> Loaded:
    """The numbers in a file, by suffix or, where that says nothing, by its first bytes.

    Raises DataError, naming the file, for anything that is missing, broken, too large or not
    numbers; UsageError for a variable that is not there.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist")
    told = options or Options()
    with naming(path.name):
        reader = READERS.get(suffix_of(path)) or _by_first_bytes(path)
        if packed(path) and reader not in UNPACKED:
            raise DataError(f"{path.name} is compressed twice; gunzip it first")
        if told.layer is not None and reader is not read_hdf5:
            raise UsageError(f"data.layer is for AnnData (.h5ad), which {path.name} is not")
        return reader(path, told)


def suffix_of(path: Path) -> str:
    """The format a name promises, whether gzipped or not: "npy", "csv", "ubyte" …"""
    name = path.name.lower().removesuffix(".gz")
    return "ubyte" if name.endswith("ubyte") else path.with_name(name).suffix.removeprefix(".")


def _by_first_bytes(path: Path) -> Reader:
    with opened(path) as stream:
        start = stream.read(8)
    if start.startswith(NPY_MAGIC):
        return read_npy
    if start[:2] == b"\0\0" and len(start) > 3 and start[2] in _IDX and 1 <= start[3] <= 4:
        return read_idx
    if start.startswith(b"PK\x03\x04"):
        return read_npz
    if start.startswith(b"MATLAB"):
        return read_mat
    if start == _HDF5:
        return read_hdf5
    known = ", ".join(f".{suffix}" for suffix in READERS)
    raise DataError(f"{path.name} is of no known kind; known are pictures, {known}")


def read_npy(path: Path, options: Options) -> Loaded:
    """A NumPy array, memory-mapped (unless it is gzipped)."""
    with opened(path) as stream:
        if packed(path):
            return Loaded(npy_array(stream, path.name, most_of(path)))
        shape, _, dtype = npy_header(stream, path.name)
        check_size(path.name, shape, dtype, path.stat().st_size - stream.tell())
    return Loaded(np.load(path, mmap_mode="r", allow_pickle=False))


def read_bytes_array(stream: IO[bytes], name: str = "standard input") -> Array:
    """The array in a stream of .npy bytes, such as standard input; at most 8 GiB."""
    with naming(name):
        return npy_array(stream, name)


def read_npz(path: Path, options: Options) -> Loaded:
    """One array of a NumPy archive, mapped where it is not compressed, or a SciPy sparse matrix
    saved by `save_npz`."""
    with zipfile.ZipFile(path) as archive:
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        shapes = {name: _shape_said(archive, info) for name, info in members.items()}
        if {"format", "shape", "data"} <= set(shapes) and options.key is None:
            return Loaded(_sparse_archive(path, members))
        key = choose(path.name, shapes, options.key)
        name, info = f"{key!r} of {path.name}", members[key]
        mapped = mapped_member(path, info, name)
        if mapped is not None:
            return Loaded(mapped)
        refuse_trap(path.name, info.file_size, path.stat().st_size)
        with archive.open(info) as stream:
            return Loaded(npy_array(stream, name, most_bytes(path.stat().st_size)))


def _shape_said(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    """The shape in a .npy header as text, for a list of variables; "?" where it has none."""
    try:
        with archive.open(info) as stream:
            return str(npy_header(stream, info.filename, whatever=True)[0])
    except (DataError, ValueError):
        return "?"


def _sparse_archive(path: Path, members: Mapping[str, zipfile.ZipInfo]) -> Any:
    """SciPy's matrix, whose members say no more than they hold."""
    from scipy import sparse

    refuse_trap(path.name, sum(i.file_size for i in members.values()), path.stat().st_size)
    with zipfile.ZipFile(path) as archive:
        for name, info in members.items():
            with archive.open(info) as stream:
                shape, _, dtype = npy_header(stream, f"{name!r} of {path.name}", whatever=True)
                check_size(path.name, shape, dtype, info.file_size - stream.tell())
    return checked_sparse(sparse.load_npz(path))


def read_mat(path: Path, options: Options) -> Loaded:
    """One variable of a MATLAB file; in 3-D and 4-D the sample is the last axis."""
    with opened(path) as stream:
        start = stream.read(512 + len(_HDF5))
        old = 0 in start[:4]
    if start.startswith(_HDF5) or start.endswith(_HDF5):
        return read_matlab(path, options)
    found = {} if old else variables(path)
    shapes = {name: variable.shape for name, variable in found.items()}
    if old:
        from scipy import io

        shapes = {name: shape for name, shape, _ in io.whosmat(path)}
    key = choose(path.name, shapes, options.key)
    data: Any = None if old else found[key].read()
    if old:
        data = checked_sparse(io.loadmat(path, variable_names=[key], mat_dtype=True)[key])
    check_numbers(f"{key!r} of {path.name}", data.dtype, data.shape)
    return Loaded(data, samples_last=data.ndim > 2, either_way=True)


def read_text(path: Path) -> str:
    """The text of a file, gzipped or not: UTF-8, else Latin-1."""
    with opened(path) as stream:
        data = take(stream, path.name, most_of(path))
    _check_lines(data, path)
    return _decoded(data)


def _decoded(data: bytearray) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _check_lines(data: bytearray, path: Path) -> None:
    """Refuse text whose cells alone would fill the memory: lines are counted before they are cut.

    Every line of twice `_LONG_LINE` has a whole window of that size, and none of it ends there.
    """
    compressed = packed(path) or suffix_of(path) == "zip"
    if compressed and data.count(b"\n") > _MOST_LINES:
        raise DataError(
            f"{path.name} has more than {_MOST_LINES:,} lines; unpack it first, if that is meant"
        )
    # Without an end, the first line is all of the window.
    first = data[: data.find(b"\n", 0, _LONG_LINE) % (_LONG_LINE + 1)]
    n_columns = 1 + max(first.count(mark) for mark in (b",", b";", b"\t", b" "))
    starts = range(0, len(data) - _LONG_LINE, _LONG_LINE)
    long = any(data.find(b"\n", at, at + _LONG_LINE) < 0 for at in starts)
    if long or n_columns > _MOST_COLUMNS:
        came = f"{n_columns:,} columns" if not long else f"a line of over {_LONG_LINE >> 20} MiB"
        raise DataError(
            f"{path.name} has {came}; a table may have {_MOST_COLUMNS:,}: save so many numbers as "
            ".npy"
        )


def read_table(path: Path, options: Options) -> Loaded:
    """A table as text: commas, semicolons, tabs or spaces."""
    return _table_in(read_text(path), path.name, options)


def _table_in(text: str, name: str, options: Options) -> Loaded:
    return Loaded.of_table(parse_table(text, name, options))


def read_idx(path: Path, options: Options) -> Loaded:
    """MNIST's format; the labels beside it ("…-labels-idx1-…") come along when they fit."""
    data, notes = _idx(path), []
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = _idx(beside) if beside != path and beside.is_file() else None
    if labels is not None and labels.shape == data.shape[:1]:
        notes.append(f"{beside.name} gives the labels; they are no inputs")
        return Loaded(data, labels=labels, notes=notes)
    check_numbers(path.name, data.dtype, data.shape)
    return Loaded(data)


def _idx(path: Path) -> Array:
    with opened(path) as stream:
        magic = stream.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX or not magic[3]:
            raise DataError(f"{path.name} is not an idx file (MNIST's format)")
        shape = struct.unpack(f">{magic[3]}I", stream.read(4 * magic[3]))
        dtype = np.dtype(_IDX[magic[2]])
        if packed(path) or not math.prod(shape):
            return array_from(stream, path.name, shape, dtype, most=most_of(path))
        check_size(path.name, shape, dtype, path.stat().st_size - stream.tell())
        return np.memmap(path, dtype, "r", stream.tell(), shape)


def read_text_or_words(path: Path, options: Options) -> Loaded:
    """A table as text, or word vectors, which have no commas and a different word in each line."""
    with opened(path) as stream:
        vectors = are_word_vectors(stream.read(_LOOKED_AT))
    return (read_word_text if vectors else read_table)(path, options)


def read_zip(path: Path, options: Options) -> Loaded:
    """The table in a .zip, as pandas writes one; of several, `data.key` names it."""
    with zipfile.ZipFile(path) as archive:
        members = {
            info.filename: info
            for info in archive.infolist()
            if suffix_of(Path(info.filename)) in _TEXTS and not info.filename.startswith("__MACOSX")
        }
        if not members and any(name.endswith(".npy") for name in archive.namelist()):
            return read_npz(path, options)
        if not members:
            held = ", ".join(archive.namelist()[:5]) or "nothing"
            raise DataError(f"{path.name} holds {held}, and no table (.csv, .tsv, .txt); unpack it")
        sizes = {name: f"of {info.file_size} bytes" for name, info in members.items()}
        name = choose(path.name, sizes, options.key)
        refuse_trap(path.name, members[name].file_size, path.stat().st_size)
        with archive.open(members[name]) as stream:
            data = take(stream, path.name, most_bytes(path.stat().st_size))
    _check_lines(data, path)
    return _table_in(_decoded(data), f"{name} of {path.name}", options)


Reader = Callable[[Path, Options], Loaded]
READERS: dict[str, Reader] = {
    "npy": read_npy,
    "npz": read_npz,
    "mat": read_mat,
    "csv": read_table,
    "tsv": read_table,
    "txt": read_text_or_words,
    "data": read_table,
    "idx": read_idx,
    "ubyte": read_idx,
    "safetensors": read_safetensors,
    "pt": read_torch,
    "pth": read_torch,
    "parquet": read_parquet,
    "feather": read_arrow,
    "arrow": read_arrow,
    "h5": read_hdf5,
    "hdf5": read_hdf5,
    "h5ad": read_hdf5,
    "jsonl": read_json_lines,
    "ndjson": read_json_lines,
    "mtx": read_matrix_market,
    "vec": read_word_text,
    "bin": read_word_binary,
    "zip": read_zip,
    **dict.fromkeys(SOUNDS, read_sound),
}
"""By suffix; those that `UNPACKED` reads also with ".gz" behind it."""
UNPACKED = {
    *(read_npy, read_table, read_text_or_words, read_idx),
    *(read_json_lines, read_matrix_market, read_word_text, read_word_binary),
}
