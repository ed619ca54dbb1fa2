"""Rows of numbers to files, piece by piece: npy, npz, csv and parquet, dense and sparse."""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from simplecell.cli import parquet
from simplecell.data.spreadsheet import harmless_row
from simplecell.errors import UsageError, unknown
from simplecell.run.storage import replacing

Array = NDArray[np.generic]
_OURS = {"values", "names", "ids", "format", "shape", "data", "indices", "indptr"}


@dataclass(frozen=True)
class Sheet:
    """What a file of rows holds beside their numbers.

    `names` are those of the columns, `beside` more columns [n] of numbers or text, the identifier
    first; `dtype` is how numbers are written.
    """

    n_rows: int
    names: list[str]
    beside: Mapping[str, Array] = field(default_factory=dict)
    dtype: str = "<f4"

    def part(self, start: int, n: int) -> dict[str, Array]:
        """Rows of the columns beside."""
        return {name: column[start : start + n] for name, column in self.beside.items()}


Writer = Callable[[IO[bytes], Iterator[Any], Sheet], None]


def writer(out: str) -> Callable[[Iterator[Array], Sheet], None]:
    """The function that writes pieces of rows in the format that `out` names.

    Raises:
        UsageError: for a suffix that is not known.
    """
    return _writer(out, WRITERS)


def sparse_writer(out: str) -> Callable[[Iterator[Any], Sheet], None]:
    """The function that writes pieces of rows, CSR, where most numbers are 0.

    Raises:
        UsageError: for a suffix of what has no sparse form.
    """
    suffix = "-" if out == "-" else Path(out).suffix.lower()
    if suffix in WRITERS and suffix not in SPARSE_WRITERS:
        raise UsageError(
            f"--sparse writes .npz (SciPy's CSR) or .parquet, and '{out}' is neither; give another "
            "--out, or leave --sparse out"
        )
    return _writer(out, SPARSE_WRITERS)


def _writer(out: str, known: Mapping[str, Writer]) -> Callable[[Iterator[Any], Sheet], None]:
    suffix = "-" if out == "-" else Path(out).suffix.lower()
    if suffix not in known:
        raise unknown("output format", suffix or out, known)
    if suffix == ".parquet":
        parquet.library()  # missing, it is told of before anything is computed

    def write(pieces: Iterator[Any], sheet: Sheet) -> None:
        if out == "-":
            known[suffix](sys.stdout.buffer, pieces, sheet)
            return
        with replacing(Path(out)) as file:
            known[suffix](file, pieces, sheet)

    return write


def _npy(file: IO[bytes], pieces: Iterator[Array], sheet: Sheet) -> None:
    header = {
        "descr": sheet.dtype,
        "fortran_order": False,
        "shape": (sheet.n_rows, len(sheet.names)),
    }
    np.lib.format.write_array_header_1_0(file, header)
    for piece in pieces:
        file.write(np.ascontiguousarray(piece, dtype=sheet.dtype).data)


def _npz(file: IO[bytes], pieces: Iterator[Array], sheet: Sheet) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("values.npy", "w", force_zip64=True) as values:
            _npy(values, pieces, sheet)
        _members(archive, _named(sheet))


def _sparse_npz(file: IO[bytes], pieces: Iterator[Any], sheet: Sheet) -> None:
    """As `scipy.sparse.load_npz` reads it."""
    parts = list(pieces)  # of the entries alone; a member of the archive has its length in front
    counts = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.indptr) for part in parts)])
    members = {
        "format": np.array(b"csr"),
        "shape": np.array([sheet.n_rows, len(sheet.names)]),
        "indptr": counts.cumsum(),
    }
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        _joined(archive, "data", "<f4", [part.data for part in parts])
        _joined(archive, "indices", "<i4", [part.indices for part in parts])
        _members(archive, members | _named(sheet))


def _joined(archive: zipfile.ZipFile, name: str, dtype: str, parts: Sequence[Array]) -> None:
    """Parts behind one another as one member, without an array of all of them."""
    shape = (sum(map(len, parts)),)
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for part in parts:
            member.write(np.ascontiguousarray(part, dtype=dtype).data)


def _named(sheet: Sheet) -> dict[str, Array]:
    """Names of columns and rows as members of an archive: "names", "ids", and all others."""
    members: dict[str, Array] = {"names": np.array(sheet.names)}
    for place, (name, column) in enumerate(sheet.beside.items()):
        if not place:
            members["ids"] = column
        if name not in _OURS and "/" not in name:
            members[name] = column
    return members


def _members(archive: zipfile.ZipFile, members: Mapping[str, Array]) -> None:
    for name, array in members.items():
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)


def _csv(file: IO[bytes], pieces: Iterator[Array], sheet: Sheet) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    table = csv.writer(text)
    table.writerow(harmless_row([*sheet.beside, *sheet.names]))
    at, form = 0, ".8g" if sheet.dtype == "<f4" else ".17g"
    for piece in pieces:
        beside = [column.tolist() for column in sheet.part(at, len(piece)).values()]
        rows = ([f"{value:{form}}" for value in row] for row in piece.tolist())
        known = zip(*beside, strict=True) if beside else ((),) * len(piece)
        table.writerows(
            [*harmless_row(names), *row] for names, row in zip(known, rows, strict=True)
        )
        at += len(piece)
    text.detach()


WRITERS: dict[str, Writer] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
    ".parquet": parquet.write,
    "-": _npy,
}
SPARSE_WRITERS: dict[str, Writer] = {".npz": _sparse_npz, ".parquet": parquet.write_sparse}
