"""Tables: text and data frames cut into columns, and columns of numbers and words made inputs.

A column of numbers is one input. A column of words (categories) is one input per word, named
"column=word", 1 where it is that word. How a table was encoded is a JSON-able dict.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from simplecell.data.rows import Array, Column, Encoding
from simplecell.errors import DataError, UsageError, unknown

MOST_CATEGORIES = 100
MISSING = {"", "na", "n/a", "nan", "null", "?"}
_NOTHING = {"None", "nan", "NaN", "<NA>", "NaT"}
_LOOKED_AT = 50


@dataclass(frozen=True)
class Loaded:
    """An array as a file or a frame holds it: numbers, layout, and what is known beside them."""

    data: Any
    samples_last: bool = False
    """Where the sample is the last axis of 3-D and 4-D arrays (MATLAB)."""
    labels: Array | None = None
    columns: Encoding | None = None
    """How a table was encoded; None for what is no table."""
    input_names: list[str] | None = None
    notes: list[str] = field(default_factory=list)


def encode_table(
    columns: Sequence[Array],
    names: list[str],
    name: str,
    *,
    header: bool = True,
    delimiter: str | None = None,
    label: str | int | None = None,
    encoding: Encoding | None = None,
) -> Loaded:
    """Inputs from columns, each numbers or text [n]; how they were written is kept as well.

    `label` names (or counts from 0) a column that is no input. With `encoding`, an earlier table's
    `columns`, this one is encoded exactly like that. Raises DataError, UsageError.
    """
    if not columns or not len(columns[0]):
        raise DataError(f"{name} has no rows below its header; at least one sample is needed")
    names = _distinct(names)
    notes: list[str] = []
    by_name = dict(zip(names, columns, strict=True))
    if encoding is None:
        kinds = _find_kinds(by_name, None if label is None else _label_name(label, names))
        _note_left_out(kinds, name, notes)
        encoding = {"header": header, "delimiter": delimiter, "columns": kinds}
    else:
        by_name = _match(by_name, encoding, header, name)
    return _apply(by_name, encoding, name, notes)


def _distinct(names: list[str]) -> list[str]:
    """A column without a name gets its number, a name that came before gets one more."""
    distinct: list[str] = []
    for j, name in enumerate(names):
        name = name or f"column_{j}"
        distinct.append(name if name not in distinct else f"{name}_{j}")
    return distinct


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.casefold() not in MISSING


def column_of_cells(cells: Array) -> Array:
    """Numbers [n] float64 when all cells (text [n]) are numbers or missing (NaN), else the text."""
    try:
        return cells.astype(np.float64)
    except ValueError:
        pass
    if not all(cell.casefold() in MISSING or is_number(cell) for cell in cells):
        return cells
    return np.array([float(cell) if is_number(cell) else np.nan for cell in cells])


def _label_name(label: str | int, names: list[str]) -> str:
    if isinstance(label, str) and label in names:
        return label
    try:
        return names[int(label)]
    except (ValueError, IndexError):
        raise unknown("label column", label, names) from None


def _find_kinds(columns: dict[str, Array], label: str | None) -> list[Column]:
    kinds: list[Column] = []
    for column, values in columns.items():
        if column == label:
            kinds.append({"name": column, "kind": "label"})
        elif values.dtype != object:
            kinds.append({"name": column, "kind": "number"})
        else:
            words = sorted(set(values) - {w for w in set(values) if w.casefold() in MISSING})
            many = len(words) > MOST_CATEGORIES or len(words) == len(values) > 1
            kinds.append(
                {"name": column, "kind": "left out", "words": len(words)}
                if many
                else {"name": column, "kind": "category", "categories": words}
            )
    return kinds


def _note_left_out(kinds: list[Column], name: str, notes: list[str]) -> None:
    left_out = [kind for kind in kinds if kind["kind"] == "left out"]
    for kind in left_out:
        notes.append(
            f"column {kind['name']!r} of {name} is left out: it holds {kind['words']} different "
            "words, too many for one input each"
        )
    if all(kind["kind"] in ("left out", "label") for kind in kinds):
        raise DataError(f"{name} has no column that can be an input; {'; '.join(notes) or 'no'}")


def _match(
    columns: dict[str, Array], encoding: Encoding, header: bool, name: str
) -> dict[str, Array]:
    """The columns under the names of the model's table: by name with headers, else by position."""
    known = [column["name"] for column in encoding["columns"]]
    inputs = [column["name"] for column in encoding["columns"] if column["kind"] != "label"]
    if len(columns) not in (len(known), len(inputs)):
        raise DataError(
            f"{name} has {len(columns)} columns, but this model was built for {len(known)}"
        )
    wanted = known if len(columns) == len(known) else inputs
    if not (header and encoding["header"]):
        return dict(zip(wanted, columns.values(), strict=True))
    for column in wanted:
        if column not in columns:
            raise DataError(
                f"{name} has no column {column!r}, but this model was built for it; "
                f"its columns are {', '.join(columns)}"
            )
    return {column: columns[column] for column in wanted}


