"""What data tell of their samples beside the inputs: targets, groups, and what rows are called."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from types import NoneType

import numpy as np
from numpy.typing import NDArray

from simplecell.data import Source
from simplecell.data.columns import Missing, as_numbers
from simplecell.data.numerals import listed
from simplecell.data.rows import Record
from simplecell.data.unseen import seen
from simplecell.errors import UsageError

Places = NDArray[np.int64]

CHUNK = 8192
NAMES = ("id", "word", "name", "title", "text", "file")
"""Fields that say what a row is called, the first known one counts."""
LONGEST_NAME = 48
ALIKE = frozenset(
    [
        "file",
        "document",
        "doc",
        "donor",
        "patient",
        "subject",
        "participant",
        "person",
        "user",
        "author",
        "session",
        "recording",
        "speaker",
        "animal",
        "household",
        "batch",
        "plate",
    ]
)
"""Fields whose samples are alike where they share a value; those that end in "_id" too."""
REPEATS = 1.2
"""Samples a value, on average, from which a field is said to repeat; *ours*."""


def records(source: Source, rows: Places | None = None) -> Iterator[Record]:
    """The record of each sample, or of some rows; under its column's name a label as well."""
    label = label_name(source)
    n_rows = source.n_samples if rows is None else len(rows)
    for start in range(0, n_rows, CHUNK):
        part = slice(start, min(start + CHUNK, n_rows))
        for record in source.about(part if rows is None else rows[part]):
            if label is not None and "label" in record:
                record.setdefault(label, record["label"])
            yield record


def label_name(source: Source) -> str | None:
    """What the column of labels was called in a table that has one."""
    columns = source.columns["columns"] if source.columns else []
    return next((column["name"] for column in columns if column["kind"] == "label"), None)


def values_of(
    source: Source, names: Sequence[str], rows: Places | None = None
) -> dict[str, list[object]]:
    """What the records (of some rows) say under each name, one a sample, None for nothing.

    A name `field=value` asks whether the field is that value, or a list that holds it.

    Raises:
        UsageError: for a name that no record has, or that is an input of the model.
    """
    found: dict[str, list[object]] = {name: [] for name in names}
    known: dict[str, None] = {}
    for record in records(source, rows):
        known.update(dict.fromkeys(name for name, value in record.items() if value is not None))
        for name, values in found.items():
            values.append(_said(record, name))
    for name in names:
        if name not in known and name.partition("=")[0] not in known:
            raise _absent(name, [field for field in known if field != "row"], source)
    decimal = source.columns.get("decimal", ".") if source.columns else "."
    return {name: _read(values, decimal) for name, values in found.items()}


def _said(record: Record, name: str) -> object:
    field, equals, value = name.partition("=")
    if name in record or not equals or record.get(field) is None:
        return record.get(name)
    return is_among(record[field], value)


def is_among(said: object, value: str) -> bool:
    """Whether what a record says is a value, or a list that holds it."""
    return value in map(str, said if isinstance(said, list | tuple | set) else [said])


def _read(values: list[object], decimal: str) -> list[object]:
    """Numbers where all are written as such, since tables keep records as text; or as they are.

    A csv of `--meta` gives some of a column as numbers and, as they would not be written alike
    ("12.50"), others as text.
    """
    kinds = {type(value) for value in values} - {NoneType}
    if str not in kinds or not kinds <= {str, int, float}:
        return values
    decimal = decimal if kinds == {str} else "."
    cells = ["" if value is None else str(value) for value in values]
    found = as_numbers(np.array(cells, dtype=object), Missing(), decimal)
    if found is None:
        return values
    return [int(one) if one % 1 == 0 else one for one in found[0].tolist()]


def _absent(name: str, fields: Sequence[str], source: Source) -> UsageError:
    inputs = source.input_names or []
    if any(one == name or one.startswith(f"{name}=") for one in inputs):
        return UsageError(
            f"{name!r} is an input of this run, which has learned from it, so that latents go with "
            f"it in any case; train on the others: --records {shlex.quote(name)}"
        )
    there = f"they tell {listed([repr(field) for field in fields], 12)}" if fields else "none are"
    return UsageError(
        f"no record of the data tells {name!r} ({there}); give a table with such a column, one row "
        "a sample, by --meta"
    )


def alike(source: Source, group: str | None) -> list[str]:
    """A sentence on samples that the records say are not independent, unless grouped by that."""
    if source.n_samples < 2:
        return []
    first = source.about(slice(0, 1))[0]
    names = [
        name
        for name, value in ((str(key), value) for key, value in first.items())
        if value is not None
        and name != group
        and (name.lower() in ALIKE or name.lower().endswith("_id"))
    ]
    if not names or group is not None:
        return []
    found = values_of(source, names)
    counts = {name: len({str(value) for value in values}) for name, values in found.items()}
    told = [name for name in names if 1 < counts[name] * REPEATS <= source.n_samples]
    return [
        f"{source.n_samples} samples share {counts[name]} values of {name!r}: where these are not "
        f"independent, p and held-out figures promise too much; --group {name} counts them"
        for name in told[:1]
    ]


def titles(source: Source, rows: Places) -> list[str]:
    """What some rows are called: by their records, else by number."""
    return [_title(record) for record in source.about(rows)]


def _title(record: Record) -> str:
    for name in NAMES:
        value = record.get(name)
        if isinstance(value, str | int) and str(value).strip():
            text = seen(" ".join(str(value).split()))
            place = f", row {record['row']}" if name == "file" else ""
            return text[:LONGEST_NAME] + "…" * (len(text) > LONGEST_NAME) + place
    return f"row {record['row']}"
