"""Rows of arrays that lie in a file: read through its map, whose pages do not stay in memory.

A page of a map counts as memory of the process once it was touched. It is given back after each
read; the system keeps it in its own cache, where it is nobody's.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_PIECE = 2**24
"""Bytes of a file that are mapped in at once."""
_AROUND = 2**16
"""Bytes that Linux maps in around a row that is read by itself."""
_SHARED = ("r", "r+")
"""Maps that hold nothing but what the file holds; a private one may hold what was written to it."""


def map_under(array: Any) -> mmap.mmap | None:
    """The map of a file that an array is a view of; None for one in memory."""
    shared = False
    while isinstance(array, np.ndarray):
        shared = shared or (isinstance(array, np.memmap) and array.mode in _SHARED)
        array = array.base
    return array if shared and isinstance(array, mmap.mmap) else None


def give_back(array: Any) -> None:
    """Give back the pages that were read of an array, if it lies in a file."""
    pages = map_under(array)
    if pages is not None and hasattr(pages, "madvise"):  # Windows gives back by itself
        pages.madvise(mmap.MADV_DONTNEED)


def rows_of(array: Any, rows: slice | Array) -> Array:
    """`array[rows]`; of an array in a file a copy, read piece by piece."""
    if map_under(array) is None:
        return np.asarray(array[rows])
    if isinstance(rows, slice):
        rows = np.arange(*rows.indices(len(array)))
    width = array[:1].nbytes
    together = len(rows) > 0 and rows[-1] - rows[0] == len(rows) - 1
    together = together and bool((np.diff(rows) == 1).all())
    size = max(1, _PIECE // max(1, width if together else width + _AROUND))
    found = np.empty((len(rows), *array.shape[1:]), array.dtype)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        found[start : start + size] = array[part[0] : part[-1] + 1] if together else array[part]
        give_back(array)
    return found
