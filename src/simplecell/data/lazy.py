"""Arrays that are read by row and never whole: several as one, bfloat16, one axis as inputs.

Each looks like an array [n, ...] to who asks for its rows; `numpy.asarray` reads all of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from simplecell.data.mapped import give_back, map_under, rows_of

Array = npt.NDArray[Any]


class Lazy:
    """An array [n, ...] whose rows come into being when they are asked for."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def in_files(self) -> bool:
        """Whether rows are read from files each time."""
        raise NotImplementedError

    def take(self, rows: Array) -> Array:
        """The rows of these numbers, [B, ...]."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        if isinstance(rows, int | np.integer):
            return self.take(np.array([range(len(self))[int(rows)]]))[0]
        if isinstance(rows, slice):
            return self.take(np.arange(*rows.indices(len(self))))
        return self.take(np.asarray(rows, dtype=np.int64))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype)


class Widened(Lazy):
    """bfloat16, given by its bits [n, ...] uint16, as the float32 of the same value.

    A bfloat16 is the upper half of a float32: nothing is rounded.
    """

    def __init__(self, bits: Array) -> None:
        self.bits, self.shape, self.dtype = bits, bits.shape, np.dtype(np.float32)

    @property
    def in_files(self) -> bool:
        return map_under(self.bits) is not None

    def take(self, rows: Array) -> Array:
        return widened(rows_of(self.bits, rows))


def widened(bits: Array) -> Array:
    """float32 of the same shape, of the bits of bfloat16 (uint16)."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Joined(Lazy):
    """Arrays [n_i, ...] of one width, one below the other; their common type holds them all."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = list(parts)
        self._starts = np.concatenate([[0], np.cumsum([part.shape[0] for part in parts])])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])
        self.dtype = np.result_type(*(part.dtype for part in parts))

    @property
    def in_files(self) -> bool:
        return any(lies_in_files(part) for part in self._parts)

    def place(self, row: int) -> tuple[int, int]:
        """(number of the part, row in it)."""
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return part, int(row - self._starts[part])

    def take(self, rows: Array) -> Array:
        x = np.empty((len(rows), *self.shape[1:]), self.dtype)
        of = np.searchsorted(self._starts, rows, side="right") - 1
        for part in np.unique(of):
            here = of == part
            x[here] = rows_of(self._parts[part], rows[here] - self._starts[part])
        return x


class Positions(Lazy):
    """Vectors along one axis of an array, [n, D]: every position of the other axes is a row."""

    def __init__(self, array: Any, axis: int) -> None:
        self.dtype, self._widens = array.dtype, isinstance(array, Widened)
        if isinstance(array, Lazy):
            array = array.bits if isinstance(array, Widened) else np.asarray(array)
        self._array = np.moveaxis(array, axis, -1)
        self._sides = self._array.shape[:-1]
        self.shape = (math.prod(self._sides), self._array.shape[-1])

    @property
    def in_files(self) -> bool:
        return map_under(self._array) is not None

    def place(self, row: int) -> tuple[int, ...]:
        """Where along each of the other axes, in their order."""
        return tuple(int(i) for i in np.unravel_index(row, self._sides))

    def take(self, rows: Array) -> Array:
        x = np.array(self._array[np.unravel_index(rows, self._sides)])
        give_back(self._array)
        return widened(x) if self._widens else x


def lies_in_files(array: Any) -> bool:
    """Whether rows of an array, mapped or lazy, are read from files each time."""
    return array.in_files if isinstance(array, Lazy) else map_under(array) is not None
