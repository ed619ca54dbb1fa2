"""Codes to files and back: what `encode` and `decode` write."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from simplecell.cli import parquet
from simplecell.cli.row_names import columns_beside
from simplecell.cli.writers import Sheet, sparse_writer, writer
from simplecell.data import PatchSource, Source
from simplecell.data.rows import Column, Encoding, Subset
from simplecell.data.source import as_source
from simplecell.data.spreadsheet import harmless, harmless_row
from simplecell.distributed import ALONE, Alone
from simplecell.errors import DataError
from simplecell.model.codes import Rows
from simplecell.model.passes import Passes
from simplecell.run.build import new_data
from simplecell.run.encoding import dense_pieces, sparse_pieces
from simplecell.run.names import NO_NAMES, LatentNames, numbered
from simplecell.run.progress import say_skipped
from simplecell.run.storage import replacing
from simplecell.run.trained import Floats, Trained

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ROWS = 8192
Array = NDArray[np.generic]


def encode_file(
    trained: Trained,
    data: str | Path | Array,
    out: str,
    sparse: bool = False,
    ranks: Alone = ALONE,
) -> list[str]:
    """Write the codes [n, M] of `data` to `out`; sentences about what was written.

    What the data tell of their rows (identifiers, titles) comes along, as columns before the codes
    or beside them. Pictures of a patch model give one row for each patch of a grid without overlap,
    and `OUT.rows.csv` says where each came from. `sparse` writes the active latents alone.
    Processes encode batch after batch in turn, and the first one writes: the same bits as one.
    """
    write = (sparse_writer(out) if sparse else writer(out)) if ranks.leads else _nowhere
    source = new_data(trained, data)
    beside = columns_beside(source)
    names, on_names = _columns_apart(trained, beside)
    sheet = Sheet(source.n_samples, names, beside)
    mine, n_turns = _dealt(source, Passes(trained.model).n_rows, ranks)
    if sparse:
        write(_active(trained, mine, n_turns, ranks), sheet)
    else:
        write(_dense(trained, mine, n_turns, ranks), sheet)
    if not ranks.leads:
        return []
    say_skipped(source.skipped)
    said = [*source.notes, *trained.names.told, *on_names]
    said.append(f"{source.n_samples} rows of {len(sheet.names)} latents: {out}")
    place = Path(out).with_suffix(".rows.csv")
    if source.kind == "patches" and out != "-":
        _write_rows(place, source)
        said.append(f"where each row came from: {place}")
    elif sheet.beside and out != "-" and Path(out).suffix.lower() == ".npy":
        _write_names(place, sheet)
        said.append(f"what each row is called: {place}")
    elif sheet.beside and out != "-":
        said.append(f"each row carries its {', '.join(sheet.beside)}")
    return said


def _columns_apart(trained: Trained, beside: Iterable[str]) -> tuple[list[str], list[str]]:
    """Columns of the codes, whose names no column beside has; and what is to be said of that."""
    given, others = trained.names.given, {*beside}
    said = [
        f"latent {j} is called {name!r}, as a record of the data is: its column is {numbered(j)!r}"
        for j, name in sorted(given.items())
        if name in others
    ]
    names = LatentNames({j: name for j, name in given.items() if name not in others})
    return names.all(trained.model.n_latents), said


def _dealt(source: Source, n_rows: int, ranks: Alone) -> tuple[Source, int]:
    """One's own batches of so many rows, every `size`-th of all; the turns until all had theirs."""
    n_turns = -(-source.n_samples // (n_rows * ranks.size))
    if ranks.size == 1:
        return source, n_turns
    starts = range(n_rows * ranks.rank, source.n_samples, n_rows * ranks.size)
    own = [np.arange(at, min(at + n_rows, source.n_samples)) for at in starts]
    return Subset(source, np.concatenate([*own, np.empty(0, dtype=np.int64)])), n_turns


def _dense(trained: Trained, mine: Source, n_turns: int, ranks: Alone) -> Iterator[Floats]:
    """The codes of each turn, [B, M]."""
    nothing = trained.model.like.new_zeros(0, trained.model.n_latents, device="cpu")
    pieces = dense_pieces(trained, mine)
    for _ in range(n_turns):
        piece = next(pieces, None)
        yield ranks.gathered(nothing if piece is None else torch.from_numpy(piece)).numpy()


def _active(trained: Trained, mine: Source, n_turns: int, ranks: Alone) -> Iterator[csr_array]:
    """The active latents of each turn, CSR [B, M]."""
    from scipy.sparse import csr_array  # a third of a second, which dense codes spare

    none = torch.zeros(0, dtype=torch.int64)
    nothing = Rows(trained.model.like.new_zeros(0, device="cpu"), none, torch.zeros(1).long())
    pieces = sparse_pieces(trained, mine, as_trained=True)
    for _ in range(n_turns):
        found = next(pieces, nothing)
        values, indices = ranks.gathered(found.values), ranks.gathered(found.indices)
        counts = ranks.gathered(found.offsets.diff())
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        parts = values.numpy(), indices.numpy().astype(np.int32), offsets.numpy()
        yield csr_array(parts, shape=(len(counts), trained.model.n_latents))


def _nowhere(pieces: Iterable[object], sheet: Sheet) -> None:
    """Make the pieces, which another process writes."""
    for _ in pieces:
        pass


def decode_file(trained: Trained, codes: str | Path | Array, out: str) -> list[str]:
    """Write the samples [n, D] that the codes stand for to `out`."""
    source = _codes(codes, trained)
    if source.n_inputs != trained.model.n_latents:
        raise DataError(
            f"the codes have {source.n_inputs} columns, but this model has "
            f"{trained.model.n_latents} latents; give what simplecell encode wrote"
        )
    names = sample_names(trained)
    pieces = (trained.decode(x, as_trained=True) for x, _ in source.batches(ROWS))
    first = next(pieces)
    dtype = "<f8" if is_rounded(first) else "<f4"
    sheet = Sheet(source.n_samples, names, columns_beside(source), dtype)
    writer(out)(itertools.chain([first], pieces), sheet)
    said = [f"{source.n_samples} rows of {len(names)} inputs: {out}"]
    if dtype == "<f8":
        said.append("numbers are written with 64 bits, since 32 would round them")
    return said


def sample_names(trained: Trained) -> list[str]:
    """What the columns of decoded samples are called."""
    if trained.target_preprocess is not None:
        return [f"y{i}" for i in range(trained.target_preprocess.n_inputs)]
    return trained.input_names or [f"x{i}" for i in range(trained.preprocess.n_inputs)]


def is_rounded(rows: Floats) -> bool:
    """Whether 32 bits would change a column by a thousandth of what it varies by."""
    lost, spread = np.sqrt(np.square(rows - rows.astype(np.float32)).mean(0)), rows.std(0)
    return bool(((lost > 1e-3 * spread) & (spread > 0)).any())


def _codes(codes: str | Path | Array, trained: Trained) -> Source:
    """Codes as `encode` wrote them, by names or numbers, or any array of as many columns."""
    n_latents = trained.model.n_latents
    if isinstance(codes, str | Path) and Path(codes).suffix.lower() == ".parquet":
        active = parquet.read_sparse(Path(codes), n_latents)
        if active is not None:
            return as_source(active)
    told = {"kind": "array", "key": _key(codes)}
    for called in (trained.names, NO_NAMES)[not trained.names.given :]:
        columns = [Column(name=name, kind="number") for name in called.all(n_latents)]
        with contextlib.suppress(DataError):  # of other columns: then all of them are codes
            return as_source(codes, **told, columns=Encoding(header=True, columns=columns))
    return as_source(codes, **told, id="none")


def _key(codes: str | Path | Array) -> str | None:
    """Where the codes lie in an .npz that `encode` wrote; None in any other file."""
    if isinstance(codes, str | Path) and Path(codes).suffix.lower() == ".npz":
        with contextlib.suppress(OSError, ValueError, zipfile.BadZipFile):
            return "values" if "values.npy" in zipfile.ZipFile(codes).namelist() else None
    return None


def _write_names(place: Path, sheet: Sheet) -> None:
    with replacing(place) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        table = csv.writer(text)
        table.writerow(harmless_row(["row", *sheet.beside]))
        columns = [column.tolist() for column in sheet.beside.values()]
        rows = enumerate(zip(*columns, strict=True))
        table.writerows([row, *harmless_row(values)] for row, values in rows)
        text.detach()


def _write_rows(place: Path, source: Source) -> None:
    with replacing(place) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        page = ["page"] if isinstance(source, PatchSource) and source.several_pages else []
        columns = ["row", "file", *page, "top", "left", "scale"]
        table = csv.DictWriter(text, columns, restval=1)
        table.writeheader()
        for start in range(0, source.n_samples, ROWS):
            for row, record in enumerate(source.about(slice(start, start + ROWS)), start):
                told = {name: harmless(value) for name, value in record.items()}
                table.writerow({"row": row, **told})
        text.detach()
