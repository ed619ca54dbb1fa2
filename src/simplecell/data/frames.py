"""Data frames (pandas, polars and their like) as named columns, without importing either."""

from __future__ import annotations

from typing import Any

import numpy as np

from simplecell.data.columns import column_of_cells
from simplecell.data.rows import Array
from simplecell.errors import DataError

_NOTHING = {"None", "nan", "NaN", "<NA>", "NaT"}


def is_frame(data: Any) -> bool:
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
