"""Whether the first row names the columns, and whether units stand below the names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simplecell.data.numerals import MISSING, is_number, like_number
from simplecell.data.rows import Array

_SURE = 8
"""Columns from which on no row of measurements rises from end to end by chance."""
_FEWEST = 3
"""Rows from which on their range says something."""
_MOST_UNITS = 3
"""Rows between a header and its numbers: units, kinds of averages, remarks."""

Cells = Sequence[Sequence[str]]


def looks_like_header(top: Cells) -> bool:
    """Words above numbers, numbers that no sample has, or words that differ and never recur."""
    first, below = top[0], [row for row in top[1:] if len(row) == len(top[0])]
    shifted = [row for row in top[1:] if len(row) == len(first) + 1]
    if not below and shifted:  # R's missing corner
        first, below = ["", *first], shifted
    if not below:
        return not any(like_number(cell) for cell in first)
    numeric = [j for j, column in enumerate(zip(*below, strict=True)) if _mostly_numbers(column)]
    words = [j for j in numeric if _is_word(first[j])]
    if words:
        return True
    if len(numeric) > 1 and _names_by_number(first, below, numeric):
        return True
    if numeric and _words_never_recur(first, below, numeric):
        return True
    recurs = set(first) & {value for row in below for value in row}
    return not numeric and len(set(first)) == len(first) and not recurs


def _words_never_recur(first: Sequence[str], below: Cells, numeric: list[int]) -> bool:
    """Whether two columns or more hold few words, none of them those of the first row.

    "1, call, 2, call" above numbers and A or P: what else stands there is whole numbers, all
    different.
    """
    names = [first[j] for j in numeric]
    if not all(name.isdigit() for name in names) or len(set(names)) < len(names):
        return False
    few = 0
    for j in set(range(len(first))) - set(numeric):
        words = {row[j] for row in below}
        if first[j] in words:
            return False
        few += 3 * len(words) <= len(below)
    return few > 1


def _mostly_numbers(cells: Sequence[str]) -> bool:
    given = [cell for cell in cells if cell not in MISSING]
    return bool(given) and 2 * sum(map(like_number, given)) >= len(given)


def _is_word(cell: str) -> bool:
    """Whether a cell is a name: no number, nothing missing, no "<0.1"."""
    return cell not in MISSING and not like_number(cell.lstrip("<>≤≥~±= ").rstrip("*+ "))


def _names_by_number(first: Sequence[str], below: Cells, numeric: list[int]) -> bool:
    """Whether the numbers of a first row are names, such as wavelengths or 0, 1, 2 …"""
    corner = not first[0]
    columns = [j for j in numeric if not (corner and j == 0)]
    names = [first[j] for j in columns]
    top = np.array([_value(name) for name in names])
    if not np.isfinite(top).all() or len(set(names)) < len(names):
        return False
    if corner and _is_counter([row[0] for row in below]) and _rises(top):
        return True
    rows = np.array([[_value(row[j]) for j in columns] for row in below])
    whole = all(name.lstrip("+-").isdigit() for name in names)
    whole = whole and bool((rows % 1 != 0).any(axis=0).all())
    if whole and len(rows) > 2 and _is_counter(names):
        return True
    if len(names) < 3 or np.isnan(rows).all(axis=0).any():
        return False
    return _stands_apart(top, rows, whole)


def _stands_apart(top: Array, rows: Array, whole: bool) -> bool:
    """Whether a row of numbers [D] is none of the samples below it [n, D].

    `whole` says that it alone holds whole numbers.
    """
    in_order = _rises(top) or _rises(-top)
    alike = sum(_rises(row) or _rises(-row) for row in rows) / len(rows)
    if in_order and alike < 0.1 and len(top) >= _SURE:
        return True
    if len(rows) < _FEWEST:
        return False
    low, high = np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)
    span = high - low
    outside = float(((top < low - 3 * span) | (top > high + 3 * span)).mean())
    if not in_order:
        return whole and outside > 0.9
    return (alike < 0.5 and (_even(top) or outside > 0.9)) or (_even(top) and outside > 0.9)


def _value(cell: str) -> float:
    cell = cell.replace(",", ".")
    return float(cell) if is_number(cell) else np.nan


def _rises(values: Array) -> bool:
    return bool((np.diff(values) > 0).all())


def _even(values: Array) -> bool:
    """Whether steps are equal, as far as rounding lets them."""
    steps = np.diff(values)
    return bool(np.ptp(steps) <= 0.05 * abs(float(np.median(steps))))


def _is_counter(cells: Sequence[str]) -> bool:
    """Whether cells are 0, 1, 2 … or 1, 2, 3 …"""
    return len(cells) > 1 and any(
        all(cell == str(i + start) for i, cell in enumerate(cells)) for start in (0, 1)
    )


def count_units(rows: Cells) -> int:
    """Rows at the top, below a header, that hold units and no sample: 0 to 3.

    Below them columns are all numbers, and in them none of those columns has one.
    """
    for n in range(min(_MOST_UNITS, len(rows) - 1), 0, -1):
        columns = list(zip(*rows[n:], strict=True))
        numeric = [j for j, column in enumerate(columns) if _all_numbers(column)]
        if numeric and all(_no_numbers([row[j] for j in numeric]) for row in rows[:n]):
            return n
    return 0


def _all_numbers(cells: Sequence[str]) -> bool:
    given = [cell for cell in cells if cell not in MISSING]
    return bool(given) and all(map(like_number, given))


def _no_numbers(cells: Sequence[str]) -> bool:
    """Whether words stand here, apart from empty cells and a unit that is called 1."""
    words = [cell for cell in cells if _is_word(cell) or cell in ("%", "-", "°")]
    rest = [cell for cell in cells if not (_is_word(cell) or cell in ("", "-", "1", "%", "°"))]
    given = sum(cell != "" for cell in cells)
    return 2 * len(words) >= given and any(map(_is_word, words)) and not rest
