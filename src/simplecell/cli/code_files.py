"""Codes to files and back: what `encode` and `decode` write."""

from __future__ import annotations

import contextlib
import csv
import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from simplecell.data import Source
from simplecell.data.source import as_source
from simplecell.errors import DataError, unknown
from simplecell.run.build import new_data
from simplecell.run.progress import say_skipped
from simplecell.run.storage import replacing
from simplecell.run.trained import Trained

ROWS = 8192
Array = NDArray[np.generic]


def encode_file(trained: Trained, data: str | Path | Array, out: str) -> list[str]:
    """Write the codes [n, M] of `data` to `out`; sentences about what was written.

    Pictures of a patch model give one row for each patch of a grid without overlap, and
    `OUT.rows.csv` beside it says where each came from.
    """
    source = new_data(trained, data)
    names = [f"latent{j}" for j in range(trained.model.n_latents)]
    pieces = (
        trained.encode(x.astype(np.float32), int(rows[0])) for x, rows in source.batches(ROWS)
    )
    write_rows(out, pieces, source.n_samples, names)
    say_skipped(source.skipped)
    said = list(source.notes)
    said.append(f"{source.n_samples} rows of {len(names)} latents: {out}")
    if source.kind == "patches" and out != "-":
        place = Path(out).with_suffix(".rows.csv")
        _write_rows(place, source)
        said.append(f"where each row came from: {place}")
    return said


def decode_file(trained: Trained, codes: str | Path | Array, out: str) -> list[str]:
    """Write the samples [n, D] that the codes stand for to `out`."""
    source = as_source(codes, kind="array", key=_key(codes))
    if source.n_inputs != trained.model.n_latents:
        raise DataError(
            f"the codes have {source.n_inputs} columns, but this model has "
            f"{trained.model.n_latents} latents; give what simplecell encode wrote"
        )
    names = trained.input_names or [f"x{i}" for i in range(trained.preprocess.n_inputs)]
    if trained.target_preprocess is not None:
        names = [f"y{i}" for i in range(trained.target_preprocess.n_inputs)]
    pieces = (trained.decode(x) for x, _ in source.batches(ROWS))
    write_rows(out, pieces, source.n_samples, names)
    return [f"{source.n_samples} rows of {len(names)} inputs: {out}"]


def _key(codes: str | Path | Array) -> str | None:
    """Where the codes lie in an .npz that `encode` wrote; None in any other file."""
    if isinstance(codes, str | Path) and Path(codes).suffix.lower() == ".npz":
        with contextlib.suppress(OSError, ValueError, zipfile.BadZipFile):
            return "values" if "values.npy" in zipfile.ZipFile(codes).namelist() else None
    return None


def write_rows(out: str, pieces: Iterator[Array], n_rows: int, names: list[str]) -> None:
    """Write pieces of rows in the format that `out` names.

    Raises:
        UsageError: for a suffix that is not known.
    """
    suffix = "-" if out == "-" else Path(out).suffix.lower()
    if suffix not in WRITERS:
        raise unknown("output format", suffix or out, WRITERS)

    place = contextlib.nullcontext(sys.stdout.buffer) if out == "-" else replacing(Path(out))
    with place as file:
        WRITERS[suffix](file, pieces, n_rows, names)


def _npy(file: IO[bytes], pieces: Iterator[Array], n_rows: int, names: list[str]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, len(names))}
    np.lib.format.write_array_header_1_0(file, header)
    for piece in pieces:
        file.write(np.ascontiguousarray(piece, dtype="<f4").tobytes())


def _npz(file: IO[bytes], pieces: Iterator[Array], n_rows: int, names: list[str]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("values.npy", "w", force_zip64=True) as values:
            _npy(values, pieces, n_rows, names)
        with archive.open("names.npy", "w") as column:
            np.lib.format.write_array(column, np.array(names), allow_pickle=False)


def _csv(file: IO[bytes], pieces: Iterator[Array], n_rows: int, names: list[str]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    table = csv.writer(text)
    table.writerow(names)
    for piece in pieces:
        table.writerows([[f"{value:.8g}" for value in row] for row in piece.tolist()])
    text.detach()


WRITERS: dict[str, Callable[[IO[bytes], Iterator[Array], int, list[str]], None]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
    "-": _npy,
}


def _write_rows(place: Path, source: Source) -> None:
    with replacing(place) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        table = csv.DictWriter(text, ["row", "file", "top", "left", "scale"], restval=1)
        table.writeheader()
        for start in range(0, source.n_samples, ROWS):
            for row, record in enumerate(source.about(slice(start, start + ROWS)), start):
                table.writerow({"row": row, **record})
        text.detach()
