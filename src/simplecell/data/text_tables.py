"""Tables as text: .csv, .tsv and the like cut into columns, whoever wrote them."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import replace

import numpy as np

from simplecell.data.cells import (
    cells_of,
    find_delimiter,
    first_lines,
    squared,
    without_delimiter_line,
)
from simplecell.data.header import count_units, looks_like_header
from simplecell.data.kinds import text_alone
from simplecell.data.numerals import is_number, like_number, listed
from simplecell.data.options import Options
from simplecell.data.rows import Array, Encoding
from simplecell.data.spreadsheet import bare
from simplecell.data.tables import Table, encode_table
from simplecell.errors import DataError

_EXACT, _LOOKED_AT = 2.0**53, 50


def parse_table(text: str, name: str, options: Options | None = None) -> Table:
    """The table written in `text`, delimiter and header found by looking.

    With `options.columns`, those of an earlier table, new text is encoded exactly like that one.
    Raises DataError for what cannot be read, UsageError for a label column that is not there.
    """
    options = options or Options()
    if "\0" in text[:10_000]:
        raise DataError(f"{name} is not text: it holds zero bytes; save a table as UTF-8")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text, said = without_delimiter_line(text)
    lines = first_lines(text)
    if not lines:
        raise DataError(f"{name} is empty: a table needs at least one row")
    delimiter = said or find_delimiter(lines)
    top = [cells for _, cells in cells_of(lines, delimiter)]
    top[0] = list(map(bare, top[0]))
    header = _has_header(top, options)
    notes = _told(top, header, name) if options.header == "auto" else []
    names = top[0] if header else [f"column_{j}" for j in range(len(top[0]))]
    columns = None
    if not _needs_text(text, delimiter, options):
        columns = _numeric_columns(text, delimiter, header, len(names))
    if columns is None:
        names, columns, more = _columns_of_cells(text, delimiter, header, name)
        names, notes = [bare(one) for one in names] if header else names, notes + more
    table = encode_table(columns, names, name, options, header=header, delimiter=delimiter)
    return replace(table, notes=notes + table.notes)


def _has_header(top: list[list[str]], options: Options) -> bool:
    if options.header != "auto":
        return bool(options.header)
    encoding = options.columns
    if encoding and encoding["header"] and options.samples != "columns":
        known = {column["name"] for column in encoding["columns"]}
        met = known.intersection(top[0])
        if 2 * len(met) >= len(top[0]) or any(not is_number(name) for name in met):
            return True
    return looks_like_header(top)


def _told(top: list[list[str]], header: bool, name: str) -> list[str]:
    n = len(top[0])
    told = f"{name} is read as a table of {n} columns; "
    if not header:
        return [f"{told}it has no header row"]
    notes = [f"{told}its first row names the columns"]
    numbers = [cell for cell in top[0] if is_number(cell.replace(",", "."))]
    if numbers:
        notes.append(
            f"the first row of {name} is taken for a header of numbers ({listed(numbers, 3)}) and "
            "is no sample; say data.header=false if it is one"
        )
    return notes


def _needs_text(text: str, delimiter: str, options: Options) -> bool:
    """Whether cells must stay as they are written: the word "07" is not the number 7."""
    encoding: Encoding | None = options.columns
    words = encoding is not None and any(c["kind"] == "category" for c in encoding["columns"])
    if words or options.words is not None:
        return True
    return re.search(rf'(?:^|["{delimiter}])0\d', text, re.MULTILINE) is not None


def _numeric_columns(text: str, delimiter: str, header: bool, n: int) -> list[Array] | None:
    """All columns at once when all cells are numbers (NumPy's own parser, an order faster).

    None, too, where a number has more digits than a float: an identifier is not to lose any.
    """
    commented = text.lstrip().startswith("#")
    if header and commented:
        return None
    skip = 0
    if header or commented:
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
    inexact = bool(
        (np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)) >= _EXACT).any()
    )
    return list(values.T) if values.shape[1] == n and not inexact else None


def _columns_of_cells(
    text: str, delimiter: str, header: bool, name: str
) -> tuple[list[str], list[Array], list[str]]:
    """Names, columns of text and what was put right; rows of units are no samples."""
    cells = cells_of(io.StringIO(text), delimiter)
    try:
        cut = squared(cells, name, header)
    except DataError:
        if any(like_number(cell) for _, row in cells[:_LOOKED_AT] for cell in row):
            raise
        raise DataError(text_alone(name, "its lines")) from None
    rows, notes = cut.rows[header:], cut.notes
    names = cut.rows[0] if header else [f"column_{j}" for j in range(len(cut.rows[0]))]
    units = count_units(rows[:_LOOKED_AT]) if header else 0
    if units:
        told = "; ".join(f"row {i}: {listed([repr(c) for c in rows[i]])}" for i in range(units))
        pairs = [f"{column} in {cell!r}" for column, cell in zip(names, rows[0], strict=True)]
        notes.append(
            f"below the header of {name} stand words over numbers, taken for units and for no "
            f"sample ({told}; {listed(pairs, 3)})"
        )
        rows = rows[units:]
    columns = [np.array(cells, dtype=object) for cells in zip(*rows, strict=True)]
    return names, columns, notes
