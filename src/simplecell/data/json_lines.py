"""JSON lines: a field that holds a list of numbers gives the inputs, the others are records.

Lines without such a field are rows of a table, whose columns are judged as any table's are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simplecell.data.binary import most_of, opened, take
from simplecell.data.loaded import Loaded, choose
from simplecell.data.options import Options
from simplecell.data.rows import Array, Meta, Record
from simplecell.data.tables import encode_table
from simplecell.errors import DataError, unknown


def read_json_lines(path: Path, options: Options) -> Loaded:
    """Rows [n, D] of one JSON object a line; `data.key` names the field of numbers.

    Raises DataError, naming the line, for what is no object, lacks the field, or has another
    number of inputs than the first.
    """
    return loaded_of(_records(path), path.name, options)


def vector_field(records: Sequence[Record], name: str, key: str | None) -> str | None:
    """The field of the first record that holds a list of numbers; None where there is none.

    Raises DataError where it is not `key`, or one of several.
    """
    vectors = {field: len(v) for field, v in records[0].items() if is_vector(v)}
    if not vectors and key is None:
        return None
    return choose(name, {field: f"of {n} numbers" for field, n in vectors.items()}, key)


def loaded_of(records: Sequence[Record], name: str, options: Options) -> Loaded:
    """The numbers in records, the objects of JSON lines, of what errors call `name`."""
    key = vector_field(records, name, options.key)
    if key is None:
        return _table(records, name, options)
    data = _vectors(records, key, len(records[0][key]), name)
    others = [field for field in records[0] if field not in (key, options.label)]

    def record(i: int) -> Record:
        return {k: v for k, v in records[i].items() if k not in (key, options.label)}

    return Loaded(
        data,
        records=Meta(len(records), record),
        labels=None if options.label is None else _labels(records, options.label, name),
        label_is_known=options.label is not None,
        notes=[
            f"field {key!r} of {name} gives the {data.shape[1]} inputs; "
            f"records, and no inputs: {', '.join(others) or 'none'}"
        ],
    )


def _labels(records: Sequence[Record], label: str | int, name: str) -> Array:
    if label not in records[0]:
        raise unknown(f"field of {name}", label, records[0])
    values = [record.get(str(label)) for record in records]
    wrong = [i for i, value in enumerate(values) if value is None or isinstance(value, list | dict)]
    if wrong:
        raise DataError(
            f"record {wrong[0]} (the first is 0) of {name} has {values[wrong[0]]!r:.40} for a "
            f"label in {label!r}; a word or a number in every record is needed"
        )
    return np.array(values)


def _records(path: Path) -> list[Record]:
    with opened(path) as stream:
        text = take(stream, path.name, most_of(path)).decode("utf-8-sig")
    records = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        records.append(record_of(line, number, path.name))
    if not records:
        raise DataError(f"{path.name} is empty; at least one line is needed")
    return records


def record_of(line: str, number: int, name: str) -> Record:
    """The object in a line, which errors call by its number. Raises DataError for anything else."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"line {number} of {name} is no JSON: {error}") from None
    if not isinstance(record, dict):
        raise DataError(
            f"line {number} of {name} is no JSON object, but {line[:40]!r}; each line "
            'needs one, such as {"id": 1, "embedding": [0.1, 0.2]}'
        )
    return record


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_vector(value: object) -> bool:
    """Whether this is a list of numbers."""
    return isinstance(value, list) and len(value) > 0 and all(map(_is_number, value))


def _vectors(records: Sequence[Record], key: str, n_inputs: int, name: str) -> Array:
    data = np.empty((len(records), n_inputs))
    for i, record in enumerate(records):
        value: Any = record.get(key)
        if not is_vector(value) or len(value) != n_inputs:
            came = f"{len(value)} numbers" if is_vector(value) else repr(value)[:40]
            raise DataError(
                f"record {i} (the first is 0) of {name} has {came} in {key!r}; {n_inputs} numbers "
                "are needed, as in the first"
            )
        data[i] = value
    return data


def _table(records: Sequence[Record], name: str, options: Options) -> Loaded:
    """Records of single values, as a table: a column a field, in the order of their first line."""
    names = list(dict.fromkeys(field for record in records for field in record))
    columns = []
    for field in names:
        values = [record.get(field) for record in records]
        nested = next((v for v in values if _holds_numbers(v)), None)
        if nested is not None:
            raise DataError(
                f"field {field!r} of {name} holds {str(nested)[:40]}; a list of numbers of one "
                "length in every line, or single values, are needed"
            )
        columns.append(_column(values))
    return Loaded.of_table(encode_table(columns, names, name, options, header=True))


def _column(values: Sequence[object]) -> Array:
    """Numbers [n] where JSON has numbers alone, else text [n], empty for null."""
    if all(_is_number(value) for value in values):
        return np.array(values)
    return np.array([_text(value) for value in values], dtype=object)


def _text(value: object) -> str:
    """A cell: nothing for null; lists of words as JSON writes them."""
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def _holds_numbers(value: object) -> bool:
    """Whether this is a list of numbers, or of lists, which no column of a table can be."""
    return isinstance(value, list) and any(_is_number(v) or isinstance(v, list) for v in value)
