"""Shards in the making: batches come one by one, files of so many rows go out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, runtime_checkable

import numpy as np

from simplecell.data.rows import Array, Record, check_finite
from simplecell.data.shard_index import (
    RECORDS,
    Index,
    Written,
    put,
    renamed,
    temporary,
    unwritten,
    write_index,
)
from simplecell.errors import DataError, WriteError

DTYPES = ("float16", "bfloat16", "float32", "float64")
_HEADER = 200
"""Bytes of a .safetensors header: room for any shape, so that it can be written anew in place."""
_BFLOAT16_MOST = 3.3895313892515355e38


@runtime_checkable
class AsLines(Protocol):
    """Records that give their JSON themselves, a line each, some lines to a text."""

    def texts(self) -> list[str]: ...


class ShardWriter:
    """Writes batches into the shards of a folder; `index` says which are there, and is kept true.

    A shard has its name when it is whole: until then it is a hidden file. Left by an error, the
    shard that was being written is removed, and what the index names stays.

    Raises:
        DataError: for a batch of another width, not finite, or too large for the type.
        WriteError: when the disk is full, or nothing may be written there.
    """

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder, self.index = folder, index
        self.n_rows = sum(shard["n_samples"] for shard in index["shards"])
        """Those that came so far, with those of whole shards of before."""
        self._file: IO[bytes] | None = None
        self._records: list[str] = []
        """What is told of the rows of the shard that is being written, some lines to a text."""
        self._n_here = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"{folder} could not be made: {error.strerror}") from error
        write_index(folder, index)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        elif self._file is not None:
            self._file.close()
            temporary(self._path).unlink(missing_ok=True)

    def add(
        self,
        x: Array,
        records: Sequence[Record] | None,
        mark: Callable[[int], dict[str, Any]] | None = None,
    ) -> None:
        """Write samples [B, D] with what is known of each.

        `mark` tells, where batches can be made again, what a shard that ends in this one remembers
        of where the next begins: it is given how many of these samples were taken.
        """
        x = self._checked(x)
        texts = _texts(records, len(x))
        at = 0
        while at < len(x):
            n = min(len(x) - at, self.index["rows"] - self._n_here)
            self._write(x[at : at + n].data)
            if n < len(x):  # a shard ends within these rows, and perhaps within a text
                texts = texts if len(texts) == len(x) else "\n".join(texts).split("\n")
                self._records += texts[at : at + n]
            else:
                self._records += texts
            at += n
            self.n_rows += n
            self._n_here += n
            if self._n_here == self.index["rows"]:
                self._close(None if mark is None else mark(at))

    def finish(self) -> None:
        """Close the last shard, and say that all are there."""
        self.index["finished"] = True
        if self._n_here:
            self._close(None)  # and the index in one write: a last shard has no next
        else:
            write_index(self.folder, self.index)

    @property
    def _path(self) -> Path:
        end = "safetensors" if self.index["dtype"] == "bfloat16" else "npy"
        return self.folder / f"shard-{len(self.index['shards']):05d}.{end}"

    def _write(self, values: memoryview) -> None:
        try:
            if self._file is None:
                self._file = temporary(self._path).open("wb")
                self._file.write(self._header(self.index["rows"]))
            self._file.write(values)
        except OSError as error:
            raise unwritten(self._path, error) from error

    def _close(self, following: dict[str, Any] | None) -> None:
        """Give the shard its name, its records beside it, and put both into the index."""
        assert self._file is not None
        path, n_samples = self._path, self._n_here
        with renamed(path, self._file) as file:
            before, header = self._header(self.index["rows"]), self._header(n_samples)
            if len(header) != len(before):
                raise WriteError("the header of a shard changed its length; please report it")
            file.seek(0)
            file.write(header)
        if any(text.strip("{}\n") for text in self._records):
            text = "\n".join(self._records).encode()
            put(path.with_suffix(RECORDS), lambda file: file.write(text))
        written: Written = {"file": path.name, "n_samples": n_samples}
        if following is not None:
            written["next"] = following
        self.index["shards"].append(written)
        self._file, self._records, self._n_here = None, [], 0
        write_index(self.folder, self.index)

    def _header(self, n_samples: int) -> bytes:
        return _header(self.index, n_samples)

    def _checked(self, x: Array) -> Array:
        """Samples as the shards hold them, none of them lost on the way."""
        if x.shape[1] != self.index["n_inputs"]:
            raise DataError(
                f"the batch that begins at sample {self.n_rows} has {x.shape[1]} inputs, but those "
                f"before had {self.index['n_inputs']}; shards need one width"
            )
        check_finite(x, np.arange(self.n_rows, self.n_rows + len(x)), "the batches", None)
        dtype = self.index["dtype"]
        if dtype == "bfloat16":
            most, found = _BFLOAT16_MOST, _bfloat16_bits(x)
        else:
            with np.errstate(over="ignore"):
                found = np.ascontiguousarray(x, dtype=dtype)
            most = float(np.finfo(dtype).max)
        if found.dtype == x.dtype:  # nothing was rounded, and all of it is finite
            return found
        if (found & 0x7F80 == 0x7F80 if dtype == "bfloat16" else ~np.isfinite(found)).any():
            raise DataError(
                f"a value of {np.abs(x).max():.6g} is too large for {dtype}, which ends at "
                f"{most:.6g}; write dtype float32 (--dtype float32)"
            )
        return found


def refuse_damaged(folder: Path, index: Index) -> None:
    """Raise DataError for a shard that an index names and that is gone, or not as long as it was.

    Its records must be there where another shard has some.
    """
    told = any((folder / shard["file"]).with_suffix(RECORDS).is_file() for shard in index["shards"])
    for shard in index["shards"]:
        path, n = folder / shard["file"], shard["n_samples"]
        size = 2 if index["dtype"] == "bfloat16" else np.dtype(index["dtype"]).itemsize
        wanted = len(_header(index, n)) + n * index["n_inputs"] * size
        there = path.stat().st_size if path.is_file() else None
        if there == wanted and (not told or path.with_suffix(RECORDS).is_file()):
            continue
        how = "is gone" if there is None else f"has {there} bytes, and was written with {wanted}"
        how = how if there != wanted else "has lost the records beside it"
        raise DataError(
            f"{path} {how}; write the shards anew, by the same harvest or shard with restart=True "
            "(--restart)"
        )


def _header(index: Index, n_samples: int) -> bytes:
    """What stands before the values of an array of so many samples."""
    shape = (n_samples, index["n_inputs"])
    if index["dtype"] == "bfloat16":
        place = {"dtype": "BF16", "shape": shape, "data_offsets": (0, 2 * shape[0] * shape[1])}
        return _HEADER.to_bytes(8, "little") + json.dumps({"x": place}).ljust(_HEADER).encode()
    return _npy_header(np.dtype(index["dtype"]), shape)


def _texts(records: Sequence[Record] | None, n: int) -> list[str]:
    """Records as JSON, a line each; those that know their JSON say it faster."""
    if records is None:
        return ["{}"] * n
    if isinstance(records, AsLines):
        return records.texts()
    return [json.dumps(r, ensure_ascii=False) if r else "{}" for r in records]


def _npy_header(dtype: np.dtype[Any], shape: tuple[int, int]) -> bytes:
    told = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, told)
    return stream.getvalue()


def _bfloat16_bits(x: Array) -> Array:
    """The nearest bfloat16 of each value, ties to even, by its bits (uint16), as torch rounds."""
    with np.errstate(over="ignore"):
        bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return rounded.astype(np.uint16)
