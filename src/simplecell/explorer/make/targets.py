"""What the records say of samples, number or class, and which latents go with it; as one file.

The statistics are those of `explain`, over the codes of the survey's pass: effects on the samples
looked at, corrected over latents, and the same on held-out ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from simplecell.data import Source
from simplecell.errors import DataError
from simplecell.explain.answer import both_parts, corrected, holds, on_groups
from simplecell.explain.probes import predicted
from simplecell.explain.splits import PARTS, hold_out
from simplecell.explain.target import SEVERAL, Target, groups_of, target_of
from simplecell.explain.told import NAMES, alike, label_name, records, values_of
from simplecell.explorer.make.contents import LeftOut, TargetFigures, TargetsTold, Verdict
from simplecell.explorer.make.samples import FAVOURITES, LONGEST, PLACES, PROBED, evenly
from simplecell.explorer.make.together import Kept
from simplecell.model.autoencoder import Model

Places = NDArray[np.int64]
Floats = NDArray[np.float64]

FILE = "targets.bin"
MOST_TARGETS, MOST_NUMBERS = 16, 2**21
"""Of a run, and the float32 numbers of all of them together: 8 MB."""
MOST_SAMPLES, FEWEST_SAMPLES, DENSE_CODES, SPARSE_CODES = 50_000, 1000, 2**24, 2**27
"""Samples whose codes are held for it; and of M latents times samples, dense and sparse ones."""
QUICK, EACH = 3 * 2**20, 2**18
"""Numbers of inputs and codes, times classes, that probes of all targets are fitted to here, and
what each costs besides; *ours*: ten CPU seconds at most."""
_SHARED = ("q", "holds")
OF_NUMBERS = (
    *("rank_correlation", "held_out_rank_correlation"),
    *("correlation", "correlation_low", "correlation_high", "held_out_correlation"),
    *("difference", "difference_low", "difference_high", "held_out_difference"),
    *_SHARED,
)
OF_CLASSES = (
    *("auc", "auc_low", "auc_high", "held_out_auc"),
    *("odds_ratio", "lift", "held_out_lift"),
    *_SHARED,
)
"""What is kept of a target, as `explain` names it."""
ON_OFF = ("difference", "odds", "lift")
"""How those figures end that need codes with exact zeros begin, `held_out_` aside."""


@dataclass(frozen=True)
class Offered:
    """A target that the records offer, of the samples `among` those whose codes are held [n].

    `groups` [n] are those of these samples, where some are never parted.
    """

    target: Target
    among: Places
    notes: Sequence[str]
    groups: Places | None = None


class Targets:
    """The targets of a source, and what a model's latents have to do with them.

    `rows` are the samples whose codes are needed: all, or as many, evenly spread, as can be held.
    Samples whose records say the same under `group` are on one side of every split.

    Raises:
        UsageError: for a group that no record tells.
        DataError: for a sample without a group, or too few groups.
    """

    def __init__(self, model: Model, source: Source, group: str | None = None) -> None:
        self.model, self.source, self.group = model, source, group
        self._left_to_probe = QUICK
        held = SPARSE_CODES if model.activation.sparse else DENSE_CODES
        most = min(MOST_SAMPLES, max(FEWEST_SAMPLES, held // model.n_latents))
        self.rows = evenly(source.n_samples, most)
        self.figures = {
            is_number: [name for name in names if model.activation.sparse or not _on_off(name)]
            for is_number, names in ((True, OF_NUMBERS), (False, OF_CLASSES))
        }
        found, left = offered(source, self.rows, group)
        self.offered, self.left = self._chosen(*self._grouped(found, left))
        if not self.offered:
            self.rows = self.rows[:0]

    def _grouped(
        self, found: list[Offered], left: list[LeftOut]
    ) -> tuple[list[Offered], list[LeftOut]]:
        """Targets with the groups of their samples; those that are known of too few left out."""
        if self.group is None:
            return found, left
        told = values_of(self.source, [self.group], self.rows)[self.group]
        groups_of(self.group, told, 3 * PARTS)  # refused before the pass
        kept, left = [], list(left)
        for one in found:
            try:
                own = groups_of(self.group, [told[i] for i in one.among.tolist()], 3 * PARTS)
            except DataError as error:
                left.append({"name": one.target.name, "why": str(error)})
                continue
            notes = [*on_groups(own), *one.notes]
            kept.append(replace(one, notes=notes, groups=own))
        return kept, left

    def _chosen(
        self, found: list[Offered], left: list[LeftOut]
    ) -> tuple[list[Offered], list[LeftOut]]:
        """As many as may be kept, in their order; and why the others are not."""
        chosen: list[Offered] = []
        numbers = 0
        for one in found:
            size = self._size(one.target)
            if len(chosen) == MOST_TARGETS:
                why = f"at most {MOST_TARGETS} targets are looked at"
                left.append({"name": one.target.name, "why": why})
            elif numbers + size > MOST_NUMBERS:
                what = f"{len(one.target.tested)} classes of {self.model.n_latents} latents"
                left.append({"name": one.target.name, "why": f"{what} are too many to keep"})
            else:
                chosen.append(one)
                numbers += size
        return chosen, left

    def is_number(self, name: str) -> bool:
        """Whether what the records say under a name is a target of numbers."""
        called = label_name(self.source) if name == "label" else None
        return any(
            one.target.is_number and one.target.name in (name, called) for one in self.offered
        )

    def _size(self, target: Target) -> int:
        n_figures = len(self.figures[target.is_number])
        return n_figures * max(1, len(target.tested)) * self.model.n_latents

    def write(self, kept: Sequence[Kept], folder: Path) -> Iterator[TargetsTold | None]:
        """Write targets.bin, of the codes of `rows`; after each target None, then what it holds."""
        if not self.offered:
            if self.left:
                yield {"tested": [], "left_out": self.left, "n_samples": 0, "notes": []}
            return
        codes = _joined(kept)
        told: list[TargetFigures] = []
        at = 0
        with open(folder / FILE, "wb") as file:
            for one in self.offered:
                entry, numbers = self._judged(one, codes, at)
                file.write(numbers.astype("<f4").tobytes())
                told.append(entry)
                at += numbers.size
                yield None
        notes = alike(self.source, self.group)
        n = len(self.rows)
        yield {"tested": told, "left_out": self.left, "n_samples": n, "notes": notes}

    def _judged(
        self, one: Offered, codes: sparse.csr_array, at: int
    ) -> tuple[TargetFigures, Floats]:
        """What the manifest says of a target, and its figures [F, T, M]."""
        target, mine = one.target, codes[one.among]
        split = hold_out(target, one.groups, 0)
        on_off = self.model.activation.sparse
        seen, held = both_parts(mine, target, split, one.groups, on_off=on_off)
        columns = {**seen, **{f"held_out_{name}": values for name, values in held.items()}}
        p = seen["p"]
        columns["q"] = corrected(p.ravel()).reshape(p.shape)
        columns["holds"] = holds(target, seen, held).astype(np.float64)
        names = self.figures[target.is_number]
        entry: TargetFigures = {
            "name": target.name,
            "kind": "number" if target.is_number else "classes",
            "classes": list(target.tested),
            "figures": names,
            "at": at,
            "n_seen": len(split.seen),
            "n_held_out": len(split.held_out),
            "verdict": self._verdict(one, mine),
            "notes": list(one.notes),
        }
        return entry, np.stack([columns[name].T for name in names])

    def _verdict(self, one: Offered, codes: sparse.csr_array) -> Verdict | None:
        """Whether the data predict the target at all; None where probes would take long."""
        target, n = one.target, len(one.among)
        numbers = n * self.source.n_inputs + codes.nnz
        cost = numbers * max(1, len(target.classes)) + EACH
        if cost > self._left_to_probe:
            return None
        self._left_to_probe -= cost
        inputs = self.source.read(self.rows[one.among]).astype(np.float64)
        found = predicted(inputs, codes, target, one.groups, 0)
        return {
            "yes": found.yes,
            "p": found.p,
            "score": found.best.held_out,
            "probe": found.best.name,
            "n_probes": len(found.probes),
        }


def _on_off(name: str) -> bool:
    return name.removeprefix("held_out_").startswith(ON_OFF)


def _joined(kept: Sequence[Kept]) -> sparse.csr_array:
    """Codes [n, M] as `explain` has them: float64, without entries that are 0."""
    codes = sparse.vstack([sparse.csr_array(part) for part in kept], format="csr")
    codes = sparse.csr_array(codes, dtype=np.float64)
    codes.eliminate_zeros()
    return codes


def offered(
    source: Source, rows: Places, group: str | None = None
) -> tuple[list[Offered], list[LeftOut]]:
    """The targets that records of some rows offer, labels first; and fields that are none, and why.

    Names, places and texts of samples are no targets, and not told of, nor is the field of groups.
    """
    found: list[Offered] = []
    left: list[LeftOut] = []
    names = [name for name in _fields(source, rows) if name != group]
    for name, values in (values_of(source, names, rows) if names else {}).items():
        if _counts(values):
            left.append({"name": name, "why": "it counts the samples"})
            continue
        try:
            found.append(Offered(*target_of(name, values)))
        except DataError as error:
            left.append({"name": name, "why": str(error)})
    return found, left


def _fields(source: Source, rows: Places) -> list[str]:
    """Fields of the records that may be targets, by what some of them say."""
    label, is_table = label_name(source), source.columns is not None
    # A column of a table that is called "top" is what its owner says; a patch's is where it lay.
    passed = {"row", *NAMES} if is_table else PLACES | {*NAMES}
    passed |= set() if label is None else {"label"}
    sizes: dict[str, int] = {}
    for record in records(source, rows[evenly(len(rows), PROBED)]):
        for name, value in record.items():
            sizes[name] = max(sizes.get(name, 0), _length(value))
    names = [
        name
        for name, size in sizes.items()
        if name not in passed and not name.lower().endswith("_id") and 0 < size <= LONGEST
    ]
    ranks = {name: rank for rank, name in enumerate((label, *FAVOURITES))}
    return sorted(names, key=lambda name: ranks.get(name, len(ranks)))


def _length(value: object) -> int:
    """Characters of a value; 0 of none, and more than any label's of what is no value."""
    if value is None:
        return 0
    if isinstance(value, SEVERAL):
        return max(map(_length, value), default=0)
    return LONGEST + 1 if isinstance(value, dict) else len(str(value))


def _counts(values: Sequence[object]) -> bool:
    """Whether they are whole numbers that rise from each sample to the next: its number."""
    whole = all(isinstance(value, int | np.integer) for value in values)
    return whole and all(before < after for before, after in pairwise(values))  # type: ignore[operator]
