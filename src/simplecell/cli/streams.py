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
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np

from simplecell.cli.incoming import NAME, Incoming
from simplecell.cli.row_names import columns_beside
from simplecell.data import ArraySource, Source
from simplecell.data.binary import NPY_MAGIC, array_from, naming, npy_header
from simplecell.data.cells import cells_of, find_delimiter, without_delimiter_line
from simplecell.data.json_lines import is_vector, loaded_of, record_of, vector_field
from simplecell.data.numerals import MISSING, like_number
from simplecell.data.options import Options
from simplecell.data.rows import Array, Column, Encoding, Record, Subset
from simplecell.data.spreadsheet import harmless_row
from simplecell.data.text_tables import parse_table
from simplecell.errors import DataError, UsageError
from simplecell.model.codes import Rows
from simplecell.run.build import new_data
from simplecell.run.encoding import dense_pieces, sparse_pieces
from simplecell.run.progress import say
from simplecell.run.trained import Trained

_BATCH = 2**22
"""Numbers of a batch of .npy rows."""
_MARK, _PICKLE = b"\xef\xbb\xbf", b"\x80"
"""The mark before text that some programs write; what a pickle begins with, which is refused."""
Row = TypeVar("Row")
Line = tuple[int, str]
"""A line and its number, the first is 1."""
Npy = Source | Array
"""Samples of an .npy: rows [B, D], or all of them, read whole."""
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
            codes of the rows before are out by then.
        UsageError: where rows alone do not make samples of this run, or with `sparse`.
    """
    incoming = Incoming(stream)
    start = first_byte(incoming)
    if start in (NPY_MAGIC[:1], _PICKLE):
        return _encode_npy(trained, incoming, out, sparse)
    _refuse_whole_alone(trained)
    if start in (b"{", b"["):
        n = _encode_json(trained, incoming, out, sparse)
    else:
        _refuse_sparse(sparse)
        n = _encode_csv(trained, incoming, out)
    return [*trained.names.told, f"{n} rows of {trained.model.n_latents} latents: -"]


def first_byte(incoming: Incoming) -> bytes:
    """The first one that is no space, and no mark of UTF-8; it stays."""
    if incoming.peek(1) == _MARK[:1] and incoming.peek(len(_MARK)) == _MARK:
        incoming.read(len(_MARK))
    while (start := incoming.peek(1)).isspace():
        incoming.n_lines += incoming.read(1) == b"\n"
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
    return _write_npy(trained, npy_batches(incoming, shape, dtype), shape[0], out)


def _write_npy(trained: Trained, batches: Iterator[Npy], n: int, out: IO[bytes]) -> list[str]:
    """Codes of n samples, in batches or all of them at once."""
    n_latents, first, notes = trained.model.n_latents, 0, set[str]()
    header = io.BytesIO()
    told = {"descr": "<f4", "fortran_order": False, "shape": (n, n_latents)}
    np.lib.format.write_array_header_1_0(header, told)
    head = [header.getvalue()]  # goes out with the first codes: of rows that are none, nothing does

    def write(batch: Npy, part: range) -> Iterator[int]:
        source = _npy_part(trained, batch, part)
        _tell(source, notes)
        for codes in dense_pieces(trained, source):
            while head:
                out.write(head.pop())
            out.write(np.ascontiguousarray(codes, dtype="<f4").data)
            yield len(codes)
        out.flush()

    for batch in batches:
        size = batch.n_samples if isinstance(batch, Source) else len(batch)
        write_good(range(size), partial(write, batch), partial(sample_place, first))
        first += size
    return [f"{n} rows of {n_latents} latents: -"]


def sample_place(first: int, i: int) -> str:
    return f"sample {first + i} (the first is 0) of {NAME}"


def _npy_part(trained: Trained, batch: Npy, part: range) -> Source:
    """Some samples of a batch."""
    if isinstance(batch, Source):
        whole = len(part) == batch.n_samples
        return batch if whole else Subset(batch, np.array(part))
    rows = batch[part.start : part.stop]
    source = new_data(trained, rows)
    if len(part) == 1:
        _refuse_gaps(rows)
    return source


def write_good(
    part: Sequence[Row], write: Callable[[Any], Iterator[int]], where: Callable[[Row], str]
) -> int:
    """Write the codes of these rows, up to the first that is none; how many went out.

    `write` gives how many rows it has written, as it goes. A batch is refused as a whole, so that
    one is halved until it is the row that stands there, and `where` names it.
    """
    done = 0
    try:
        for n in write(part):
            done += n
        return done
    except DataError as error:
        left, failed = part[done:], error
    if not left:
        raise failed
    if len(left) == 1:
        raise DataError(_placed(str(failed), where(left[0]))) from failed
    half = len(left) // 2
    done += write_good(left[:half], write, where)
    return done + write_good(left[half:], write, where)


def _placed(text: str, place: str) -> str:
    """An error on a row that was read alone, by its place in the stream."""
    text = re.sub(r"^row 0( \(the first is 0\))?, ", "", text)
    if NAME in text:
        return re.sub(rf"(line \d+ of )?{NAME}", lambda _: place, text, count=1)
    alone = "sample 0 "
    return f"{place} {text[len(alone) :]}" if text.startswith(alone) else f"{place}: {text}"


def _refuse_gaps(row: Array) -> None:
    """Raise DataError for the first number of a row [1, D] that is not finite."""
    odd = np.flatnonzero(~np.isfinite(row[0]))
    if odd.size:
        raise DataError(
            f"{NAME} has {row[0, odd[0]]} for input {odd[0]}; fill it, or leave the row out"
        )


def _tell(source: Source, told: set[str]) -> None:
    """What is to be known of the rows is said once."""
    say(*(note for note in source.notes if note not in told))
    told.update(source.notes)


def _in_rows(trained: Trained) -> bool:
    """Whether rows of a matrix are samples, each by itself."""
    data = trained.recipe.data
    rows = data.samples in ("auto", "rows") and data.inputs in ("auto", "last", "all", 1, -1)
    return rows and trained.info["data"]["kind"] != "patches"


def npy_batches(
    incoming: Incoming, shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> Iterator[Npy]:
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
        yield rows


def line_batches(incoming: Incoming) -> Iterator[list[Line]]:
    """The lines with something in them, batch after batch."""
    first = incoming.n_lines
    while lines := incoming.lines():
        numbered = [(first + i, line) for i, line in enumerate(lines, 1) if line.strip()]
        first = incoming.n_lines
        if numbered:
            yield numbered


def line_place(line: Line) -> str:
    return f"line {line[0]} of {NAME}"


def _encode_json(trained: Trained, incoming: Incoming, out: IO[bytes], sparse: bool) -> int:
    """How many lines came."""
    options = dataclasses.replace(_options(trained, header=True), columns=_encoding(trained))
    n, told, keyed = 0, set[str](), False

    def write(lines: Sequence[Line]) -> Iterator[int]:
        source = _json_source(trained, lines, options)
        _tell(source, told)
        records = [carried(record) for record in source.about(slice(0, source.n_samples))]
        taken = {VALUES, INDICES} if sparse else {VALUES}
        if clash := taken.intersection(name for record in records for name in record):
            raise DataError(
                f"{NAME} has a field {clash.pop()!r}, which is what codes are called; rename it"
            )
        for line in _json_lines(trained, source, records, sparse):
            out.write(line.encode())
            yield 1
        out.flush()

    for lines in line_batches(incoming):
        if not keyed:  # the run's own file may have called its numbers otherwise
            record = record_at(lines[0], None)
            key = options.key if options.key in record else None
            options = dataclasses.replace(options, key=vector_field([record], NAME, key))
            keyed = True
        n += write_good(lines, write, line_place)
    return n


def _json_source(trained: Trained, lines: Sequence[Line], options: Options) -> Source:
    records = [record_at(line, options.key) for line in lines]
    if options.key is not None:
        _refuse_others(lines, records, options.key)
    loaded = loaded_of(records, NAME, options)
    source = ArraySource(loaded.data, name=NAME, meta=loaded.records, notes=loaded.notes)
    _fitting(trained, source)
    if len(lines) == 1:
        _refuse_gaps(loaded.data)
    return source


def _refuse_others(lines: Sequence[Line], records: Sequence[Record], key: str) -> None:
    for line, record in zip(lines, records, strict=True):
        if not is_vector(value := record.get(key)):
            raise DataError(
                f"{line_place(line)} has {value!r:.40} in {key!r}; a list of numbers is needed, "
                "as in the first"
            )


def carried(record: Record) -> Record:
    return {name: value for name, value in record.items() if name != "row"}


def record_at(line: Line, key: str | None) -> Record:
    """An object, or a list of numbers without a name."""
    number, text = line
    bare = text.lstrip()[0] == "["
    return record_of(f"{{{json.dumps(key or 'x')}: {text}}}" if bare else text, number, NAME)


def _fitting(trained: Trained, source: Source) -> Source:
    if source.n_inputs != trained.preprocess.n_inputs:
        raise DataError(
            f"{NAME} has {source.n_inputs} inputs a row, but this run was trained on "
            f"{trained.preprocess.n_inputs}; send data of the same kind"
        )
    return source


def _json_lines(
    trained: Trained, source: Source, records: Sequence[Record], sparse: bool
) -> Iterator[str]:
    at = iter(records)
    if sparse:
        for rows in sparse_pieces(trained, source, as_trained=True):
            for latents, codes in _active(rows):
                fields = f'"{INDICES}": {listed(latents, "d")}, "{VALUES}": {listed(codes)}'
                yield line_of(next(at), fields)
        return
    for piece in dense_pieces(trained, source):
        for codes in piece:
            yield line_of(next(at), f'"{VALUES}": {listed(codes)}')


def _active(rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    values, latents = rows.values.numpy(), rows.indices.numpy()
    ends = rows.offsets.tolist()
    for start, end in itertools.pairwise(ends):
        yield latents[start:end], values[start:end]


def listed(numbers: np.ndarray, form: str = ".9g") -> str:
    """A JSON list; nine digits are what float32 needs to come back the same."""
    return "[" + ", ".join(f"{number:{form}}" for number in numbers.tolist()) + "]"


def line_of(record: Record, fields: str) -> str:
    told = json.dumps(record, ensure_ascii=False, default=str)
    return f"{told[:-1]}{', ' if record else ''}{fields}}}\n"


class Form(NamedTuple):
    """How csv lines are read: what cuts them, and the header, "" where there is none."""

    delimiter: str
    top: str


def _encode_csv(trained: Trained, incoming: Incoming, out: IO[bytes]) -> int:
    """How many rows came."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    table, told, form, n = csv.writer(text), set[str](), None, 0
    head = [trained.latent_names]

    def write(lines: Sequence[Line]) -> Iterator[int]:
        source = _csv_source(trained, lines, form)
        _tell(source, told)
        if source.n_samples != len(lines):  # empty rows are left out: let it fail before rows go
            for _ in dense_pieces(trained, source):
                pass
        beside = columns_beside(source)
        known = iter(zip(*(c.tolist() for c in beside.values()), strict=True))
        for piece in dense_pieces(trained, source):
            while head:
                table.writerow(harmless_row([*beside, *head.pop()]))
            for codes in piece.tolist():
                cells = (f"{value:.8g}" for value in codes)
                table.writerow([*harmless_row(next(known, ())), *cells])
                yield 1
        out.flush()

    try:
        for lines in line_batches(incoming):
            if form is None:
                lines, form = begun(lines, _encoding(trained))
            if lines:
                n += write_good(lines, write, line_place)
    finally:
        text.detach()
    return n


