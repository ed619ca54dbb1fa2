"""What a column of a table is: numbers, words, a vector in each cell, an identifier, or nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from simplecell.data.numerals import (
    MISSING,
    MISSING_WORDS,
    Style,
    like_number,
    numbers_of,
    style_of,
)
from simplecell.data.rows import Array
from simplecell.errors import DataError

MOST_CATEGORIES = 100
_FEW_ROWS = 20
"""Below, words that hardly repeat may still be categories."""
_COUNTED = 8
"""Rows from which on 0, 1, 2 … in a column is a count, whatever its name."""
_IDENTIFIER = {"id", "ids", "idx", "index", "key", "uid", "uuid", "guid", "rowid", "rowname"}
_IDENTIFIER |= {"row", "rownum", "nr", "no", "unnamed", "rownames", "accession"}
_JOINED = re.compile(
    r"(?:user|sample|patient|subject|customer|item|doc|document|record|row|case|cell|gene|person|"
    r"object|session|order|product|image|member|device|entry)(id|no|nr|key|index)"
)
_ALWAYS = {"id", "key", "uid", "uuid", "guid", "rowid"}
"""Names of what is an identifier even where its numbers repeat."""


@dataclass(frozen=True)
class Missing:
    """The words that mean "nothing is known here": the usual ones, or those that a user said."""

    words: frozenset[str] = frozenset(MISSING)
    told: bool = False

    @classmethod
    def of(cls, said: str | float | list[object]) -> Missing:
        """As `data.missing` says it."""
        if said == "auto":
            return cls()
        words = said if isinstance(said, list) else [said]
        return cls(frozenset({"", *(_word(word) for word in words)}), told=True)

    def among_words(self) -> Iterable[str]:
        """What is missing in a column of words."""
        return self.words if self.told else MISSING_WORDS

    def mask(self, values: Array, *, words: bool = False) -> Array:
        """Which cells are missing or not finite: of numbers [n], vectors [n, k] or text [n]."""
        if values.dtype == object:
            known = self.among_words() if words else self.words
            return np.array([cell in known for cell in values], dtype=bool)
        absent = ~np.isfinite(values)
        for word in self.words if self.told else ():
            if like_number(word):
                absent |= values == Style().number(word)
        return np.asarray(absent if absent.ndim == 1 else absent.any(axis=1))


def _word(said: object) -> str:
    return f"{said:g}" if isinstance(said, float) else str(said)


def as_numbers(values: Array, missing: Missing, decimal: str) -> tuple[Array, Style] | None:
    """Numbers [n], NaN where missing, and how they were written; None for anything else."""
    if values.dtype != object:
        return values, Style()
    if decimal == ",":
        quick = _with_commas(values)
        if quick is not None:
            return quick, Style(",")
    given = [cell for cell in values if cell not in missing.words]
    style = style_of(given, decimal) if given else None
    return None if style is None else (numbers_of(values, style, missing.words), style)


def _with_commas(values: Array) -> Array | None:
    """Numbers [n] that are all there, with no other sign in them than a decimal comma."""
    if any("." in cell or "_" in cell or "a" in cell for cell in values) or not any(
        "," in cell for cell in values
    ):
        return None
    try:
        return np.array([cell.replace(",", ".") for cell in values]).astype(np.float64)
    except ValueError:
        return None


def as_vectors(values: Array, name: str) -> Array | None:
    """Vectors [n, k] of cells like "[0.1, 0.2]", as frames of them write; None for anything else.

    Raises DataError, naming the row, for vectors of different lengths or cut short by "...".
    """
    if values.ndim == 2 or values.dtype != object:
        return values if values.ndim == 2 else None
    if not len(values) or not all(cell[:1] == "[" and cell[-1:] == "]" for cell in values):
        return None
    parts = []
    for row, cell in enumerate(values):
        if "..." in cell:
            raise DataError(
                f"row {row} (the first is 0), column {name!r} is cut short ('...'), as NumPy "
                "prints long arrays; save the numbers themselves, for example as .npy or .parquet"
            )
        try:
            parts.append([float(word) for word in re.split(r"[,\s]+", cell[1:-1].strip()) if word])
        except ValueError:
            return None
        if len(parts[-1]) != len(parts[0]) or not parts[-1]:
            raise DataError(
                f"row {row} (the first is 0), column {name!r} holds {len(parts[-1])} numbers, and "
                f"others hold {len(parts[0])}; one length is needed"
            )
    return np.array(parts)


def is_identifier(values: Array, name: str, *, named: bool) -> str | None:
    """Why numbers [n] are an identifier and no measurement, in words; None where they are not.

    `named` says that the table has a header: there an empty name, or one such as "id", speaks.
    """
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all() or (values % 1 != 0).any():
        return None
    n, words = len(values), _words_of(name)
    blank = named and re.fullmatch(r"column_\d+", name) is not None
    known = named and (blank or bool(words & _IDENTIFIER))
    different = len(np.unique(values)) == n
    counts = n > 1 and bool((np.diff(values) == 1).all())
    if counts and values[0] in (0, 1) and (n >= _COUNTED or known):
        return f"counts the rows, {values[0]:.0f}, {values[1]:.0f} … {values[-1]:.0f}"
    if known and different and (n > 1 or not blank):
        return "has a whole number of its own for each row"
    if named and words & _ALWAYS and not blank:
        return "is an identifier, as its name says"
    return None


def _words_of(name: str) -> set[str]:
    """The last word of a name, or the one before a number: "PassengerId", "Unnamed: 0"."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    if not words:
        return set()
    last = words[-2] if words[-1].isdigit() and len(words) > 1 else words[-1]
    joined = _JOINED.fullmatch(last.casefold())
    return set() if last.isdigit() else {joined[1] if joined else last.casefold()}


