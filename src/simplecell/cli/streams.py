"""`encode RUN - --out -`: codes of rows that come through a pipe, batch after batch.

Rows come as .npy, JSON lines or csv lines, and codes go out in the same form, each batch as soon as
it is there: memory does not grow with the stream, and who sends one row may wait for its codes.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import IO, TypeVar

import numpy as np

from simplecell.cli.incoming import NAME, Incoming
from simplecell.cli.row_names import columns_beside
from simplecell.data import ArraySource, Source
from simplecell.data.binary import NPY_MAGIC, array_from, naming, npy_header
from simplecell.data.cells import cells_of, find_delimiter, without_delimiter_line
from simplecell.data.json_lines import loaded_of, record_of, vector_field
from simplecell.data.numerals import MISSING, like_number
from simplecell.data.options import Options
from simplecell.data.rows import Column, Encoding, Record
from simplecell.data.text_tables import parse_table
from simplecell.errors import DataError, UsageError
from simplecell.model.codes import Rows
from simplecell.run.build import new_data
from simplecell.run.encoding import dense_pieces, sparse_pieces
from simplecell.run.progress import say
from simplecell.run.trained import Floats, Trained, latent_names

_BATCH = 2**22
"""Numbers of a batch of .npy rows."""
_MARK, _PICKLE = b"\xef\xbb\xbf", b"\x80"
"""The mark before text that some programs write; what a pickle begins with, which is refused."""
Piece = TypeVar("Piece", Floats, Rows)
VALUES, INDICES = "codes", "latents"
"""Fields of a line that goes out; the second with --sparse, as in Parquet files."""


def encode_stream(
    trained: Trained, stream: IO[bytes], out: IO[bytes], sparse: bool = False
) -> list[str]:
    """Write the codes of rows that come in `stream` to `out`, in the form in which rows come.

    `sparse`, of JSON lines alone, writes the active latents and their codes. Gives sentences about
    what was written.

    Raises:
        DataError: for what is none of the three forms, is cut off, or is no sample of this model;
            codes of the batches before are out by then.
        UsageError: where rows alone do not make samples of this run, or with `sparse`.
    """
    incoming = Incoming(stream)
    start = _first_byte(incoming)
    if start in (NPY_MAGIC[:1], _PICKLE):
        return _encode_npy(trained, incoming, out, sparse)
    _refuse_whole_alone(trained)
    if start in (b"{", b"["):
        n = _encode_json(trained, incoming, out, sparse)
    else:
        _refuse_sparse(sparse)
        n = _encode_csv(trained, incoming, out)
    return [f"{n} rows of {trained.model.n_latents} latents: -"]


def _first_byte(incoming: Incoming) -> bytes:
    """The first one that is no space, and no mark of UTF-8; it stays."""
    if incoming.peek(1) == _MARK[:1] and incoming.peek(len(_MARK)) == _MARK:
        incoming.read(len(_MARK))
    while (start := incoming.peek(1)).isspace():
        incoming.read(1)
    if not start:
        raise DataError(f"{NAME} is empty; send .npy, JSON lines or csv")
    return start


def _refuse_whole_alone(trained: Trained) -> None:
    """Rows are no samples where a picture or a table has to be read as a whole."""
    data = trained.recipe.data
    if trained.info["data"]["kind"] == "patches" or data.samples == "columns":
        whole = "pictures" if data.samples != "columns" else "columns of a table"
        raise UsageError(
            f"this run's samples are cut from {whole}, which lines do not give one by one; give a "
            "file, or .npy on standard input"
        )


def _refuse_sparse(sparse: bool) -> None:
    if sparse:
        raise UsageError(
            "--sparse goes to standard output for JSON lines alone; send those, or give --out "
            "F.npz or F.parquet"
        )


def _encode_npy(trained: Trained, incoming: Incoming, out: IO[bytes], sparse: bool) -> list[str]:
    _refuse_sparse(sparse)
    with naming(NAME):
        shape, fortran, dtype = npy_header(incoming, NAME)  # type: ignore[arg-type]
        if fortran or len(shape) != 2 or not _in_rows(trained):
            order = "F" if fortran else "C"
            whole = array_from(incoming, NAME, shape, dtype, order)  # type: ignore[arg-type]
            source = new_data(trained, whole)
            return _write_npy(trained, iter([source]), source.n_samples, out)
    return _write_npy(trained, _npy_sources(trained, incoming, shape, dtype), shape[0], out)


def _write_npy(trained: Trained, sources: Iterator[Source], n: int, out: IO[bytes]) -> list[str]:
    """Codes of n samples."""
    n_latents = trained.model.n_latents
    header = {"descr": "<f4", "fortran_order": False, "shape": (n, n_latents)}
    for first, source in _counted(sources):
        for codes in _answered(dense_pieces(trained, source), first):
            if header:  # after the first codes: of rows that are none, nothing is written
                np.lib.format.write_array_header_1_0(out, header)
                header = {}
            out.write(np.ascontiguousarray(codes, dtype="<f4").data)
        out.flush()
    return [f"{n} rows of {n_latents} latents: -"]


def _in_rows(trained: Trained) -> bool:
    """Whether rows of a matrix are samples, each by itself."""
    data = trained.recipe.data
    rows = data.samples in ("auto", "rows") and data.inputs in ("auto", "last", "all", 1, -1)
    return rows and trained.info["data"]["kind"] != "patches"


def _npy_sources(
    trained: Trained, incoming: Incoming, shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> Iterator[Source]:
    n, width = shape
    size, left, most = width * dtype.itemsize, n, max(1, _BATCH // width)
    while left:
        content = incoming.pieces(size, min(left, most))
        if len(content) < size:
            raise DataError(
                f"{NAME} is cut off: its header promises {n} rows, and {n - left} came whole"
            )
        rows = np.frombuffer(content[: len(content) // size * size], dtype).reshape(-1, width)
        left -= len(rows)
        yield new_data(trained, rows)


def _counted(sources: Iterator[Source]) -> Iterator[tuple[int, Source]]:
    """Each source, and how many rows came before it; what is to be known of it is said once."""
    first, told = 0, set[str]()
    for source in sources:
        say(*(note for note in source.notes if note not in told))
        told.update(source.notes)
        yield first, source
        first += source.n_samples


def _answered(pieces: Iterator[Piece], first: int) -> Iterator[Piece]:
    """The codes of a batch; an error says where in the stream its rows are."""
    try:
        yield from pieces
    except DataError as error:
        raise DataError(f"{error} (after {first} rows)" if first else str(error)) from error


def _encode_json(trained: Trained, incoming: Incoming, out: IO[bytes], sparse: bool) -> int:
    """How many lines came."""
    n = 0
    for first, source in _counted(_json_sources(trained, incoming)):
        records = [_carried(record) for record in source.about(slice(0, source.n_samples))]
        taken = {VALUES, INDICES} if sparse else {VALUES}
        if clash := taken.intersection(name for record in records for name in record):
            raise DataError(
                f"the lines of {NAME} have a field {clash.pop()!r}, which is what codes are "
                "called; rename it"
            )
        for line in _json_lines(trained, source, records, first, sparse):
            out.write(line.encode())
        out.flush()
        n = first + source.n_samples
    return n


def _carried(record: Record) -> Record:
    return {name: value for name, value in record.items() if name != "row"}


def _json_sources(trained: Trained, incoming: Incoming) -> Iterator[Source]:
    options = dataclasses.replace(_options(trained, header=True), columns=_encoding(trained))
    n, keyed = 0, False
    while lines := incoming.lines():
        numbered = [(n + i, line) for i, line in enumerate(lines, 1) if line.strip()]
        n += len(lines)
        if not numbered:
            continue
        records = [_record(line, number) for number, line in numbered]
        if not keyed:  # the run's own file may have called its numbers otherwise
            key = options.key if options.key in records[0] else None
            options = dataclasses.replace(options, key=vector_field(records, NAME, key))
            keyed = True
        loaded = loaded_of(records, NAME, options)
        source = ArraySource(loaded.data, name=NAME, meta=loaded.records, notes=loaded.notes)
        yield _fitting(trained, source)


def _record(line: str, number: int) -> Record:
    """An object, or a list of numbers without a name."""
    return record_of(f'{{"x": {line}}}' if line.lstrip()[0] == "[" else line, number, NAME)


def _fitting(trained: Trained, source: Source) -> Source:
    if source.n_inputs != trained.preprocess.n_inputs:
        raise DataError(
            f"{NAME} has {source.n_inputs} inputs a row, but this run was trained on "
            f"{trained.preprocess.n_inputs}; send data of the same kind"
        )
    return source


def _json_lines(
    trained: Trained, source: Source, records: Sequence[Record], first: int, sparse: bool
) -> Iterator[str]:
    at = iter(records)
    if sparse:
        for rows in _answered(sparse_pieces(trained, source, as_trained=True), first):
            for latents, codes in _active(rows):
                fields = f'"{INDICES}": {_listed(latents, "d")}, "{VALUES}": {_listed(codes)}'
                yield _line(next(at), fields)
        return
    for piece in _answered(dense_pieces(trained, source), first):
        for codes in piece:
            yield _line(next(at), f'"{VALUES}": {_listed(codes)}')


def _active(rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    values, latents = rows.values.numpy(), rows.indices.numpy()
    ends = rows.offsets.tolist()
    for start, end in itertools.pairwise(ends):
        yield latents[start:end], values[start:end]


def _listed(numbers: np.ndarray, form: str = ".9g") -> str:
    """A JSON list; nine digits are what float32 needs to come back the same."""
    return "[" + ", ".join(f"{number:{form}}" for number in numbers.tolist()) + "]"


def _line(record: Record, fields: str) -> str:
    told = json.dumps(record, ensure_ascii=False, default=str)
    return f"{told[:-1]}{', ' if record else ''}{fields}}}\n"


def _encode_csv(trained: Trained, incoming: Incoming, out: IO[bytes]) -> int:
    """How many rows came."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    table, n = csv.writer(text), 0
    try:
        for first, source in _counted(_csv_sources(trained, incoming)):
            beside = columns_beside(source)
            if not n:
                table.writerow([*beside, *latent_names(trained.model.n_latents)])
            known = iter(zip(*(c.tolist() for c in beside.values()), strict=True))
            for piece in _answered(dense_pieces(trained, source), first):
                for codes in piece.tolist():
                    table.writerow([*next(known, ()), *(f"{value:.8g}" for value in codes)])
            out.flush()
            n = first + source.n_samples
    finally:
        text.detach()
    return n


