"""Many files that are one array: a folder, a pattern such as "acts_*.npy", or a list of paths.

Each file is opened by the reader of its format and mapped where that format allows it; their rows
stand one below the other in the natural order of the names (acts_2 before acts_10).
"""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simplecell.data.axes import arranged
from simplecell.data.files import read_file, suffix_of
from simplecell.data.images import SUFFIXES
from simplecell.data.lazy import Joined
from simplecell.data.loaded import Loaded
from simplecell.data.options import Options
from simplecell.data.records import read_meta
from simplecell.data.rows import Meta, Record
from simplecell.data.shard_index import NAME, RECORDS
from simplecell.data.tables import Table
from simplecell.errors import DataError

FAMILIES = (
    ("npy", "npz", "safetensors", "pt", "pth"),
    ("parquet", "feather", "arrow"),
    ("h5ad", "h5", "hdf5"),
    ("jsonl", "ndjson"),
    ("mtx",),
    ("wav", "flac", "ogg", "mp3", "aiff", "aif"),
    ("csv", "tsv"),
)
"""Formats that may share a folder; where a folder holds several of these, the first is meant."""

_PATTERN = re.compile(r"[*?\[]")
_SHOWN = 5
_RUN = "run.json"
"""What marks a directory as a run: people write runs beside their data."""


class Shard(NamedTuple):
    """A file among several, by the name that it has there."""

    name: str
    path: Path


def is_pattern(data: object) -> bool:
    """Whether this is a pattern such as "acts_*.npy" (and no path that exists)."""
    told = isinstance(data, str | Path) and _PATTERN.search(str(data)) is not None
    return told and not Path(str(data)).exists()


def matched(pattern: str | Path) -> list[Path]:
    """The files that a pattern means. Raises DataError when there is none."""
    found = [Path(place) for place in glob.glob(str(pattern), recursive=True)]
    files = sorted((path for path in found if path.is_file()), key=natural)
    if not files:
        raise DataError(f"no file matches {str(pattern)!r}; check the folder and the pattern")
    return files


def natural(path: Path) -> list[tuple[int, int, str]]:
    """What to sort by, so that numbers in names count as numbers."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]


def shards_in(folder: Path) -> tuple[list[Shard], list[str]]:
    """The files of numbers below a folder, of one family of formats; the names of the others."""
    shown = files_below(folder)
    for family in FAMILIES:
        chosen = [path for path in shown if suffix_of(path) in family]
        if chosen:
            others = [p.relative_to(folder).as_posix() for p in shown if p not in set(chosen)]
            return [Shard(p.relative_to(folder).as_posix(), p) for p in chosen], others
    return [], [path.relative_to(folder).as_posix() for path in shown]


def files_below(folder: Path) -> list[Path]:
    """Files in natural order, without hidden ones and those of runs, which are no data."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    runs = {path.parent for path in found if path.name == _RUN and path.parent != folder}
    return sorted(
        (
            path
            for path in found
            if not _about_shards(path)
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and runs.isdisjoint(path.parents)
        ),
        key=natural,
    )


def _about_shards(path: Path) -> bool:
    """Whether a file is what `simplecell shard` writes beside its shards."""
    beside = path.name.removesuffix(RECORDS)
    shard = beside != path.name and any(
        path.with_name(beside + end).is_file() for end in (".npy", ".safetensors")
    )
    return path.name == NAME or shard


def shards_of(data: Sequence[str | Path]) -> list[Shard] | None:
    """The files of numbers that a list of paths names; None where it names pictures.

    Raises DataError for a list of both, and for what does not exist.
    """
    paths = [Path(item) for item in data]
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist")
    pictures = [p for p in paths if p.suffix.lower() in SUFFIXES or _holds_no_numbers(p)]
    if len(pictures) == len(paths):
        return None
    if pictures:
        raise DataError(
            f"the list holds pictures ({pictures[0].name}) and files of numbers; give one kind"
        )
    alike = len({path.name for path in paths}) < len(paths)
    shards: list[Shard] = []
    for path in paths:
        inside = shards_in(path)[0] if path.is_dir() else []
        shards += inside or [Shard(str(path) if alike else path.name, path)]
    return shards


