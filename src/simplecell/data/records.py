"""What a person knows about the samples of a bare array: labels, texts, tokens, one record each."""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

from simplecell.data.binary import check_size, naming, npy_header, packed, refuse_trap
from simplecell.data.cells import (
    cells_of,
    find_delimiter,
    first_lines,
    without_delimiter_line,
)
from simplecell.data.files import read_text, suffix_of
from simplecell.data.rows import Array, Meta, Record
from simplecell.data.spreadsheet import bare
from simplecell.errors import DataError

KINDS = ("csv", "tsv", "jsonl", "npz")


def read_meta(path: Path) -> Meta:
    """One record per sample: a .csv with a header, a .jsonl of objects, or an .npz of arrays [n].

    Raises DataError for anything else.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if not path.is_file():
        raise DataError(f"{path} is not a file; meta is read from .{', .'.join(KINDS)}")
    kind = suffix_of(path)
    with naming(path.name):
        if kind in ("csv", "tsv"):
            return _of_rows(path)
        if kind == "jsonl":
            return _of_json(path)
        if kind == "npz" and not packed(path):
            return _of_arrays(path)
    raise DataError(f"{path.name}: meta is read from .{', .'.join(KINDS)}")


def joined(own: Meta | None, said: Meta | None) -> Meta | None:
    """What data tell of their samples themselves, and what a meta file says, which counts more.

    Raises DataError where there is not one record each.
    """
    if own is None or said is None:
        return said or own
    if own.n_records != said.n_records:
        raise DataError(
            f"{said.n_records} records of meta came for {own.n_records} samples; one each is needed"
        )
    return Meta(own.n_records, lambda i: own.record(i) | said.record(i))


def _of_rows(path: Path) -> Meta:
    text, said = without_delimiter_line(read_text(path))
    lines = text.splitlines(keepends=True)
    rows = [row for _, row in cells_of(lines, said or find_delimiter(first_lines(text)))]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise DataError(f"{path.name} needs a header and rows of as many cells")
    names = list(map(bare, rows[0]))
    double = [name for name, n in Counter(filter(None, names)).items() if n > 1]
    if double:
        raise DataError(
            f"several columns of {path.name} are called {double[0]!r}; a record has one value "
            "under each name, so give each column a name of its own"
        )
    return Meta(
        len(rows) - 1,
        lambda i: {name: _plain(cell) for name, cell in zip(names, rows[i + 1], strict=True)},
    )


def _plain(cell: str) -> int | float | str:
    for number in (int, float):
        try:
            value = number(cell)
        except ValueError:
            continue
        if str(value) == cell and math.isfinite(value):  # "007" and "1e5" are words
            return value
    return cell


def _of_json(path: Path) -> Meta:
    records: list[Record] = [json.loads(line) for line in read_text(path).split("\n") if line]
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            raise DataError(f"record {i} of {path.name} is no JSON object: {record!r:.40}")
    return Meta(len(records), lambda i: records[i])


def _of_arrays(path: Path) -> Meta:
    shapes: dict[str, tuple[int, ...]] = {}
    known: dict[str, Array] = {}
    with zipfile.ZipFile(path) as archive:
        for info in (info for info in archive.infolist() if info.filename.endswith(".npy")):
            key = info.filename.removesuffix(".npy")
            if key in shapes:
                raise DataError(f"{path.name} holds {key!r} twice; each name may stand there once")
            with archive.open(info) as stream:
                shapes[key], _, dtype = npy_header(stream, f"{key!r} of {path.name}", whatever=True)
                held = info.file_size - stream.tell()
            check_size(path.name, shapes[key], dtype, held)
            # The data themselves often lie in the same file, and are not read for what is about
            # them: one value a sample.
            if len(shapes[key]) == 1:
                known[key] = _column_in(archive, info, path)
    lengths = {len(array) for array in known.values()}
    if len(lengths) != 1:
        listed = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
        raise DataError(
            f"{path.name} needs 1-D arrays of one length, but holds: {listed or 'none'}"
        )

    def record(i: int) -> Record:
        return {key: array[i].tolist() for key, array in known.items()}

    return Meta(lengths.pop(), record)


def _column_in(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Array:
    """A member [n] whose header was found to say what it holds: numbers, or words."""
    refuse_trap(path.name, info.file_size, path.stat().st_size)
    with archive.open(info) as stream:
        column: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return column
