"""Tables: columns of numbers and words made inputs, and the same inputs again from new rows.

A column of numbers is one input, a column of vectors one for each of its numbers ("column.0" …). A
column of words (categories) is one input per word, named "column=word", 1 where it is that word.
Nothing is learned from what only names the rows: identifiers, counters and texts are their records.
How a table was encoded is a JSON-able dict.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from simplecell.data.columns import Missing, as_numbers, plain_value
from simplecell.data.frames import columns_of_frame
from simplecell.data.kinds import Judge, record_name
from simplecell.data.matched import matched
from simplecell.data.numerals import decimal_of, listed
from simplecell.data.options import Options
from simplecell.data.rows import Array, Column, Encoding, Meta, Record
from simplecell.errors import DataError

_LOOKED_AT, _MANY = 10_000, 10


@dataclass(frozen=True)
class Table:
    """A table as numbers: values [n, D] with their names, labels [n], encoding, notes, records.

    `records` are the columns [n] that name or describe rows, by name, the identifier first.
    """

    values: Array
    input_names: list[str]
    labels: Array | None
    columns: Encoding
    notes: list[str]
    records: dict[str, Array] = field(default_factory=dict)

    @property
    def meta(self) -> Meta | None:
        """What is known about each row; None where it is nothing."""
        if not self.records:
            return None

        def record(i: int) -> Record:
            return {name: plain_value(values[i]) for name, values in self.records.items()}

        return Meta(len(self.values), record)


def table_of_frame(frame: Any, name: str, options: Options | None = None) -> Table:
    """The table of a data frame of pandas, polars, pyarrow or Hugging Face's datasets.

    `name` is what sentences call it. Columns of lists become one input an entry. Raises DataError
    for what cannot be read, UsageError for a column that is named and not there.
    """
    names, columns = columns_of_frame(frame)
    return encode_table(columns, names, name, options or Options(), header=True)


def encode_table(
    columns: Sequence[Array],
    names: Sequence[str],
    name: str,
    options: Options,
    *,
    header: bool,
    delimiter: str | None = None,
) -> Table:
    """Inputs from columns, each numbers [n], vectors [n, k] or text [n]; how is kept as well.

    With `options.columns`, an earlier table's, this one is encoded exactly like that; by name where
    both have a `header`. Raises DataError, UsageError.
    """
    if not columns or not len(columns[0]):
        raise DataError(f"{name} has no rows below its header; at least one sample is needed")
    by_name = dict(zip(_distinct(names), columns, strict=True))
    decimal = _decimal(columns, options, delimiter)
    if options.samples == "columns":
        return _turned(by_name, name, options, header, decimal)
    judge, encoding = Judge(name, options, header=header, decimal=decimal), options.columns
    judge.notes += _twice(names, name)
    if encoding is None:
        kinds = judge.kinds(by_name)
        encoding = Encoding(header=header, delimiter=delimiter, decimal=decimal, columns=kinds)
    else:
        by_name, ignored = matched(by_name, encoding, header, name)
        judge.notes += ignored
        kinds = [*encoding["columns"], *judge.name_rows(by_name, encoding["columns"])]
    return _of_kinds(by_name, kinds, encoding, judge)


def _of_kinds(
    columns: dict[str, Array], kinds: Sequence[Column], encoding: Encoding, judge: Judge
) -> Table:
    parts, input_names = judge.inputs(columns, kinds)
    labels, records = _labels(columns, kinds, judge.missing), _records(columns, kinds)
    notes = [*judge.notes, *judge.styles_told()]
    return Table(_side_by_side(parts), input_names, labels, encoding, notes, records)


def _twice(names: Sequence[str], name: str) -> list[str]:
    """The sentence on names that several columns have."""
    counts = Counter(filter(None, names))
    doubled = [repr(one) for one, count in counts.items() if count > 1]
    if not doubled:
        return []
    return [f"several columns of {name} are called {listed(doubled)}; the later ones get a number"]


def _distinct(names: Iterable[str]) -> list[str]:
    """A column without a name gets its number, a name that came before gets one more."""
    distinct: dict[str, None] = {}
    for j, name in enumerate(names):
        name = name or f"column_{j}"
        distinct[name if name not in distinct else f"{name}_{j}"] = None
    return list(distinct)


def _decimal(columns: Sequence[Array], options: Options, delimiter: str | None) -> str:
    """The decimal sign of a table, "." or ","."""
    texts = [values for values in columns if values.dtype == object]
    otherwise = "," if delimiter == ";" or _all_have_commas(texts, delimiter) else "."
    if options.columns is not None:
        otherwise = options.columns.get("decimal", otherwise)
    return decimal_of((cell for values in texts for cell in values[:_LOOKED_AT]), otherwise)


def _all_have_commas(texts: Sequence[Array], delimiter: str | None) -> bool:
    """Whether every number has a comma and three digits: that many between 1,000 and 999,999 are
    rarer than numbers with three decimals, unless commas separate the cells as well."""
    numbers = [values for values in texts if re.match(r"[+-]?\d{1,3},\d{3}$", values[0])]
    return (
        delimiter in ("\t", " ", "|")
        and bool(numbers)
        and all("," in cell for values in numbers for cell in values[:_LOOKED_AT] if cell)
        and sum(len(values) for values in numbers) >= _MANY
    )


def _labels(columns: dict[str, Array], kinds: Sequence[Column], missing: Missing) -> Array | None:
    """The labels [n]: whole numbers, fractions or words; None without that column."""
    names = [kind["name"] for kind in kinds if kind["kind"] == "label"]
    if not names or names[0] not in columns:
        return None
    values = columns[names[0]]
    found = as_numbers(values, missing, ".")
    if found is None:
        return np.array([str(value) for value in values])
    numbers = found[0]
    whole = numbers.dtype.kind == "f" and np.isfinite(numbers).all() and (numbers % 1 == 0).all()
    return numbers.astype(np.int64) if whole else numbers


def _records(columns: dict[str, Array], kinds: Sequence[Column]) -> dict[str, Array]:
    """What names or describes rows, the identifier first; one without a name is called "id"."""
    found = {}
    for wanted in ("id", "left out"):
        for kind in kinds:
            column = kind["name"]
            if kind["kind"] != wanted or column not in columns or kind.get("words") == 0:
                continue
            found[record_name(kind, columns)] = columns[column]
    return found


def _side_by_side(parts: Sequence[Array]) -> Array:
    """Inputs, each [n] or [n, k], as one array [n, D]."""
    if len(parts) == 1 and parts[0].ndim == 2:
        return parts[0]
    widths = [1 if part.ndim == 1 else part.shape[1] for part in parts]
    dtype = np.result_type(*{part.dtype for part in parts})
    table = np.empty((len(parts[0]), sum(widths)), dtype=dtype)
    at = 0
    for part, width in zip(parts, widths, strict=True):
        table[:, at : at + width] = part.reshape(len(part), width)
        at += width
    return table


def _turned(
    columns: dict[str, Array], name: str, options: Options, header: bool, decimal: str
) -> Table:
    """A table whose samples are its columns, such as genes in rows: what names a row is an input.

    The header names the samples.
    """
    told = replace(options, label=None, columns=None)
    if header and options.id == "auto" and _begins_with_numbers_of_rows(columns, options, decimal):
        told = replace(told, id=next(iter(columns)))
    judge = Judge(name, told, header=header, decimal=decimal)
    kinds = judge.kinds(columns)
    samples = [kind for kind in kinds if kind["kind"] == "number"]
    if not samples:
        raise DataError(f"{name} has no column of numbers, and its samples are its columns")
    parts, names = judge.inputs(columns, samples)
    inputs, notes = _names_of_inputs(columns, kinds, name)
    rows = np.stack(parts)
    turned = encode_table(
        list(rows.T),
        inputs,
        name,
        replace(options, samples="rows", id="none", words=None),
        header=True,
    )
    notes.append(f"the {len(names)} columns of {name} are its samples: {listed(names, 3)}")
    notes += judge.styles_told()
    sample_names = np.array(names, dtype=object)
    return replace(turned, notes=notes + turned.notes, records={"id": sample_names})


def _begins_with_numbers_of_rows(columns: dict[str, Array], options: Options, decimal: str) -> bool:
    """Whether no column is of words, and the first has a whole number of its own for each row.

    Genes are called by numbers as well.
    """
    missing = Missing.of(options.missing)
    read = [as_numbers(values, missing, decimal) for values in columns.values()]
    if any(found is None for found in read) or read[0] is None:
        return False
    first = read[0][0]
    whole = first.ndim == 1 and bool((first % 1 == 0).all())
    return whole and len(np.unique(first)) == len(first) >= _MANY


def _names_of_inputs(
    columns: dict[str, Array], kinds: Sequence[Column], name: str
) -> tuple[list[str], list[str]]:
    """What the rows of a turned table are called, and sentences on the columns of words."""
    n = len(next(iter(columns.values())))
    words = [kind["name"] for kind in kinds if kind["kind"] != "number"]
    texts = [k["name"] for k in kinds if k.get("words") or k["kind"] == "category"]
    texts.sort(key=lambda column: len({*columns[column]}) < n)
    # A counter names rows only where no words do: "0, G1, 5.2 …" is gene G1.
    by_id = [kind["name"] for kind in kinds if kind["kind"] == "id"]
    chosen = next((c for c in by_id if c in texts), None) or next(iter([*texts, *by_id]), None)
    if chosen is None:
        return [f"row_{i}" for i in range(n)], []
    others = [repr(column) for column in words if column != chosen]
    notes = [f"column {chosen!r} of {name} names the inputs"]
    if others:
        notes.append(f"columns of {name} that hold no samples are left out: {listed(others)}")
    return [str(plain_value(value)) for value in columns[chosen]], notes
