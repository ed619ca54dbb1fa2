"""Columns of numbers and words to inputs, the same way again for new tables.

A column of numbers is one input. A column of words (categories) is one input per word, named
"column=word", 1 where it is that word. How a table was encoded is a JSON-able dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simplecell.data.rows import Array
from simplecell.errors import DataError, unknown

MOST_CATEGORIES = 100
MISSING = {"", "na", "n/a", "nan", "null", "?"}


@dataclass(frozen=True)
class Table:
    """A table as numbers: values [n, D] with their names, labels [n], encoding, notes."""

    values: Array
    input_names: list[str]
    labels: Array | None
    columns: dict[str, Any]
    notes: list[str]


def encode_table(
    columns: Sequence[Array],
    names: list[str],
    name: str,
    *,
    how: dict[str, Any],
    label: str | int | None = None,
    encoding: dict[str, Any] | None = None,
) -> Table:
    """Inputs from columns, each numbers or text [n]; `how` is kept in the encoding.

    `label` names (or counts from 0) a column that is no input. With `encoding`, an earlier table's
    `columns`, this one is encoded exactly like that. Raises DataError, UsageError.
    """
    if not columns or not len(columns[0]):
        raise DataError(f"{name} has no rows below its header; at least one sample is needed")
    names = _distinct(names)
    notes: list[str] = []
    by_name = dict(zip(names, columns, strict=True))
    if encoding is None:
        kinds = _find_kinds(by_name, None if label is None else _label_name(label, names), notes)
        _note_left_out(kinds, name, notes)
        encoding = how | {"columns": kinds}
    else:
        by_name = _match(by_name, encoding, how["header"], name)
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


def _find_kinds(
    columns: dict[str, Array], label: str | None, notes: list[str]
) -> list[dict[str, Any]]:
    kinds: list[dict[str, Any]] = []
    for column, values in columns.items():
        if column == label:
            kinds.append({"name": column, "kind": "label"})
        elif values.dtype != object:
            kinds.append({"name": column, "kind": "number"})
        else:
            words = sorted(set(values) - {w for w in set(values) if w.casefold() in MISSING})
            many = len(words) > MOST_CATEGORIES or len(words) == len(values) > 1
            kind = {"kind": "left out", "words": len(words)} if many else {"kind": "category"}
            kinds.append({"name": column} | kind | ({} if many else {"categories": words}))
    return kinds


def _note_left_out(kinds: list[dict[str, Any]], name: str, notes: list[str]) -> None:
    left_out = [kind for kind in kinds if kind["kind"] == "left out"]
    for kind in left_out:
        notes.append(
            f"column {kind['name']!r} of {name} is left out: it holds {kind['words']} different "
            "words, too many for one input each"
        )
    if all(kind["kind"] in ("left out", "label") for kind in kinds):
        raise DataError(f"{name} has no column that can be an input; {'; '.join(notes) or 'no'}")


def _match(
    columns: dict[str, Array], encoding: dict[str, Any], header: bool, name: str
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


def _apply(
    columns: dict[str, Array], encoding: dict[str, Any], name: str, notes: list[str]
) -> Table:
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
    dtype = np.result_type(*(part.dtype for part in parts))
    table = np.empty((len(parts[0]), len(parts)), dtype=dtype)
    for j, part in enumerate(parts):
        table[:, j] = part
    return Table(table, names, labels, encoding, notes)


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
