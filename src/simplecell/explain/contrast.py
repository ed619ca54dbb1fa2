"""Rows against rows: what sets some samples apart from others, of one data set or of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from simplecell.data import Source
from simplecell.errors import DataError, UsageError
from simplecell.explain.answer import Samples, both_parts, explain, samples_of, table_of
from simplecell.explain.explanation import Explanation
from simplecell.explain.query import parsed
from simplecell.explain.splits import PARTS, hold_out
from simplecell.explain.target import FEWEST_OF_CLASS, FEWEST_ROWS, Target, groups_of
from simplecell.explain.told import NAMES, alike, records, values_of
from simplecell.run.names import NO_NAMES
from simplecell.run.trained import Trained

Chosen = NDArray[np.bool_]
Places = NDArray[np.int64]

REST = "rest"


def of_rows(
    trained: Trained,
    source: Source,
    rows: str,
    against: str = REST,
    *,
    group: str | None = None,
    seed: int = 0,
) -> Explanation:
    """What sets the samples that a query chooses apart from all others, or from those of another.

    `rows` and `against` are queries, or "@FILE": identifiers, one a line, or under a first line
    "row" numbers of rows.

    Raises:
        UsageError: for a query that cannot be read, or names no record.
        DataError: for identifiers that no sample has, and too few samples on a side.
    """
    first = _chosen(source, rows)
    second = ~first if against == REST else _chosen(source, against)
    both = int((first & second).sum())
    if both:
        raise UsageError(
            f"{both} samples are chosen by {rows!r} and by {against!r}; each may be on one side "
            "only, so make the queries exclude each other"
        )
    groups = None if group is None else values_of(source, [group])[group]
    return _between(
        samples_of(trained, source),
        (first, second),
        (rows, against),
        groups,
        group,
        seed=seed,
        notes=alike(source, group),
    )


def of_data(
    trained: Trained,
    source: Source,
    other: Source,
    names: tuple[str, str] = ("these data", "the others"),
    *,
    group: str | None = None,
    seed: int = 0,
) -> Explanation:
    """What sets the samples of one source apart from those of another, over the same inputs.

    Raises:
        UsageError: for a group that no record names.
        DataError: for too few samples.
    """
    n = source.n_samples
    first = np.arange(n + other.n_samples) < n
    groups = None
    if group is not None:
        groups = [*values_of(source, [group])[group], *values_of(other, [group])[group]]
    samples = _joined(samples_of(trained, source), samples_of(trained, other))
    notes = [*alike(source, group), *alike(other, group)]
    return _between(samples, (first, ~first), names, groups, group, seed=seed, notes=notes)


class Contrast(NamedTuple):
    """What sets samples apart by their codes alone: no probe is fitted, no input looked at."""

    columns: dict[str, NDArray[np.generic]]
    """As `Explanation.columns`, a row a latent, the surest first."""
    n_seen: int
    """Samples looked at, *count*."""
    n_held_out: int


def of_codes(
    codes: csr_array, first: Chosen, names: tuple[str, str], *, on_off: bool, seed: int = 0
) -> Contrast:
    """What sets the samples `first` [n] apart from the others, of codes [n, M] without zeros.

    The same as `of_rows` finds for these samples in this order. `on_off` says whether codes are
    exactly 0 where a latent is inactive.

    Raises:
        DataError: for too few samples on a side.
    """
    _refuse_few((int(first.sum()), int((~first).sum())), names)
    codes, target = codes.astype(np.float64), _sides(first, names)
    split = hold_out(target, None, seed)
    found = both_parts(codes, target, split, on_off=on_off)
    active = np.diff(codes.tocsc().indptr) if on_off else None
    columns = table_of(NO_NAMES.all(codes.shape[1]), target, found, active, {})
    return Contrast(columns, len(split.seen), len(split.held_out))


def _joined(first: Samples, second: Samples) -> Samples:
    """The samples of both, those of the second after those of the first."""
    n = first.codes.shape[0]

    def parts(rows: Places) -> list[tuple[Samples, Places]]:
        both = (first, rows[rows < n]), (second, rows[rows >= n] - n)
        return [(samples, part) for samples, part in both if len(part)]

    def inputs(rows: Places) -> NDArray[np.float64]:
        return np.concatenate([samples.inputs(part) for samples, part in parts(rows)])

    def titles(rows: Places) -> list[str]:
        ends = {id(first): "", id(second): " (others)"}
        return [
            title + ends[id(samples)]
            for samples, part in parts(rows)
            for title in samples.titles(part)
        ]

    codes = vstack([first.codes, second.codes], format="csr")
    return replace(first, codes=codes, inputs=inputs, titles=titles)


def _between(
    samples: Samples,
    sides: tuple[Chosen, Chosen],
    names: tuple[str, str],
    groups: Sequence[object] | None,
    group: str | None,
    *,
    seed: int,
    notes: Sequence[str],
) -> Explanation:
    first, second = sides
    _refuse_few((int(first.sum()), int(second.sum())), names)
    rows = np.flatnonzero(first | second)
    said = list(notes)
    if len(rows) < len(first):
        said.append(f"{len(first) - len(rows)} samples are on neither side: left out")
    target = _sides(first[rows], names)
    numbers = None
    if groups is not None:
        numbers = groups_of(group or "group", [groups[i] for i in rows.tolist()], 3 * PARTS)
    return explain(samples, target, rows, numbers, seed=seed, notes=said)


def _refuse_few(sizes: tuple[int, int], names: tuple[str, str]) -> None:
    """Raise DataError for sides of which nothing could be found and judged."""
    for size, name in zip(sizes, names, strict=True):
        if size < FEWEST_OF_CLASS or sum(sizes) < FEWEST_ROWS:
            raise DataError(
                f"{name!r} chooses {size} samples, of {sum(sizes)} on both sides; at least "
                f"{FEWEST_OF_CLASS} a side and {FEWEST_ROWS} together are needed to find what "
                "sets them apart and to judge that on others"
            )


def _sides(first: Chosen, names: tuple[str, str]) -> Target:
    return Target(f"{names[0]} against {names[1]}", first.astype(np.float64), (names[1], names[0]))


def _chosen(source: Source, said: str) -> Chosen:
    if said.startswith("@"):
        return _listed(source, Path(said[1:]))
    query = parsed(said)
    return query.chosen(values_of(source, query.names))


def _listed(source: Source, path: Path) -> Chosen:
    """The samples whose identifiers stand in a file, one a line.

    Under a first line "row" they are numbers of rows, whatever identifiers the samples have.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"'{path}' cannot be read as text ({error}); give one identifier a line"
        ) from error
    told = [line.strip() for line in lines if line.strip()]
    numbered = told[:1] == ["row"] and all(map(str.isdecimal, told[1:]))  # "row" is a word, too
    wanted = set(told[numbered:])
    first = source.about(slice(0, 1))[0]
    name = next((one for one in NAMES if one in first and not numbered), "row")
    found = [str(record.get(name)) for record in records(source)]
    absent = sorted(wanted - set(found))
    if not wanted:
        raise DataError(f"'{path}' holds no identifiers; give one a line")
    if absent:
        raise DataError(
            f"'{path}': {len(absent)} of its {len(wanted)} identifiers, such as {absent[0]!r}, are "
            f"no {name!r} of the samples (such as {found[0]!r}); give those of these data"
        )
    return np.array([one in wanted for one in found])