def _csv_sources(trained: Trained, incoming: Incoming) -> Iterator[Source]:
    encoding, top, delimiter = _encoding(trained), "", ""
    header = False
    while lines := incoming.lines():
        lines = [line for line in lines if line.strip()]
        if not delimiter:
            lines = [line for line in lines if not line.lstrip().startswith("#")]
            joined, said = without_delimiter_line("".join(f"{line}\n" for line in lines))
            lines = joined.splitlines()
            if not lines:
                continue
            delimiter = said or find_delimiter(lines[:50])
            header = _is_header(cells_of(lines[:1], delimiter)[0][1], encoding)
            top = f"{lines.pop(0)}\n" if header else ""
        if not lines:
            continue
        sign = "\\t" if delimiter == "\t" else delimiter
        text = f"sep={sign}\n{top}" + "".join(f"{line}\n" for line in lines)
        options = dataclasses.replace(_options(trained, header), columns=encoding)
        found = parse_table(text, NAME, options)
        source = ArraySource(found.values, name=NAME, meta=found.meta, notes=found.notes)
        yield _fitting(trained, source)


def _options(trained: Trained, header: bool) -> Options:
    """How the run's own data were read, as far as that goes for lines."""
    told = dataclasses.asdict(trained.recipe.data)
    for name in ("targets", "block", "meta", "label", "kind"):
        del told[name]
    columns = trained.info["data"]["columns"]
    return Options(**{**told, "header": header, "columns": columns})


def _encoding(trained: Trained) -> Encoding:
    """Of the table that the run was trained on; of an array, a column of numbers for each input."""
    columns = trained.info["data"]["columns"]
    if columns is not None:
        return columns
    names = trained.input_names
    called = names or [f"column_{j}" for j in range(trained.preprocess.n_inputs)]
    numbers = [Column(name=name, kind="number") for name in called]
    return Encoding(header=names is not None, columns=numbers)


def _is_header(cells: Sequence[str], encoding: Encoding) -> bool:
    """Whether a first line names columns; nobody can wait here for what stands below it."""
    known = {column["name"] for column in encoding["columns"]}
    if encoding["header"] and 2 * len(known.intersection(cells)) >= len(cells):
        return True
    if any(column["kind"] not in ("number", "numbers") for column in encoding["columns"]):
        return False  # words may be samples
    return not all(like_number(cell) or cell in MISSING for cell in cells)
