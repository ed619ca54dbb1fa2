"""Bytes to arrays without trust: declared sizes against held ones, plain numbers only."""

from __future__ import annotations

import contextlib
import gzip
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np

from simplecell.data.rows import Array, check_numbers
from simplecell.errors import DataError, SimplecellError

MAX_BYTES = 8 * 2**30
"""Most bytes that a compressed file may expand to."""
NPY_MAGIC = b"\x93NUMPY"

_CHUNK = 2**24
_LONGEST_SIDE = 2**26


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Whatever a parser raises becomes a DataError that names the file."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except SimplecellError:
        raise
    except MemoryError:
        raise DataError(f"{name} needs more memory than there is") from None
    except Exception as error:  # parsers of broken bytes raise whatever they like
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{name} cannot be read: {reason}") from error


def packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if packed(path) else path.open("rb")


def take(stream: IO[bytes], name: str, most: int = MAX_BYTES) -> bytearray:
    """All bytes of a stream, `most` at most: memory grows with what comes, not with promises."""
    data = bytearray()
    while len(data) <= most and (chunk := stream.read(min(_CHUNK, most + 1 - len(data)))):
        data += chunk
    if len(data) > most:
        raise DataError(f"{name} expands to more than {most / 2**30:.3g} GiB")
    return data


def npy_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    start = stream.read(6)
    if start != NPY_MAGIC:
        pickled = " but a pickle, which simplecell never opens" if start[:1] == b"\x80" else ""
        raise DataError(f"{name} is not a .npy file{pickled}; save it with numpy.save")
    major = stream.read(2)[0]
    if major not in (1, 2):
        raise DataError(f"{name} is a .npy file of version {major}: not a plain array of numbers")
    read = np.lib.format.read_array_header_1_0 if major == 1 else None
    shape, fortran, dtype = (read or np.lib.format.read_array_header_2_0)(stream)
    check_numbers(name, dtype, shape)
    if min(shape) < 0:
        raise DataError(f"{name} declares the impossible shape {shape}")
    return shape, fortran, dtype


def check_size(name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic], held: int) -> None:
    needed = math.prod(shape) * dtype.itemsize
    if needed > held:
        raise DataError(
            f"{name} is cut off, or its header is larger than the file: shape {shape} of {dtype} "
            f"needs {needed} bytes, {held} are there"
        )


def array_from(
    stream: IO[bytes],
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    order: Literal["C", "F"] = "C",
) -> Array:
    needed = math.prod(shape) * dtype.itemsize
    if needed > MAX_BYTES:
        raise DataError(
            f"{name} declares {needed / 2**30:.3g} GiB; only plain .npy may be so large"
        )
    data = bytearray()
    while len(data) < needed and (chunk := stream.read(min(_CHUNK, needed - len(data)))):
        data += chunk
    check_size(name, shape, dtype, len(data))
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def npy_array(stream: IO[bytes], name: str) -> Array:
    """An array of .npy bytes; the stream need not be able to seek."""
    shape, fortran, dtype = npy_header(stream, name)
    return array_from(stream, name, shape, dtype, "F" if fortran else "C")


def checked_sparse(matrix: Any) -> Any:
    """A SciPy sparse matrix as CSR, every index inside its shape; dense arrays as they are.

    Raises ValueError: SciPy itself would write outside the dense array, or fill the memory with
    rows that are only declared.
    """
    if not hasattr(matrix, "tocsr"):
        return matrix
    if matrix.format not in ("csr", "csc", "coo"):
        raise ValueError(f"sparse format {matrix.format!r}; csr, csc or coo is needed")
    if matrix.ndim != 2 or max(matrix.shape) > _LONGEST_SIDE:
        raise ValueError(f"a sparse matrix of the shape {matrix.shape} is declared")
    if matrix.format != "coo":
        matrix.check_format(full_check=True)
    return matrix.tocsr()
