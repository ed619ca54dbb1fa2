"""MATLAB files of versions 5 to 7: full and sparse arrays of numbers, uncompressed ones mapped.

An own reader, because SciPy's dies with a segmentation fault on damaged files.
Source: MathWorks, "MAT-File Format", R2024b, chapter 1.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simplecell.data.binary import checked_sparse, most_bytes
from simplecell.data.rows import Array
from simplecell.errors import DataError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
_STORED |= {12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4"}
_CLASSES |= {14: "i8", 15: "u8"}
_SPARSE = 5
_LOGICAL, _COMPLEX = 0x0200, 0x0800
_HEAD_BYTES = 2**16


@dataclass(frozen=True)
class Variable:
    """A variable by its head; `read` gives its numbers."""

    name: str
    shape: tuple[int, ...]
    kind: int
    flags: int
    body: memoryview
    packed: bool
    order: str

    def read(self) -> Any:
        """The array, [shape] in MATLAB's own type, or a SciPy sparse matrix.

        Raises DataError for text, cells, structs and complex numbers, ValueError for damage.
        """
        if self.kind not in _CLASSES and self.kind != _SPARSE:
            raise DataError(f"{self.name!r} is text, a cell or a struct, not an array of numbers")
        if self.flags & _COMPLEX:
            raise DataError(f"{self.name!r} is complex; give real and imaginary parts as inputs")
        body = _inflated(self.body, self.order) if self.packed else self.body
        parts = list(_elements(body, 0, self.order))[3:]
        if self.kind == _SPARSE:
            return self._sparse(parts)
        # MATLAB stores doubles that are whole numbers as bytes: the class, not the bytes, counts.
        values = _numbers(parts[0], math.prod(self.shape), self.order)
        wanted = np.dtype("?" if self.flags & _LOGICAL else _CLASSES[self.kind])
        return values.astype(wanted, copy=False).reshape(self.shape, order="F")

    def _sparse(self, parts: list[tuple[int, memoryview]]) -> Any:
        from scipy import sparse

        starts = _numbers(parts[1], self.shape[1] + 1, self.order).astype(np.int64)
        n = int(starts[-1])
        rows = _numbers(parts[0], n, self.order).astype(np.int64)
        values = _numbers(parts[2], n, self.order).astype(np.float64)
        return checked_sparse(sparse.csc_array((values, rows, starts), shape=self.shape))


def variables(path: Path) -> dict[str, Variable]:
    """What a file holds, by name. Raises DataError for version 7.3, ValueError for damage."""
    data = memoryview(np.memmap(path, np.uint8, "r"))  # type: ignore[arg-type]
    if len(data) < _HEADER or bytes(data[126:128]) not in (b"IM", b"MI"):
        raise ValueError("not a MATLAB file")
    order = "<" if bytes(data[126:128]) == b"IM" else ">"
    if struct.unpack(f"{order}H", data[124:126])[0] == 0x0200:
        raise DataError(
            f"{path.name} is a MATLAB 7.3 file (HDF5); save it with -v7 in MATLAB, or as .npy"
        )
    found = (_head(kind, body, order) for kind, body in _elements(data, _HEADER, order))
    return {variable.name: variable for variable in found if variable and variable.name}


def _elements(data: memoryview, at: int, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, bytes) of each element from `at` on."""
    while at + 8 <= len(data):
        kind, n = struct.unpack(f"{order}II", data[at : at + 8])
        start, small = at + 8, kind >> 16
        if small:
            kind, n, start = kind & 0xFFFF, small, at + 4
        if start + n > len(data) or small > 4:
            raise ValueError(f"cut off: {n} bytes are declared, {len(data) - start} are there")
        yield kind, data[start : start + n]
        at = at + 8 if small else start + n
        at += 0 if small or kind == _COMPRESSED else -n % 8


def _inflated(packed: memoryview, order: str, most: int | None = None) -> memoryview:
    """The inside of a compressed matrix, the first `most` bytes of it or all."""
    unpacker = zlib.decompressobj()
    tag = unpacker.decompress(packed, 8)
    kind, n = struct.unpack(f"{order}II", tag)
    if kind != _MATRIX:
        raise ValueError("a compressed element is no matrix")
    if most is None and n > most_bytes(len(packed)):
        raise ValueError(f"{n / 2**30:.3g} GiB are declared; save it uncompressed as .npy")
    wanted = n if most is None else min(n, most)
    inside = unpacker.decompress(unpacker.unconsumed_tail, wanted) if wanted else b""
    if len(inside) < wanted:
        raise ValueError(f"cut off: {wanted} bytes are declared, {len(inside)} are there")
    return memoryview(inside)


def _head(kind: int, body: memoryview, order: str) -> Variable | None:
    if kind not in (_MATRIX, _COMPRESSED):
        return None
    packed = kind == _COMPRESSED
    inside = _inflated(body, order, _HEAD_BYTES) if packed else body
    elements = _elements(inside, 0, order)
    flags = struct.unpack(f"{order}I", next(elements)[1][:4])[0]
    sides = next(elements)[1]
    shape = tuple(np.frombuffer(sides, f"{order}i4").tolist())
    if min(shape, default=-1) < 0:
        raise ValueError(f"the impossible shape {shape} is declared")
    name = bytes(next(elements)[1]).decode("latin-1")
    return Variable(name, shape, flags & 0xFF, flags, body, packed, order)


def _numbers(element: tuple[int, memoryview], count: int, order: str) -> Array:
    kind, data = element
    if kind not in _STORED:
        raise ValueError(f"numbers of unknown type {kind}")
    dtype = np.dtype(order + _STORED[kind])
    if count < 0 or count * dtype.itemsize > len(data):
        raise ValueError(f"cut off: {count} numbers are declared, {len(data)} bytes are there")
    return np.frombuffer(data, dtype, count)
