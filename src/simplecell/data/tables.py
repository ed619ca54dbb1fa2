"""Tables written as text: finds delimiter and header, cuts the text into columns."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from simplecell.data.columns import MISSING, Table, column_of_cells, encode_table, is_number
from simplecell.data.rows import Array
from simplecell.errors import DataError, UsageError

_LOOKED_AT = 50

Header = bool | str


def parse_table(
    text: str,
    name: str,
    *,
    header: Header = "auto",
    label: str | int | None = None,
    encoding: dict[str, Any] | None = None,
) -> Table:
    """The table written in `text`, delimiter and header found by looking.

    `encoding` is the `columns` of an earlier table: new text is encoded exactly like that one.
    Raises DataError for what cannot be read, UsageError for a label column that is not there.
    """
    if header not in ("auto", True, False):
        raise UsageError(f"header is {header!r}; 'auto', True or False is needed")
    if "\0" in text[:10_000]:
        raise DataError(f"{name} is not text: it holds zero bytes")
    lines = first_lines(text)
    if not lines:
        raise DataError(f"{name} is empty: a table needs at least one row")
    delimiter = find_delimiter(lines)
    top = [cells for _, cells in cells_of(lines, delimiter)]
    has_header = _looks_like_header(top) if header == "auto" else bool(header)
    known = [column["name"] for column in encoding["columns"]] if encoding else []
    if header == "auto" and encoding and encoding["header"] and set(top[0]) <= set(known):
        has_header = True
    names = top[0] if has_header else [f"column_{j}" for j in range(len(top[0]))]
    kinds = [column["kind"] for column in encoding["columns"]] if encoding else []
    words = "category" in kinds
    columns = None if words else _numeric_columns(text, delimiter, has_header, len(names))
    if columns is None:
        # Where the model knows words, cells stay text: the word "07" is not the number 7.
        cells = _columns_of_cells(text, delimiter, has_header, len(names), name)
        columns = cells if words else [column_of_cells(column) for column in cells]
    notes = []
    if header == "auto":
        first = "its first row names the columns" if has_header else "it has no header row"
        notes.append(f"{name} is read as a table of {len(names)} columns; {first}")
    how = {"header": has_header, "delimiter": delimiter}
    table = encode_table(columns, names, name, how=how, label=label, encoding=encoding)
    return replace(table, notes=notes + table.notes)


def first_lines(text: str) -> list[str]:
    lines = (line for line in io.StringIO(text) if line.strip())
    kept = (line for line in lines if not line.lstrip().startswith("#"))
    return [line for line, _ in zip(kept, range(_LOOKED_AT), strict=False)]


def cells_of(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, stripped cells) of each line with something in it, first "#" lines skipped."""
    if delimiter == " ":
        rows = ((number, line.split()) for number, line in enumerate(lines, 1))
    else:
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        rows = ((reader.line_num, [cell.strip() for cell in row]) for row in reader)
    started = False
    for number, row in rows:
        if not row or row == [""] or (not started and row[0].startswith("#")):
            continue
        started = True
        yield number, row


def find_delimiter(lines: list[str]) -> str:
    """What cuts all first lines into the same number of cells, the more cells the better."""
    best, most = ",", 1
    for delimiter in (",", ";", "\t", " "):
        counts = {len(row) for _, row in cells_of(lines, delimiter)}
        if len(counts) == 1 and max(counts) > most and (delimiter != " " or most == 1):
            best, most = delimiter, max(counts)
    if most > 1:
        return best
    return max(",;\t", key=lambda d: sum(line.count(d) for line in lines))


def _looks_like_header(top: list[list[str]]) -> bool:
    """Words above numbers; or, where all is words, words that are all different and never recur."""
    first, below = top[0], [row for row in top[1:] if len(row) == len(top[0])]
    if not below:
        return not any(is_number(cell) for cell in first)
    some_numbers = False
    for cell, column in zip(first, zip(*below, strict=True), strict=True):
        given = [value for value in column if value.casefold() not in MISSING]
        if given and all(is_number(value) for value in given):
            some_numbers = True
            if not is_number(cell) and cell.casefold() not in MISSING:
                return True
    recurs = set(first) & {value for row in below for value in row}
    return not some_numbers and len(set(first)) == len(first) and not recurs


def _numeric_columns(text: str, delimiter: str, header: bool, n: int) -> list[Array] | None:
    """All columns at once when all cells are numbers (NumPy's own parser, an order faster)."""
    skip = 0
    if header or text.lstrip().startswith("#"):
        if header and text.lstrip().startswith("#"):
            return None
        skip = 1 + text[: len(text) - len(text.lstrip())].count("\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = np.loadtxt(
                io.StringIO(text),
                delimiter=None if delimiter == " " else delimiter,
                skiprows=skip,
                comments=None,
                quotechar='"',
                ndmin=2,
            )
    except ValueError:
        return None
    return list(values.T) if values.shape[1] == n else None


def _columns_of_cells(text: str, delimiter: str, header: bool, n: int, name: str) -> list[Array]:
    rows = []
    try:
        for number, row in cells_of(iter(io.StringIO(text)), delimiter):
            if len(row) != n:
                raise DataError(f"line {number} of {name} has {len(row)} cells, others have {n}")
            rows.append(row)
    except csv.Error as error:
        raise DataError(f"{name} cannot be read as a table: {error}") from None
    return [np.array(cells, dtype=object) for cells in zip(*rows[header:], strict=True)]