def is_name(name: str, *, surely: bool = False) -> bool:
    """Whether a column's name says that it identifies rows; `surely` even where values repeat."""
    return bool(_words_of(name) & (_ALWAYS if surely else _IDENTIFIER))


def find_stray(values: Array, missing: Missing) -> tuple[int, int] | None:
    """(row, count) of what is no number in a column [n] most of whose cells are; None in others.

    Where all are, and not written alike, the first that is not written as most are.
    """
    given = [cell for cell in values if cell not in missing.words]
    strays = [cell for cell in given if not like_number(cell)]
    if not given or 2 * len(strays) >= len(given):
        return None
    if not strays:
        usual = _usual_shape(given)
        strays = [cell for cell in given if _shape_of(cell) != usual] or given
        return next(i for i, cell in enumerate(values) if cell == strays[0]), 0
    row = next(i for i, cell in enumerate(values) if cell == strays[0])
    return row, len(strays)


def _shape_of(cell: str) -> str:
    """A number with its digits away: "1,5" and "2,75" are written alike."""
    return re.sub(r"\d+", "0", cell).lstrip("+-")


def _usual_shape(cells: list[str]) -> str:
    return Counter(map(_shape_of, cells)).most_common(1)[0][0]


def is_censored(cell: str) -> bool:
    """Whether a cell is a number with a remark: "<0.1", ">100", "3+", "12*"."""
    return like_number(cell.lstrip("<>≤≥~±= ").rstrip("*+ "))


def too_many_words(words: int, n: int) -> bool:
    """Whether so many different words in n rows are names or texts, and no categories."""
    hardly_repeat = n >= _FEW_ROWS and 2 * words > n
    return words > MOST_CATEGORIES or words == n > 1 or hardly_repeat


def plain_value(value: object) -> object:
    """What a record holds of a cell: text, a whole number or a fraction; None where nothing is."""
    if isinstance(value, np.generic):
        value = value.item() if value.dtype.kind != "M" else str(value)
    if isinstance(value, float):
        if value != value:
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, np.ndarray):
        return json.loads(json.dumps(value.tolist()))
    if isinstance(value, str) and re.fullmatch(r"0|-?[1-9]\d{0,14}", value):
        return int(value)  # "007" stays as it is
    return None if value == "" else value
