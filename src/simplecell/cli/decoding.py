"""`decode RUN - --out -`: samples of codes that come through a pipe, batch after batch.

The way back of `encode RUN - --out -`: .npy, JSON lines or csv lines of codes come, and samples go
out in the same form.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import IO, Any

import numpy as np

from simplecell.cli.code_files import ROWS, is_rounded, sample_names
from simplecell.cli.incoming import NAME, Incoming
from simplecell.cli.row_names import columns_beside
from simplecell.cli.streams import (
    INDICES,
    VALUES,
    Form,
    Line,
    begun,
    carried,
    first_byte,
    line_batches,
    line_of,
    line_place,
    listed,
    npy_batches,
    record_at,
    sample_place,
    table_source,
    write_good,
)
from simplecell.data import ArraySource
from simplecell.data.binary import NPY_MAGIC, array_from, naming, npy_header
from simplecell.data.cells import cells_of
from simplecell.data.options import Options
from simplecell.data.rows import Column, Encoding, Record
from simplecell.data.spreadsheet import bare, harmless_row
from simplecell.errors import DataError
from simplecell.run.names import NO_NAMES
from simplecell.run.trained import Trained

_PICKLE = b"\x80"
_SAMPLE = "x"
"""Field of a line that goes out."""


def decode_stream(trained: Trained, stream: IO[bytes], out: IO[bytes]) -> list[str]:
    """Write the samples that codes in `stream` stand for to `out`, in the form in which these come.

    A line of JSON has `codes`, or the active `latents` and their `codes`, or is a list; what else
    it says is handed on. Gives sentences about what was written.

    Raises:
        DataError: for what is none of the three forms, is cut off, or are no codes of this model;
            samples of the rows before are out by then.
    """
    incoming = Incoming(stream)
    start = first_byte(incoming)
    if start in (NPY_MAGIC[:1], _PICKLE):
        n = _decode_npy(trained, incoming, out)
    elif start in (b"{", b"["):
        n = _decode_json(trained, incoming, out)
    else:
        n = _decode_csv(trained, incoming, out)
    return [f"{n} rows of {trained.recon_preprocess.n_inputs} inputs: -"]


def _decode_npy(trained: Trained, incoming: Incoming, out: IO[bytes]) -> int:
    """How many rows came."""
    with naming(NAME):
        shape, fortran, dtype = npy_header(incoming, NAME)  # type: ignore[arg-type]
        if len(shape) != 2:
            raise DataError(f"{NAME} has the shape {shape}; codes [n, M] are needed")
        _check_width(shape[1], trained.model.n_latents)
        if fortran:
            whole = array_from(incoming, NAME, shape, dtype, "F")  # type: ignore[arg-type]
            batches: Iterator[Any] = iter([whole])
        else:
            batches = npy_batches(incoming, shape, dtype)
    kinds: list[str] = []

    def write(batch: Any, part: range) -> Iterator[int]:
        source = ArraySource(batch[part.start : part.stop], name=NAME)
        for codes, _ in source.batches(ROWS):
            rows = trained.decode(codes, as_trained=True)
            if not kinds:  # goes out with the first samples: of codes that are none, nothing does
                kinds.append("<f8" if is_rounded(rows) else "<f4")
                told = {"descr": kinds[0], "fortran_order": False}
                told |= {"shape": (shape[0], rows.shape[1])}
                header = io.BytesIO()
                np.lib.format.write_array_header_1_0(header, told)
                out.write(header.getvalue())
            out.write(np.ascontiguousarray(rows, dtype=kinds[0]).data)
            yield len(rows)
        out.flush()

    first = 0
    for batch in batches:
        write_good(range(len(batch)), partial(write, batch), partial(sample_place, first))
        first += len(batch)
    return shape[0]


def _decode_json(trained: Trained, incoming: Incoming, out: IO[bytes]) -> int:
    """How many lines came."""

    def write(lines: Sequence[Line]) -> Iterator[int]:
        records = [record_at(line, VALUES) for line in lines]
        told = iter([_told(record) for record in records])
        matrix = _matrix(records, trained.model.n_latents)
        for first in range(0, len(records), ROWS):
            rows = trained.decode(matrix[first : first + ROWS], as_trained=True)
            form = ".17g" if is_rounded(rows) else ".9g"
            for row in rows:
                out.write(line_of(next(told), f'"{_SAMPLE}": {listed(row, form)}').encode())
                yield 1
        out.flush()

    return sum(write_good(lines, write, line_place) for lines in line_batches(incoming))


def _told(record: Record) -> Record:
    """What a line says beside its codes."""
    told = {name: one for name, one in carried(record).items() if name not in (VALUES, INDICES)}
    if _SAMPLE in told:
        raise DataError(
            f"{NAME} has a field {_SAMPLE!r}, which is what samples are called; rename it"
        )
    return told


def _matrix(records: Sequence[Record], n_latents: int) -> Any:
    """The codes of lines, [B, M]; CSR where any names its latents."""
    rows = [_codes(record, n_latents) for record in records]
    if all(latents is None for latents, _ in rows):
        return np.array([codes for _, codes in rows], dtype=np.float64)
    from scipy.sparse import csr_array

    latents = [np.arange(n_latents) if named is None else named for named, _ in rows]
    offsets = np.cumsum([0, *(len(codes) for _, codes in rows)])
    values = np.array([code for _, codes in rows for code in codes], dtype=np.float64)
    shape = (len(rows), n_latents)
    return csr_array((values, np.concatenate(latents), offsets), shape=shape)


def _codes(record: Record, n_latents: int) -> tuple[Any, list[float]]:
    """(which latents, or None for all of them; their codes) of a line."""
    codes, latents = record.get(VALUES), record.get(INDICES)
    if not isinstance(codes, list) or not all(map(_is_number, codes)):
        raise DataError(
            f"{NAME} has {codes!r:.40} for {VALUES!r}; a list of finite numbers is needed, as "
            "simplecell encode gives it"
        )
    if latents is None:
        _check_width(len(codes), n_latents)
        return None, codes
    known = isinstance(latents, list) and all(
        type(one) is int and 0 <= one < n_latents for one in latents
    )
    if not known or not len(set(latents)) == len(latents) == len(codes):
        raise DataError(
            f"{NAME} has {latents!r:.40} for {INDICES!r}; a number from 0 to {n_latents - 1} for "
            f"each of its {len(codes)} codes is needed, none of them twice"
        )
    return np.array(latents, dtype=np.int64), codes


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and value is not True and math.isfinite(value)


def _check_width(width: int, n_latents: int) -> None:
    if width != n_latents:
        raise DataError(
            f"{NAME} has {width} codes a row, but this model has {n_latents} latents; send what "
            "simplecell encode gave"
        )


def _decode_csv(trained: Trained, incoming: Incoming, out: IO[bytes]) -> int:
    """How many rows came."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    table, n, kinds = csv.writer(text), 0, list[str]()
    form: Form | None = None
    names = trained.latent_names
    options = Options(columns=_encoding(names))

    def write(lines: Sequence[Line]) -> Iterator[int]:
        assert form is not None, "rows come after it"
        source = table_source(lines, form, options)
        _check_width(source.n_inputs, len(names))
        beside = columns_beside(source)
        known = iter(zip(*(column.tolist() for column in beside.values()), strict=True))
        for codes, _ in source.batches(ROWS):
            rows = trained.decode(codes, as_trained=True)
            if not kinds:
                kinds.append(".17g" if is_rounded(rows) else ".9g")
                table.writerow(harmless_row([*beside, *sample_names(trained)]))
            for row in rows.tolist():
                cells = (f"{value:{kinds[0]}}" for value in row)
                table.writerow([*harmless_row(next(known, ())), *cells])
                yield 1
        out.flush()

    try:
        for lines in line_batches(incoming):
            if form is None:
                lines, form = begun(lines, _encoding(names))
                options = _options(form, names)
            if lines:
                n += write_good(lines, write, line_place)
    finally:
        text.detach()
    return n


def _encoding(names: Sequence[str], header: bool = True) -> Encoding:
    """Of a table with a column of numbers for each name."""
    return Encoding(header=header, columns=[Column(name=name, kind="number") for name in names])


def _options(form: Form | None, names: Sequence[str]) -> Options:
    """How codes are found in a table: by the names of latents, else all columns are codes."""
    top = form.top if form is not None else ""
    if form is None or not top:
        return Options(header=False, columns=_encoding(names, False))
    cells = [bare(cell) for cell in cells_of([top.rstrip("\n")], form.delimiter)[0][1]]
    # Codes that were written before their latents had names, or after, are the same codes.
    known = names, NO_NAMES.all(len(names))
    mine = next((one for one in known if set(one) <= set(cells)), cells)
    return Options(header=True, columns=_encoding(mine))
