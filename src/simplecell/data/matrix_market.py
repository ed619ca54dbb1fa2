"""MatrixMarket text (.mtx), sparse or dense; 10x's, with names beside it, turned to cells first."""

from __future__ import annotations

import io
from pathlib import Path

from simplecell.data.binary import checked_sparse, most_of, opened, take
from simplecell.data.counts import raw_counts
from simplecell.data.genes import distinct, records_of
from simplecell.data.loaded import Loaded
from simplecell.data.options import Options
from simplecell.errors import DataError

_LEAST_BYTES = {"coordinate": 4, "array": 2}
"""Of an entry as text: "1 1" or "1", and the line's end."""


def read_matrix_market(path: Path, options: Options) -> Loaded:
    """A matrix [n, D] of a .mtx file, as CSR where it is sparse.

    With barcodes.tsv and features.tsv (or genes.tsv) of its sides beside it, it is 10x's: genes in
    rows, turned, and both named.
    """
    from scipy import io as scipy_io

    with opened(path) as stream:
        text = take(stream, path.name, most_of(path))
    _check_claims(bytes(text[:_FIRST]), len(text), path.name)
    matrix = scipy_io.mmread(io.BytesIO(text))
    if hasattr(matrix, "tocsr"):
        matrix = checked_sparse(matrix)
    cells, genes = _beside(path, "barcodes"), _beside(path, "features") or _beside(path, "genes")
    if options.samples != "auto" or (len(genes), len(cells)) != matrix.shape:
        return Loaded(matrix, either_way=True)
    ids, names = ([row[k if len(row) > k else 0] for row in genes] for k in (0, 1))
    turned = matrix.T.tocsr() if hasattr(matrix, "tocsr") else matrix.T
    return Loaded(
        turned,
        input_names=distinct(names, ids),
        records=records_of([row[0] for row in cells], {}),
        notes=[
            f"{path.name}: {len(cells)} cells are samples, and their inputs are {len(genes)} genes "
            "(10x has genes in rows; the names lie beside it)",
            *raw_counts(turned, path.name),
        ],
    )


_FIRST = 2**16


def _check_claims(start: bytes, size: int, name: str) -> None:
    """Refuse a header that declares more entries than the text could hold, before any is made."""
    lines = start.split(b"\n")
    words = lines[0].decode("latin-1").lower().split()
    if len(words) != 5 or words[:2] != ["%%matrixmarket", "matrix"]:
        raise DataError(
            f"{name} is not MatrixMarket text; its first line should be like "
            "'%%MatrixMarket matrix coordinate real general'"
        )
    sides = next((line for line in lines[1:] if line.strip() and not line.startswith(b"%")), b"")
    numbers = [int(word) for word in sides.split()]
    dense = words[2] == "array"
    if len(numbers) != (2 if dense else 3) or min(numbers) < 0:
        raise DataError(f"{name} declares no shape: {sides[:40].decode('latin-1')!r}")
    declared = numbers[0] * numbers[1] if dense else numbers[2]
    if words[4] != "general" and dense:
        declared //= 2  # of a symmetric matrix half is written
    if declared * _LEAST_BYTES.get(words[2], 2) > size + 2 * numbers[0]:
        raise DataError(
            f"{name} is cut off: {declared} entries are declared, {size} bytes are there"
        )


def _beside(path: Path, what: str) -> list[list[str]]:
    """Rows of a table of names beside the matrix, gzipped or not; none where there is none."""
    for name in (f"{what}.tsv", f"{what}.tsv.gz"):
        place = path.with_name(path.name.split("matrix.mtx")[0] + name)
        if place.is_file():
            with opened(place) as stream:
                text = take(stream, place.name, most_of(place)).decode("utf-8", "replace")
            return [line.split("\t") for line in text.splitlines() if line]
    return []
