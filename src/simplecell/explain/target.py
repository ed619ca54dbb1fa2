"""What latents are held against: a number, a class, or several classes, of each sample."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from simplecell.errors import DataError, UsageError, choice

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

KINDS = ("auto", "number", "classes")
FEWEST_ROWS, FEWEST_OF_CLASS, MOST_CLASSES = 30, 10, 100
"""Samples with a known target, and of each class, that can be split and judged, *count*."""
SEVERAL = (list, tuple, set, frozenset, np.ndarray)
"""What holds the classes of a sample that may be of several."""
LARGEST = 1e150
"""Size of a number whose square, summed over all samples, is still finite."""
MOST_COUNTED = 20
"""Classes that whole numbers 0, 1, 2 … or 1, 2, 3 … may stand for, *count*."""


@dataclass(frozen=True)
class Target:
    """A number or a class for each of n samples.

    `values` [n] are the numbers, or which of `classes` each sample is of; a target of numbers has
    no classes. Where a sample may be of several, `members` [n, C] is 1 for each of its classes, and
    `values` holds the rarest of them (−1 for none): what splits keep alike.
    """

    name: str
    values: Floats
    classes: tuple[str, ...] = ()
    members: Floats | None = None

    @property
    def is_number(self) -> bool:
        """Whether it is a number of each sample."""
        return not self.classes

    @property
    def tested(self) -> tuple[str, ...]:
        """The classes set apart from all others: each, or of two that exclude each other the
        second alone; () for none."""
        alone = len(self.classes) == 2 and self.members is None
        return self.classes[1:] if alone else self.classes

    @property
    def columns(self) -> Floats:
        """What is tested, [n, T]: the numbers, or for each tested class 1 where a sample is it."""
        return self.values[:, None] if self.is_number else self.of_classes[:, -len(self.tested) :]

    @property
    def of_classes(self) -> Floats:
        """1 where a sample is of a class, [n, C]."""
        if self.members is not None:
            return self.members
        return (self.values[:, None] == np.arange(len(self.classes))).astype(np.float64)

    def at(self, rows: Places) -> Target:
        """The target of some of the samples."""
        members = None if self.members is None else self.members[rows]
        return replace(self, values=self.values[rows], members=members)


def targets(y: object) -> list[object]:
    """One value or list a sample; of a table of 0 and 1, which may be SciPy sparse, the names of
    the columns that are 1.

    Raises:
        UsageError: for another table, or more than two dimensions.
    """
    if issparse(y):
        y = csr_array(y).toarray()
    if isinstance(y, list | tuple) and any(isinstance(one, SEVERAL) for one in y):
        return list(y)
    table = np.asarray(y)
    if table.ndim != 2:
        return listed("y", y)
    if not np.isin(table, (0, 1)).all():
        raise UsageError(
            f"y has the shape {table.shape} and other values than 0 and 1; one value a sample is "
            "needed, or 1 for each class that a sample is of"
        )
    if table.shape[1] == 1:  # one class, or not: "0" would be called what is not 0
        return listed("y", table[:, 0])
    names = [str(name) for name in getattr(y, "columns", range(table.shape[1]))]
    double = [name for name, n in Counter(names).items() if n > 1]
    if double:
        raise UsageError(
            f"several columns of y are called {double[0]!r}; each is a class of its own, so give "
            "each a name of its own"
        )
    return [[names[j] for j in np.flatnonzero(row)] for row in table]


def listed(name: str, values: object) -> list[object]:
    """One value a sample, plain Python's.

    Raises:
        UsageError: for anything but one dimension.
    """
    # As objects, or NaN among words becomes the word "nan".
    array = np.asarray(values, object if isinstance(values, list | tuple) else None)
    if array.ndim != 1:
        raise UsageError(f"{name} has the shape {array.shape}; one value a sample is needed: (n,)")
    return array.tolist()


def target_of(
    name: str, values: Sequence[object], kind: str = "auto"
) -> tuple[Target, Places, list[str]]:
    """A target, the samples [n] for which it is known, and sentences on what was chosen.

    `values` holds one a sample, None or NaN where it is not known. With "auto", words, truth
    values, two different numbers, and whole numbers 0, 1, 2 … or 1, 2, 3 … are classes, other
    numbers numbers; a list is of all the classes in it, an empty one of none. Classes of fewer than
    10 samples are left out.

    Raises:
        UsageError: for another kind.
        DataError: for too few samples, one value alone, words that are to be numbers, numbers too
            large to reckon with, or values inside values.
    """
    choice("kind of target", kind, KINDS)
    known = np.array([i for i, value in enumerate(values) if not _missing(value)], dtype=np.int64)
    notes = []
    if len(known) < len(values):
        notes.append(f"{name!r} is not known of {len(values) - len(known)} samples: left out")
    kept = [_plain(values[i]) for i in known]
    if len(kept) < FEWEST_ROWS:
        raise DataError(
            f"{name!r} is known of {len(kept)} samples; at least {FEWEST_ROWS} are needed to find "
            "what goes with it and to judge that on others"
        )
    if any(isinstance(value, SEVERAL) for value in kept):
        if kind == "number":
            raise DataError(f"{name!r} holds lists, which are no numbers; leave the kind out")
        target, said = _several(name, kept)
        return target, known, notes + said
    _refuse_nested(name, kept)
    numbers = all(isinstance(value, int | float) for value in kept)
    if kind == "number" and not numbers:
        word = next(value for value in kept if not isinstance(value, int | float))
        raise DataError(f"{name!r} is to be a number, but {word!r} is none; leave the kind out")
    if kind == "number" or (kind == "auto" and numbers and not _are_classes(kept)):
        return _numbers(name, kept), known, notes
    target, among, said = _classes(name, kept)
    if kind == "auto" and numbers and len(target.classes) > 2:
        said.append(f"the whole numbers of {name!r} are taken for classes; as numbers: --as number")
    return target, known[among], notes + said


def _several(name: str, values: Sequence[object]) -> tuple[Target, list[str]]:
    """The target of samples that may be of several classes; a lone value is a list of one."""
    each = [list(value) if isinstance(value, SEVERAL) else [value] for value in values]
    _refuse_nested(name, [one for several in each for one in several])
    lists = [{_plain(one) for one in several} for several in each]
    _refuse_alike(name, [one for several in lists for one in several if not _missing(one)])
    counts = Counter(one for several in lists for one in several if not _missing(one))
    # A class of all samples sets none apart, no more than a rare one can be judged.
    most = len(lists) - FEWEST_OF_CLASS
    large = sorted((one for one, n in counts.items() if FEWEST_OF_CLASS <= n <= most), key=str)
    if not large:
        raise DataError(
            f"{name!r} has no class that at least {FEWEST_OF_CLASS} samples are of and at least "
            f"{FEWEST_OF_CLASS} are not; latents can be held only against what differs"
        )
    _refuse_many(name, len(large))
    members = np.array([[one in several for one in large] for several in lists], dtype=np.float64)
    rarest = np.array([counts[one] for one in large])
    own = np.where(members > 0, rarest, np.inf)
    alike = np.where(members.any(1), own.argmin(1), -1).astype(np.float64)
    notes = []
    if len(large) < len(counts):
        notes.append(
            f"{len(counts) - len(large)} classes of {name!r} have fewer than {FEWEST_OF_CLASS} "
            "samples, or fewer that are not of them: left out"
        )
    without = int((~members.any(1)).sum())
    if without:
        notes.append(
            f"{without} samples are of no class of {name!r}: each class is held against them too"
        )
    return Target(name, alike, tuple(str(one) for one in large), members), notes


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _missing(value: object) -> bool:
    if isinstance(value, SEVERAL):
        return False
    value = _plain(value)
    if value is None or (value == value) is not True:  # NaN, NaT and pandas' NA
        return True
    return value == "" or (isinstance(value, float) and math.isinf(value))


def _are_classes(values: Sequence[object]) -> bool:
    found = set(values)
    if len(found) == 2 or all(isinstance(value, bool) for value in values):
        return True
    counted = [set(range(first, first + len(found))) for first in (0, 1)]
    return len(found) <= MOST_COUNTED and found in counted


def _numbers(name: str, values: Sequence[object]) -> Target:
    largest = max(values, key=abs)  # type: ignore[arg-type]  # numbers all
    if abs(largest) > LARGEST:  # type: ignore[arg-type]
        raise DataError(
            f"{name!r} holds numbers beyond ±{LARGEST:g}, whose squares cannot be summed; give it "
            "in a larger unit, or its logarithm"
        )
    numbers = np.array(values, dtype=np.float64)
    _refuse_one(name, len(np.unique(numbers)), values)
    return Target(name, numbers)


def _classes(name: str, values: Sequence[object]) -> tuple[Target, Places, list[str]]:
    """The target of the samples `among` all, those of large enough classes."""
    _refuse_alike(name, values)
    counts = Counter(values)
    large = [value for value, n in counts.items() if n >= FEWEST_OF_CLASS]
    _refuse_one(name, len(large), values)
    _refuse_many(name, len(large))
    notes = []
    if len(large) < len(counts):
        lost = sum(n for n in counts.values() if n < FEWEST_OF_CLASS)
        notes.append(
            f"{len(counts) - len(large)} classes of {name!r} have fewer than {FEWEST_OF_CLASS} "
            f"samples: their {lost} samples are left out"
        )
    # Numbers in their order, words in theirs; False comes before True, as 0 before 1.
    ordered = sorted(large, key=lambda v: (isinstance(v, str), str(v) if isinstance(v, str) else v))
    place = {value: float(i) for i, value in enumerate(ordered)}
    among = np.array([i for i, value in enumerate(values) if value in place], dtype=np.int64)
    numbers = np.array([place[values[i]] for i in among])
    return Target(name, numbers, tuple(str(value) for value in ordered)), among, notes


def _refuse_many(name: str, n_classes: int) -> None:
    if n_classes > MOST_CLASSES:
        raise DataError(
            f"{name!r} has {n_classes} classes; at most {MOST_CLASSES} are held against latents, "
            "so give it as a number (--as number) or a coarser one"
        )


def _refuse_nested(name: str, values: Sequence[object]) -> None:
    """Raise DataError for a list or an object where a class or a number should stand."""
    odd = next((value for value in values if isinstance(value, (*SEVERAL, dict))), None)
    if odd is not None:
        raise DataError(
            f"{name!r} holds {str(odd)[:40]!r} where a word or a number is needed; take one field "
            "of it as the target, or write its parts as one word"
        )


def _refuse_alike(name: str, values: Sequence[object]) -> None:
    """Raise DataError for classes that are equal or written alike, and not of one sort.

    Whether "1" is 1, or True is 1, only who wrote them knows; 1.0 is 1.
    """
    seen: dict[object, object] = {}
    for one in {(type(value), value): value for value in values}.values():
        for key in (str(one), one):
            other = seen.setdefault(key, one)
            if _sort(other) is not _sort(one):
                raise DataError(
                    f"{name!r} holds {other!r} and {one!r}, which tables cannot tell apart; write "
                    "what is one class in one way, and two classes as two words"
                )


def _sort(value: object) -> type:
    """Truth values apart, all numbers as one, and whatever else by its type."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float if number else type(value)