def _holds_no_numbers(path: Path) -> bool:
    return path.is_dir() and not shards_in(path)[0]


def read_shards(shards: Sequence[Shard], name: str, options: Options) -> Loaded:
    """The files as one array [n, ...], their rows one below the other.

    A table's first file says how all are encoded. Raises DataError for files that differ in width
    or in the names of their inputs, naming both.
    """
    parts: list[Loaded] = []
    kept: list[Shard] = []
    for shard in shards:
        first = parts[0].table if parts else None
        part = arranged(_like(first, kept, shard, options), shard.name, options)
        if parts:
            _check_alike(kept[0].name, parts[0], shard.name, part)
        parts.append(part)
        kept.append(shard)
    if len(parts) == 1:
        return parts[0]
    loaded = stacked(parts, [{"file": shard.name} for shard in kept])
    note = (
        f"{len(kept)} files of {name}, {kept[0].name} … {kept[-1].name} in this order, are one "
        f"array of {loaded.data.shape[0]} rows"
    )
    return replace(loaded, notes=[note, *loaded.notes])


def _like(first: Table | None, kept: Sequence[Shard], shard: Shard, options: Options) -> Loaded:
    """What a file holds; where the first file is a table, in its columns."""
    if first is None:
        loaded = read_file(shard.path, options)
        beside = shard.path.with_suffix(RECORDS)
        return replace(loaded, records=read_meta(beside)) if beside.is_file() else loaded
    try:
        return read_file(shard.path, replace(options, columns=first.columns))
    except DataError as error:
        raise DataError(
            f"{error} ({kept[0].name} says how tables that make one array are read; name those "
            "that belong together)"
        ) from None


def _check_alike(first: str, mine: Loaded, name: str, other: Loaded) -> None:
    """Raise DataError unless the two can stand one below the other."""
    if mine.data.shape[1:] != other.data.shape[1:]:
        that, this = (" x ".join(map(str, part.data.shape[1:])) for part in (other, mine))
        raise DataError(
            f"{name} has {that} inputs a sample, but {first} has {this}; files that make one array "
            "need one width: name those that belong together, for instance by 'acts_*.npy'"
        )
    if mine.input_names != other.input_names:
        raise DataError(
            f"{name} names its inputs otherwise than {first}; files that make one array need the "
            "same names in the same order"
        )


def stacked(parts: Sequence[Loaded], about: Sequence[Record]) -> Loaded:
    """Arrays of one width as one, with a record for each part: rows carry it, and their number."""
    arrays = [part.data for part in parts]
    data: Any = Joined(arrays)
    if any(hasattr(array, "tocsr") for array in arrays):
        from scipy import sparse

        joint, data = data, sparse.vstack([sparse.csr_array(array) for array in arrays], "csr")
    else:
        joint = data

    def record(i: int) -> Record:
        part, row = joint.place(i)
        own = parts[part].records
        return {**about[part], "row": row} | (own.record(row) if own else {})

    labels = [part.labels for part in parts if part.labels is not None]
    return replace(
        parts[0],
        data=data,
        labels=np.concatenate(labels) if len(labels) == len(parts) else None,
        records=Meta(joint.shape[0], record),
        notes=_few([note for part in parts for note in part.notes]),
    )


def _few(notes: list[str]) -> list[str]:
    """A thousand files say much the same."""
    more = len(notes) - _SHOWN
    return notes if more <= 1 else [*notes[:_SHOWN], f"and {more} more notes of this kind"]


def left_out(names: Sequence[str], why: str) -> list[str]:
    """The sentence on files of a folder that were not read."""
    if not names:
        return []
    shown = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
    return [f"{len(names)} other file{'s' * (len(names) > 1)} left out ({why}): {shown}"]
