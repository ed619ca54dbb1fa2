"""Bytes to arrays without trust: declared sizes against held ones, plain numbers only."""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np

from simplecell.data.rows import Array, check_numbers
from simplecell.errors import DataError, SimplecellError

MAX_BYTES = 8 * 2**30
"""Most bytes that a compressed file may expand to."""
RATIO, SMALL_BYTES = 100, 2**26
"""A file that expands to more than so many times its size is no data, but a trap; up to 64 MiB any
ratio is fine."""
NPY_MAGIC = b"\x93NUMPY"

_CHUNK = 2**24
_LONGEST_SIDE = 2**26
_MOST_HEADER = 10_000


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
        if "allow_pickle" in reason:  # NumPy's advice would run what is written in the file
            reason = "it holds Python objects, which simplecell never unpickles; save plain numbers"
        raise DataError(f"{name} cannot be read: {reason}") from error


def packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def most_bytes(size: int) -> int:
    """What a compressed file, or part of one, of `size` bytes may expand to, in bytes."""
    return min(MAX_BYTES, max(SMALL_BYTES, RATIO * size))


def most_of(path: Path) -> int:
    """The same of a file; one that is not compressed may be as large as it is."""
    size = path.stat().st_size
    return most_bytes(size) if packed(path) else max(size, MAX_BYTES)


def opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if packed(path) else path.open("rb")


def take(stream: IO[bytes], name: str, most: int = MAX_BYTES) -> bytearray:
    """All bytes of a stream, `most` at most: memory grows with what comes, not with promises."""
    data = bytearray()
    while len(data) <= most and (chunk := stream.read(min(_CHUNK, most + 1 - len(data)))):
        data += chunk
    if len(data) > most:
        raise DataError(f"{name} expands to more than {most / 2**30:.3g} GiB{_TRAP}")
    return data


_TRAP = f", over {RATIO} times its size; unpack it first, if that is meant"


def refuse_trap(name: str, declared: int, size: int) -> None:
    """Raise DataError where `size` compressed bytes declare more than they may expand to."""
    told = f"{name} declares {declared / 2**30:.3g} GiB when unpacked"
    if declared > MAX_BYTES:
        most = f"{MAX_BYTES / 2**30:g} GiB of what is compressed can be read"
        raise DataError(f"{told}; at most {most}: save it uncompressed, to be mapped")
    if declared > most_bytes(size):
        raise DataError(f"{told}{_TRAP}")


def npy_header(
    stream: IO[bytes], name: str, whatever: bool = False
) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, whether columns come first, and type; with `whatever`, of no samples as well.

    Raises DataError for anything else than an array of numbers, ValueError for damage.
    """
    start = stream.read(6)
    if start != NPY_MAGIC:
        pickled = " but a pickle, which simplecell never opens" if start[:1] == b"\x80" else ""
        raise DataError(f"{name} is not a .npy file{pickled}; save it with numpy.save")
    major = stream.read(2)[0]
    if major not in (1, 2):
        raise DataError(f"{name} is a .npy file of version {major}: not a plain array of numbers")
    shape, fortran, dtype = _shape_and_type(stream, major, name)
    if dtype.hasobject or not whatever:
        check_numbers(name, dtype, shape)
    if min(shape, default=0) < 0:
        raise DataError(f"{name} declares the impossible shape {shape}")
    return shape, fortran, dtype


def _shape_and_type(
    stream: IO[bytes], major: int, name: str
) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """What follows magic and version; its length is looked at before that much is read."""
    size = 2 if major == 1 else 4
    length = stream.read(size)
    n = int.from_bytes(length, "little")
    if n > _MOST_HEADER:
        raise DataError(
            f"{name} cannot be read: it declares a header of {n} bytes, and an array of numbers "
            f"needs no more than {_MOST_HEADER}"
        )
    header = io.BytesIO(length + stream.read(n))
    if major == 1:
        return np.lib.format.read_array_header_1_0(header)
    return np.lib.format.read_array_header_2_0(header)


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
    most: int = MAX_BYTES,
) -> Array:
    """The array that follows in a stream, of at most `most` bytes."""
    needed = math.prod(shape) * dtype.itemsize
    if needed > most:
        raise DataError(
            f"{name} declares {needed / 2**30:.3g} GiB; only plain .npy may be so large"
        )
    data = bytearray()
    while len(data) < needed and (chunk := stream.read(min(_CHUNK, needed - len(data)))):
        data += chunk
    check_size(name, shape, dtype, len(data))
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def npy_array(stream: IO[bytes], name: str, most: int = MAX_BYTES) -> Array:
    """An array of .npy bytes, `most` at most; the stream need not be able to seek."""
    shape, fortran, dtype = npy_header(stream, name)
    return array_from(stream, name, shape, dtype, "F" if fortran else "C", most)


def mapped_member(
    path: Path, info: zipfile.ZipInfo, name: str, whatever: bool = False
) -> Array | None:
    """The .npy that a zip file holds uncompressed, mapped where it lies; None when compressed.

    With `whatever`, of no samples as well.
    """
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        return None
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        start = stream.read(_ZIP_START)
        if len(start) < _ZIP_START or start[:4] != b"PK\x03\x04":
            raise DataError(f"{name} is damaged: no member begins where the archive says")
        stream.seek(sum(struct.unpack("<HH", start[26:30])), io.SEEK_CUR)
        begin = stream.tell()
        shape, fortran, dtype = npy_header(stream, name, whatever)
        check_size(name, shape, dtype, begin + info.file_size - stream.tell())
        return np.memmap(path, dtype, "r", stream.tell(), shape, "F" if fortran else "C")


_ZIP_START = 30
"""Bytes of a zip member's own header, before its name."""


def dataset_array(dataset: Any, path: Path) -> Array:
    """The numbers of an HDF5 dataset, mapped where they lie in one piece of this very file.

    Raises DataError for datasets that are elsewhere, or larger than what they may expand to.
    """
    if dataset.is_virtual or dataset.external:
        raise DataError(
            f"{dataset.name} of {path.name} lies in another file; copy it into one of its own"
        )
    offset = dataset.id.get_offset()
    if offset is not None and dataset.dtype.kind in "biuf" and dataset.size:
        return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)
    refuse_trap(path.name, dataset.size * dataset.dtype.itemsize, path.stat().st_size)
    return dataset[()]


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
