"""What records say of every sample, as numbers or classes by which a map is coloured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simplecell.data import Source
from simplecell.data.columns import Missing, as_numbers
from simplecell.data.rows import Record
from simplecell.explorer.make.samples import PLACES, PROBED, evenly, plain_text, words_of

MOST_FIELDS = 12
MOST_CLASSES = 64
LONGEST = 60
UNKNOWN, OTHER = 0xFFFF, 0xFFFE
"""Classes of samples of which nothing is said, and of those beyond the 64 most frequent."""


class Field:
    """A field of the records: a class, or a number, of each of n samples.

    Args:
        name: of the field.
        classes: those that occur, in order; None for numbers.
        n: samples, *count*.
        decimal: the sign before a number's fraction, where numbers are text.
    """

    def __init__(self, name: str, classes: list[str] | None, n: int, decimal: str = ".") -> None:
        self.name, self.classes, self.decimal = name, classes, decimal
        self._place = {word: k for k, word in enumerate(classes or [])}
        self.values: NDArray[np.generic] = (
            np.full(n, np.nan, dtype="<f4") if classes is None else np.full(n, UNKNOWN, dtype="<u2")
        )
        """[n]; of classes their numbers."""

    def put(self, first: int, values: Sequence[object]) -> None:
        """Take in what the records of some samples say, from sample `first` on."""
        here = slice(first, first + len(values))
        if self.classes is None:
            self.values[here] = numbers_of(values, self.decimal)
        else:
            self.values[here] = [self._class(value) for value in values]

    def _class(self, value: object) -> int:
        """The number of a value's class; of a list the first that is known counts."""
        words = words_of(value)
        known = (self._place[word] for word in words if word in self._place)
        return next(known, OTHER if words else UNKNOWN)


def fields_of(source: Source, n: int) -> list[Field]:
    """The fields that a map of n samples may be coloured by, without values, at most 12.

    What repeats is a class: 2 to 64 different values, half as many as samples at most. What does
    not, and is a number wherever it is known, is a number. Names, texts and places are neither.
    """
    records = source.about(evenly(source.n_samples, PROBED))
    decimal = source.columns.get("decimal", ".") if source.columns else "."
    names = dict.fromkeys(name for record in records for name in record if name not in PLACES)
    found = (_field(name, records, n, decimal) for name in names)
    return [field for field in found if field is not None][:MOST_FIELDS]


def _field(name: str, records: list[Record], n: int, decimal: str) -> Field | None:
    values = [record.get(name) for record in records]
    counts = Counter(word for value in values for word in words_of(value))
    most = min(MOST_CLASSES, len(records) // 2)
    numbers = numbers_of(values, decimal)
    known = [value for value in values if value is not None and value != ""]
    all_numbers = bool(known) and int(np.isfinite(numbers).sum()) == len(known)
    fractions = all_numbers and bool((numbers[np.isfinite(numbers)] % 1 != 0).any())
    if 2 <= len(counts) <= most and not fractions:
        return Field(name, sorted(counts, key=_in_order), n)
    if all_numbers and len(np.unique(numbers[np.isfinite(numbers)])) > 1:
        return Field(name, None, n, decimal)
    return None


def _in_order(word: str) -> tuple[bool, float, str]:
    """Numbers by their size, before words."""
    try:
        number = float(word)
    except ValueError:
        return True, 0.0, word
    return not math.isfinite(number), number if math.isfinite(number) else 0.0, word


def numbers_of(values: Sequence[object], decimal: str = ".") -> NDArray[np.float32]:
    """Values as numbers [n], NaN where they are none; a table's cells are text."""
    found = np.full(len(values), np.nan, dtype=np.float32)
    cells = []
    for i, value in enumerate(values):
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[i] = value if abs(value) < 3e38 else np.nan
        elif isinstance(value, str) and value:
            cells.append(i)
    if not cells:
        return found
    text = np.array([plain_text(values[i]) for i in cells], dtype=object)
    read = as_numbers(text, Missing(), decimal)
    if read is None:  # a word among them: the others are numbers all the same
        found[cells] = [_number(cell) for cell in text]
    else:
        with np.errstate(over="ignore"):
            found[cells] = read[0]
        found[~np.isfinite(found)] = np.nan
    return found


def _number(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    return value if abs(value) < 3e38 else math.nan
