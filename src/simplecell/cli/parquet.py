"""Codes in Parquet files: a column a latent, or the active latents of a row as two lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simplecell.errors import DataError, UsageError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from simplecell.cli.writers import Sheet

Array = NDArray[np.generic]
INDICES, VALUES = "latents", "codes"
"""The two lists of a row: which latents are active, and their codes."""


def library() -> Any:
    """pyarrow, which is an extra. Raises UsageError, naming it, where it is missing."""
    try:
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            "Parquet files need pyarrow: pip install 'simplecell[parquet]', or give another --out, "
            "such as .npz"
        ) from None
    return pyarrow


def write(file: IO[bytes], pieces: Iterator[Array], sheet: Sheet) -> None:
    """What is known of rows, then a column a latent."""

    def columns(piece: Array) -> dict[str, Any]:
        return dict(zip(sheet.names, piece.astype(sheet.dtype).T, strict=True))

    _write(file, pieces, sheet, columns)


def write_sparse(file: IO[bytes], pieces: Iterator[Any], sheet: Sheet) -> None:
    """What is known of rows, then which latents are active in each and their codes, as lists."""
    arrow = library()

    def columns(piece: Any) -> dict[str, Any]:
        offsets = arrow.array(piece.indptr.astype(np.int32))
        lists = {INDICES: piece.indices.astype(np.int32), VALUES: piece.data.astype(np.float32)}
        made = arrow.ListArray.from_arrays
        return {name: made(offsets, arrow.array(values)) for name, values in lists.items()}

    _write(file, pieces, sheet, columns)


def _write(file: IO[bytes], pieces: Iterator[Any], sheet: Sheet, columns: Any) -> None:
    """Piece by piece, a row group each."""
    arrow, at, opened = library(), 0, None
    try:
        for piece in pieces:
            n = piece.shape[0]
            known = _without_clash(sheet.part(at, n), sheet.names)
            group = arrow.table({**_as_arrow(known), **columns(piece)})
            if opened is None:
                told = {b"simplecell.n_latents": str(len(sheet.names)).encode()}
                opened = arrow.parquet.ParquetWriter(file, group.schema.with_metadata(told))
            opened.write_table(group)
            at += n
    finally:
        if opened is not None:
            opened.close()


def _without_clash(columns: Mapping[str, Array], taken: Sequence[str]) -> dict[str, Array]:
    """A column that is called like a latent gives way."""
    others = {*taken, INDICES, VALUES}
    return {f"{n}_of_row" if n in others else n: column for n, column in columns.items()}


def _as_arrow(columns: Mapping[str, Array]) -> dict[str, Any]:
    """Text as Arrow's own, numbers as they are."""
    return {
        name: column.tolist() if column.dtype.kind == "U" else column
        for name, column in columns.items()
    }


def read_sparse(path: Path, n_latents: int) -> csr_array | None:
    """Codes [n, M] as `write_sparse` wrote them; None for any other file.

    Raises:
        DataError: for latents that the model has not.
    """
    from scipy.sparse import csr_array

    arrow = library()
    try:
        file = arrow.parquet.ParquetFile(path)
    except (OSError, arrow.ArrowException):
        return None
    if not {INDICES, VALUES} <= set(file.schema_arrow.names):
        return None
    table = file.read(columns=[INDICES, VALUES]).combine_chunks()
    lists = [table.column(name).combine_chunks() for name in (INDICES, VALUES)]
    lengths = [arrow.compute.list_value_length(one).to_numpy() for one in lists]
    indices, values = (one.flatten().to_numpy() for one in lists)
    if not np.array_equal(*lengths) or (len(indices) and not 0 <= indices.min() <= indices.max()):
        raise DataError(f"{path.name} is damaged: its lists of latents and codes do not fit")
    if len(indices) and indices.max() >= n_latents:
        raise DataError(
            f"{path.name} has codes of latent {indices.max()}, but this model has {n_latents} "
            "latents; give what simplecell encode wrote for it"
        )
    offsets = np.concatenate([[0], lengths[0]]).cumsum()
    return csr_array((values, indices, offsets), shape=(len(lengths[0]), n_latents))