def _apply(columns: dict[str, Array], encoding: Encoding, name: str, notes: list[str]) -> Loaded:
    parts: list[Array] = []
    names: list[str] = []
    labels = None
    for how in encoding["columns"]:
        values, column = columns.get(how["name"]), how["name"]
        if values is None or how["kind"] == "left out":
            continue
        if how["kind"] == "label":
            labels = _labels(values)
            continue
        _refuse_missing(values, column, name)
        if how["kind"] == "number":
            parts.append(_numbers(values, column, name))
            names.append(column)
        else:
            parts.extend(_one_hot(values, how["categories"], column, name, notes))
            names.extend(f"{column}={word}" for word in how["categories"])
    table = np.column_stack(parts)
    return Loaded(table, labels=labels, columns=encoding, input_names=names, notes=notes)


def _labels(values: Array) -> Array:
    values = column_of_cells(values) if values.dtype == object else values
    if values.dtype == object:
        return np.array([str(value) for value in values])
    whole = values.dtype.kind == "f" and np.isfinite(values).all() and (values % 1 == 0).all()
    return values.astype(np.int64) if whole else values


def _refuse_missing(values: Array, column: str, name: str) -> None:
    if values.dtype == object:
        missing = np.array([value.casefold() in MISSING for value in values], dtype=bool)
    else:
        missing = ~np.isfinite(values)
    if missing.any():
        row = int(missing.argmax())
        raise DataError(
            f"row {row} (the first is 0), column {column!r} of {name} is missing or not finite: "
            f"'{values[row]!s:.20}', and {int(missing.sum())} such in this column; fill them or "
            "remove those rows first"
        )


def _numbers(values: Array, column: str, name: str) -> Array:
    values = column_of_cells(values) if values.dtype == object else values
    if values.dtype != object:
        return values
    row = next(i for i, value in enumerate(values) if not is_number(value))
    raise DataError(
        f"row {row}, column {column!r} of {name} is {values[row]!r}, but this model was built for "
        "numbers there"
    )


def _one_hot(
    values: Array, categories: list[str], column: str, name: str, notes: list[str]
) -> list[Array]:
    if values.dtype != object:  # a data frame's column of numbers where words were before
        values = np.array([f"{value:g}" for value in values], dtype=object)
    parts = [(values == word).astype(np.float32) for word in categories]
    n_unknown = int((np.sum(parts, axis=0) == 0).sum())
    if n_unknown:
        notes.append(
            f"{n_unknown} of {len(values)} values in column {column!r} of {name} are words that "
            "the model has never seen; all their inputs are 0"
        )
    return parts


def is_frame(data: object) -> bool:
    """Whether this has named columns."""
    return hasattr(data, "columns") and hasattr(data, "to_numpy")


def columns_of_frame(frame: Any) -> tuple[list[str], list[Array]]:
    """Names and columns, each numbers or text [n]. Raises DataError for dates and doubled names."""
    return [str(name) for name in frame.columns], [_column(frame, name) for name in frame.columns]


def _column(frame: Any, name: Any) -> Array:
    values = np.asarray(frame[name])
    if values.ndim != 1:
        raise DataError(f"the data frame has several columns named {name!r}; rename them")
    if values.dtype.kind in "biuf":
        return values
    if values.dtype.kind not in "OUST":
        raise DataError(
            f"column {name!r} of the data frame holds {values.dtype}; convert it to numbers, "
            "or leave it out"
        )
    cells = [str(value) for value in values]
    return column_of_cells(np.array(["" if c in _NOTHING else c for c in cells], dtype=object))


def parse_table(
    text: str,
    name: str,
    *,
    header: bool | str = "auto",
    label: str | int | None = None,
    encoding: Encoding | None = None,
) -> Loaded:
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
    table = encode_table(
        columns,
        names,
        name,
        header=has_header,
        delimiter=delimiter,
        label=label,
        encoding=encoding,
    )
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
        with warnings.catch_warnings(action="ignore"):
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
