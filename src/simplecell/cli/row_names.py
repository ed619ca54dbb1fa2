"""What is known of rows beside their codes: identifiers, titles and texts, as columns."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from simplecell.data import Source
from simplecell.data.rows import Record

Column = NDArray[np.generic]
_CHUNK = 8192
_NOT_CARRIED = {"row", "label"}
_NAMES = ("id", "word", "name")


def columns_beside(source: Source) -> dict[str, Column]:
    """The records of a source's rows as columns [n] of numbers or text, the identifier first.

    Nothing where rows are only counted; patches have a file of their own.
    """
    if source.kind == "patches" or not _carried(source.about(slice(0, 1))[0]):
        return {}
    fields: dict[str, list[object]] = {}
    for i, record in enumerate(_records(source)):
        for name, value in _carried(record).items():
            values = fields.setdefault(name, [])
            values += [None] * (i - len(values))
            values.append(value)
    n, first = source.n_samples, identifier(source, list(fields))
    order = sorted(fields, key=lambda name: name != first)
    return {name: _as_column(fields[name] + [None] * (n - len(fields[name]))) for name in order}


def identifier(source: Source, fields: list[str]) -> str | None:
    """The field that names rows: a table's identifier, one that is called so, or the first."""
    kinds = source.columns["columns"] if source.columns else []
    chosen = [kind["name"] for kind in kinds if kind["kind"] == "id"]
    known = [name for name in (*chosen, *_NAMES) if name in fields]
    return next(iter([*known, *fields]), None)


def _records(source: Source) -> Iterator[Record]:
    for start in range(0, source.n_samples, _CHUNK):
        yield from source.about(slice(start, min(start + _CHUNK, source.n_samples)))


def _carried(record: Record) -> Record:
    return {str(name): value for name, value in record.items() if name not in _NOT_CARRIED}


def _as_column(values: list[object]) -> Column:
    """Whole numbers, fractions (NaN where nothing is known) or text."""
    if all(type(value) is int and abs(value) < 2**63 for value in values):
        return np.array(values, dtype=np.int64)
    if all(value is None or type(value) in (int, float) for value in values):
        return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    return np.array([_text(value) for value in values])


def _text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)