def begun(lines: list[Line], encoding: Encoding) -> tuple[list[Line], Form | None]:
    """The rows among first lines, and how all are read; None where there is nothing but remarks."""
    lines = [line for line in lines if not line[1].lstrip().startswith("#")]
    if not lines:
        return [], None
    below, said = without_delimiter_line(f"{lines[0][1]}\n")
    if not below:
        lines = lines[1:]
    if not lines:
        return [], None
    delimiter = said or find_delimiter([line for _, line in lines[:50]])
    header = _is_header(cells_of([lines[0][1]], delimiter)[0][1], encoding)
    top = f"{lines[0][1]}\n" if header else ""
    return lines[header:], Form(delimiter, top)


def _csv_source(trained: Trained, lines: Sequence[Line], form: Form | None) -> Source:
    assert form is not None, "rows come after it"
    options = dataclasses.replace(_options(trained, bool(form.top)), columns=_encoding(trained))
    source = table_source(lines, form, options)
    return _fitting(trained, source)


def table_source(lines: Sequence[Line], form: Form, options: Options) -> ArraySource:
    """Rows of a csv, read as the whole of it is. Raises DataError for one with a gap."""
    sign = "\\t" if form.delimiter == "\t" else form.delimiter
    text = f"sep={sign}\n{form.top}" + "".join(f"{line}\n" for _, line in lines)
    found = parse_table(text, NAME, options)
    if len(lines) == 1:
        _refuse_gaps(found.values)
    return ArraySource(found.values, name=NAME, meta=found.meta, notes=found.notes)


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