def _refuse_one(name: str, n_values: int, values: Sequence[object]) -> None:
    if n_values < 2:
        raise DataError(
            f"{name!r} has fewer than two values that are frequent enough (such as {values[0]!r}); "
            "latents can be held only against what differs among samples"
        )


def groups_of(name: str, values: Sequence[object], n_least: int) -> Places:
    """The number of each sample's group, [n].

    Raises:
        DataError: for a sample without one, or fewer than `n_least` groups.
    """
    without = first_missing(values)
    if without is not None:
        raise DataError(f"sample {without} has no {name!r}; a group is needed for each")
    _, numbers = np.unique([_written(value) for value in values], return_inverse=True)
    n_groups = int(numbers.max()) + 1
    if n_groups < n_least:
        raise DataError(
            f"{name!r} makes {n_groups} groups of the samples; at least {n_least} are needed, so "
            "that some can be held out whole"
        )
    return numbers.astype(np.int64)


def first_missing(values: Sequence[object]) -> int | None:
    """The first row of which nothing is known; None where there is no such row."""
    return next((i for i, value in enumerate(values) if _missing(value)), None)


def _written(value: object) -> str:
    """What a group is called: 1, 1.0 and "1" are one, as files differ in how they write it."""
    value = _plain(value)
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)  # type: ignore[call-overload]


def refuse_length(what: str, n: int, n_samples: int) -> None:
    """Raise UsageError unless there is one a sample."""
    if n != n_samples:
        raise UsageError(f"{n} values of {what} came for {n_samples} samples; one each is needed")
