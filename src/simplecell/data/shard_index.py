"""What a folder of shards says of itself: `shards.json`, written anew after each shard.

A folder whose index is not finished was cut off; it is refused as data, and can be gone on with.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NotRequired, TypedDict

from simplecell.errors import DataError, WriteError

NAME = "shards.json"
RECORDS = ".records.jsonl"
"""Ends the name of the file beside a shard that holds one record a sample."""
FORMAT = 1


class Written(TypedDict):
    """A shard that is whole."""

    file: str
    n_samples: int
    next: NotRequired[dict[str, Any]]
    """Of batches that can be made again: in which of them the following shard begins."""


class Index(TypedDict):
    """What was asked for, and which shards are there."""

    format: int
    finished: bool
    rows: int
    """Samples of a shard; the last may have fewer."""
    dtype: str
    n_inputs: int
    input_names: list[str] | None
    source: str | None
    """Fingerprint of the samples; None for those of an iterator, which nobody can begin again."""
    shards: list[Written]
    harvest: NotRequired[dict[str, Any]]
    """Of a model's activations: what was asked for, and what they are."""


def read_index(folder: Path) -> Index | None:
    """The index of a folder; None where it has none. Raises DataError for one that is damaged."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        told: Any = json.loads(path.read_text(encoding="utf-8"))
        known = told["format"] == FORMAT
        files = [str(shard["file"]) for shard in told["shards"]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}); write the shards anew") from error
    if not known or any(Path(name).name != name for name in files):
        raise DataError(f"{path} is of another version of simplecell; write the shards anew")
    index: Index = told
    return index


def shards_told(folder: Path) -> tuple[list[Path], Index] | None:
    """The shards that an index names, and the index; None for a folder without one.

    Raises DataError where they were not written to the end, or one is gone.
    """
    index = read_index(folder)
    if index is None:
        return None
    if not index["finished"]:
        what = "harvest" if "harvest" in index else "simplecell shard"
        raise DataError(
            f"{folder} holds shards that were not written to the end; say the same {what} again, "
            "which goes on"
        )
    paths = [folder / shard["file"] for shard in index["shards"]]
    gone = [path.name for path in paths if not path.is_file()]
    if gone:
        raise DataError(f"{folder} has lost {gone[0]}, which its {NAME} names; write it anew")
    return paths, index


def write_index(folder: Path, index: Index) -> None:
    """Put an index in the place of the one before."""
    text = json.dumps(index, ensure_ascii=False, indent=1)
    put(folder / NAME, lambda file: file.write(text.encode()))


def temporary(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(f".{path.name}.tmp")


def put(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under another name, and rename it when it is whole.

    Raises WriteError when the disk is full, or nothing may be written there.
    """
    try:
        file = temporary(path).open("wb")
    except OSError as error:
        raise unwritten(path, error) from error
    with renamed(path, file):
        write(file)


@contextlib.contextmanager
def renamed(path: Path, file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Give an open temporary file the name `path` when the block ends, flushed; else remove it.

    Raises WriteError when the disk is full, or nothing may be written there.
    """
    beside = temporary(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise unwritten(path, error) from error


def unwritten(path: Path, error: OSError) -> WriteError:
    """The error that names a file and what the system says."""
    return WriteError(f"{path} could not be written: {error.strerror or error}")
