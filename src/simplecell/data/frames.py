"""Data frames, whichever library made them: names, and columns of numbers, words or vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from simplecell.data.rows import Array
from simplecell.errors import DataError

_NOTHING = {"None", "nan", "NaN", "<NA>", "NaT"}


def is_frame(data: object) -> bool:
    """Whether this has named columns: of pandas, polars, pyarrow or Hugging Face's datasets."""
    named = hasattr(data, "columns") and hasattr(data, "to_numpy")
    return named or hasattr(data, "column_names") or _is_splits(data)


def _is_splits(data: object) -> bool:
    """Whether this is a DatasetDict: several data sets by name."""
    return isinstance(data, dict) and any(hasattr(part, "column_names") for part in data.values())


def columns_of_frame(frame: Any) -> tuple[list[str], list[Array]]:
    """Names and columns, each numbers [n], vectors [n, k], text [n] or, of dates, datetimes [n].

    What names the rows of a pandas frame, its index, comes first, where it is not just 0, 1, 2 …
    Raises DataError for doubled names, vectors of different lengths and several splits.
    """
    if _is_splits(frame):
        raise DataError(
            f"these are several data sets: {', '.join(map(str, frame))}; give one of them, such as "
            f"data[{next(iter(frame))!r}]"
        )
    if hasattr(frame, "column_names"):
        table = _as_arrow(frame)
        names = [str(name) for name in table.column_names]
        _refuse_doubled(names)
        return names, [_of_arrow(table.column(j), name) for j, name in enumerate(names)]
    names = [str(name) for name in frame.columns]
    _refuse_doubled(names)
    columns = [_column(frame[name], str(name)) for name in frame.columns]
    index = _index(frame)
    if index is not None and index[0] not in names:
        names, columns = [index[0], *names], [index[1], *columns]
    return names, columns


def _as_arrow(data: Any) -> Any:
    """The pyarrow table behind a Hugging Face data set (its rows in order), or the one given."""
    if hasattr(data, "with_format"):
        if not hasattr(data, "num_rows"):
            raise DataError(
                "this data set is streamed, and has no end that is known; load it whole "
                "(streaming=False)"
            )
        data = data.with_format("arrow")[:]
    if not hasattr(data, "to_batches"):  # one batch of a table
        from pyarrow import Table

        data = Table.from_batches([data])
    return data


def _refuse_doubled(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"the data frame has several columns named {name!r}; rename them")


def _index(frame: Any) -> tuple[str, Array] | None:
    """(name, values [n]) of a pandas index that says something about the rows."""
    index = getattr(frame, "index", None)
    if index is None or not hasattr(index, "to_numpy") or type(index).__name__ == "RangeIndex":
        return None
    values = index.to_numpy()
    name = "index" if index.name is None else str(index.name)
    if values.dtype.kind in "iu":
        return name, values
    return name, np.array([str(value) for value in values], dtype=object)


def _column(column: Any, name: str) -> Array:
    """A column of pandas or polars."""
    values = np.asarray(column)
    if values.dtype.kind in "biufM":
        return values
    if values.dtype.kind == "O" and _are_vectors(values):
        return stacked(values, name)
    if values.dtype.kind not in "OUST":
        raise DataError(
            f"column {name!r} of the data frame holds {values.dtype}; convert it to numbers, "
            "or leave it out"
        )
    if getattr(values.dtype, "na_object", None) is not None:
        values = values.astype(object)
    return _cells(values)


def _cells(values: Any) -> Array:
    """Text [n], empty where nothing is; numbers [n] where Python's own stand among nothing else."""
    nothing = [str(value) in _NOTHING and not isinstance(value, str) for value in values]
    if not all(nothing) and all(
        none or (isinstance(value, int | float | np.number) and not isinstance(value, bool))
        for none, value in zip(nothing, values, strict=True)
    ):
        pairs = zip(nothing, values, strict=True)
        return np.array([np.nan if none else float(value) for none, value in pairs])
    pairs = zip(nothing, values, strict=True)
    return np.array(["" if none else str(value) for none, value in pairs], dtype=object)


def _are_vectors(values: Array) -> bool:
    """Whether cells are lists of numbers."""
    first = next((value for value in values if _length(value) >= 0), None)
    if first is None:
        return False
    return np.asarray(first).dtype.kind in "biuf" and np.asarray(first).ndim == 1


def _length(value: Any) -> int:
    """The length of a list in a cell; -1 for what is none."""
    plain = isinstance(value, str | bytes | dict) or not hasattr(value, "__len__")
    return -1 if plain else len(value)


def stacked(values: Sequence[Any] | Array, name: str) -> Array:
    """Vectors [n, k] of the lists in a column's cells, all of one length.

    Raises DataError, naming the row, where there is none or one of another length.
    """
    lengths = [_length(value) for value in values]
    wanted = Counter(length for length in lengths if length >= 0).most_common(1)[0][0]
    for row, length in enumerate(lengths):
        if length != wanted:
            told = "nothing" if length < 0 else f"{length} numbers"
            raise DataError(
                f"row {row} (the first is 0), column {name!r} holds {told}, and others hold "
                f"{wanted}; one length is needed: fill or remove that row first"
            )
    parts = [np.asarray(value) for value in values]
    return np.stack([part.astype(np.float64) if part.dtype.kind == "O" else part for part in parts])


def _of_arrow(column: Any, name: str) -> Array:
    """A pyarrow column as NumPy has it."""
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if _is_list(types, kind):
        return _vectors_of_arrow(column, name)
    if types.is_temporal(kind):
        return (
            column.to_numpy().astype("datetime64[us]")
            if not types.is_time(kind)
            else _cells(column.to_pylist())
        )
    if types.is_boolean(kind) and column.null_count:
        return _cells(column.to_pylist())
    if types.is_decimal(kind):
        column = column.cast("float64")
    values = column.to_numpy()
    if values.dtype.kind in "biuf":
        return np.asarray(values)
    return _cells(column.to_pylist())


def _is_list(types: Any, kind: Any) -> bool:
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    item = kind.value_type if lists else None
    return lists and (types.is_floating(item) or types.is_integer(item) or types.is_boolean(item))


def _vectors_of_arrow(column: Any, name: str) -> Array:
    """Vectors [n, k] without a Python object a row: an embedding table has millions of numbers."""
    from pyarrow import compute

    lengths = compute.list_value_length(column).to_numpy()
    n = len(lengths)
    if not n or column.null_count or (lengths != lengths[0]).any():
        return stacked(column.to_pylist(), name)
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(flat).reshape(n, int(lengths[0]))
