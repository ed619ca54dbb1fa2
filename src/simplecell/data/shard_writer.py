"""Samples of any source or iterator as shards: .npy files of so many rows in one folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simplecell.data.order import rows_at_once
from simplecell.data.rows import Array, Record, Source, as_float, check_numbers
from simplecell.data.shard_file import DTYPES, ShardWriter, refuse_damaged
from simplecell.data.shard_index import FORMAT, NAME, RECORDS, Index, read_index, temporary
from simplecell.data.tensors import dense_array_of
from simplecell.errors import DataError, UsageError, choice

_NUMBERS = 2**26
"""Of a shard, where nobody says: 256 MiB of float32."""

Batch = tuple[Array, Sequence[Record] | None]


def write_shards(
    batches: Iterable[Any],
    out: str | Path,
    *,
    rows: int | None = None,
    dtype: str | None = None,
    restart: bool = False,
) -> Index:
    """Write batches of samples into the folder `out`, which is then read as one array.

    A batch is an array or a tensor [B, D], or a pair of one and B records (dictionaries of what is
    known of each sample, kept beside the shards). Nothing is held but a batch. `rows` are those of
    a shard (None: 2²⁶ numbers), `dtype` is "float16", "bfloat16", "float32" or "float64" (None:
    that of the first batch). Gives the index: n_inputs, dtype, and each shard's file and n_samples.

    Raises UsageError for a folder that holds anything (`restart` removes shards of before),
    DataError for batches that are no numbers, not finite, of changing width or too large for
    `dtype`, WriteError when the disk is full.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "shards"
    >>> index = write_shards((np.full((3, 2), i) for i in range(4)), folder, rows=5)
    >>> [(shard["file"], shard["n_samples"]) for shard in index["shards"]]
    [('shard-00000.npy', 5), ('shard-00001.npy', 5), ('shard-00002.npy', 2)]
    """
    folder = Path(out)
    if restart:
        remove_shards(folder)
    refuse_full(folder)
    pairs = map(_pair, batches)
    first = next(pairs, None)
    if first is None:
        raise DataError("no batch came, and shards need one sample at least")
    index = new_index(first[0].shape[1], rows, dtype or _type_of(first[0].dtype))
    return _write(folder, index, _chained(first, pairs))


def shard_source(
    source: Source,
    out: str | Path,
    *,
    rows: int | None = None,
    dtype: str | None = None,
    restart: bool = False,
) -> tuple[Index, int]:
    """Write the samples of a source, with what is known of each; the index, and how many samples
    were there before.

    Said again it goes on where it was cut off. Raises as `write_shards`, and UsageError where `out`
    holds shards of other data, or was asked for otherwise.
    """
    folder = Path(out)
    if restart:
        remove_shards(folder)
    wanted = new_index(source.n_inputs, rows, dtype or _type_of(_held(source)))
    wanted |= {"source": source.fingerprint(), "input_names": source.input_names}
    index = read_index(folder) if folder.is_dir() else None
    if index is None:
        refuse_full(folder)
        index = wanted
    refuse_other(folder, index, wanted)
    refuse_damaged(folder, index)
    done = sum(shard["n_samples"] for shard in index["shards"])
    if index["finished"]:
        return index, done
    return _write(folder, index, _batches_of(source, done)), done


def _held(source: Source) -> np.dtype[Any]:
    """The type that holds what a source reads: its own where that is one of ours."""
    held = getattr(source, "held", None)
    read = source.read(slice(0, 1)).dtype
    return held if held is not None and held.name in DTYPES else read


def _type_of(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.name in DTYPES else as_float(dtype).name


def new_index(n_inputs: int, rows: int | None, dtype: str) -> Index:
    """The index of shards of which none is there yet. Raises UsageError for what cannot be."""
    choice("dtype of shards", dtype, DTYPES)
    if rows is not None and rows < 1:
        raise UsageError(f"a shard of {rows} rows was asked for; at least 1 is needed")
    return {
        "format": FORMAT,
        "finished": False,
        "rows": rows or max(1, _NUMBERS // n_inputs),
        "dtype": dtype,
        "n_inputs": n_inputs,
        "input_names": None,
        "source": None,
        "shards": [],
    }


def _pair(batch: Any) -> Batch:
    """A batch that came: numbers [B, D], and their records where these came too."""
    x, records = batch if isinstance(batch, tuple) and len(batch) == 2 else (batch, None)
    x = np.asarray(dense_array_of(x))
    check_numbers("a batch", x.dtype, (1, *x.shape[1:]) if x.ndim == 2 else x.shape)
    if x.ndim != 2:
        raise DataError(f"a batch has the shape {x.shape}; rows of inputs [B, D] are needed")
    if records is not None and len(records) != len(x):
        raise DataError(f"{len(records)} records came for {len(x)} samples; one each is needed")
    return x, records


def _chained(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from rest


def _batches_of(source: Source, start: int) -> Iterator[Batch]:
    size = rows_at_once(source.n_inputs)
    for at in range(start, source.n_samples, size):
        rows = slice(at, min(at + size, source.n_samples))
        yield source.read(rows), _worth_keeping(source.about(rows))


def _worth_keeping(records: list[Record]) -> list[Record] | None:
    """Records without the row number of what is no file: the shard tells its own."""
    kept = [r if "file" in r else {k: v for k, v in r.items() if k != "row"} for r in records]
    return kept if any(kept) else None


def _write(folder: Path, index: Index, batches: Iterator[Batch]) -> Index:
    """Shard after shard; the index says after each which there are."""
    with ShardWriter(folder, index) as writer:
        for x, records in batches:
            writer.add(x, records)
    return index


def refuse_full(folder: Path) -> None:
    """Raise UsageError unless this is a folder with nothing in it, or nothing yet."""
    if not folder.exists():
        return
    own = temporary(folder / NAME).name  # all that is there of a writing cut off at once
    if not folder.is_dir() or any(path.name != own for path in folder.iterdir()):
        raise UsageError(
            f"{folder} is there already, and holds something; give another place, or say "
            "restart=True (--restart) where it holds shards that are to be replaced"
        )


def refuse_other(folder: Path, index: Index, wanted: Index) -> None:
    """Raise UsageError unless shards that are there are those that are wanted."""
    if index["source"] != wanted["source"]:
        raise UsageError(
            f"{folder} holds shards of other data; give another place, or replace them with "
            "restart=True (--restart)"
        )
    asked = {"rows": (index["rows"], wanted["rows"]), "dtype": (index["dtype"], wanted["dtype"])}
    changed = [f"{key}: {a}, {b}" for key, (a, b) in asked.items() if a != b]
    if changed:
        raise UsageError(
            f"{folder} was begun otherwise ({'; '.join(changed)}: then, now); say it as before, "
            "give another place, or replace them with restart=True (--restart)"
        )


def remove_shards(folder: Path) -> None:
    """Remove shards that an index names, and nothing else."""
    index = read_index(folder) if folder.is_dir() else None
    for shard in index["shards"] if index else []:
        path = folder / shard["file"]
        path.unlink(missing_ok=True)
        path.with_suffix(RECORDS).unlink(missing_ok=True)
    if index:
        for left in folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (folder / NAME).unlink()
