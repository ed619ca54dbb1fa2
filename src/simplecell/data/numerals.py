"""Numbers as people write them: decimal commas, thousands separators, percent signs, units."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from simplecell.data.rows import Array

MISSING = (
    *("", "NA", "N/A", "n/a", "na", "n.a.", "N.A.", "#N/A", "<NA>", "NaN", "nan", "NAN", "NaT"),
    *("null", "NULL", "Null", "None", "?", "-", "--", "."),
)
"""What means "no number" among numbers, letter by letter: "Na" may be sodium."""
MISSING_WORDS = ("", "?")
"""Among words: "NA" and "None" may be words like the others."""

_PLAIN = str.maketrans({"−": "-", "\u00a0": " ", "\u202f": " ", "’": "'"})
_CURRENCY, _SIGN = "[$€£¥]", "[%‰$€£¥]|°[A-Za-z]?"
_UNIT = r" [A-Za-zµμΩ%][^\s,;]{0,9}"
_PARTS = re.compile(
    rf"(?P<before>{_CURRENCY}?) ?(?P<core>[+-]?(?:\d[\d.,' ]*|[.,]\d+)(?:[eE][+-]?\d+)?)"
    rf"(?P<after> ?(?:{_SIGN})|{_UNIT})?"
)
_ORDERS = {
    ".": ((".", ""), (".", ","), (".", "'"), (".", " "), (",", ""), (",", "."), (",", " ")),
    ",": ((",", ""), (",", "."), (",", " "), (",", "'"), (".", ""), (".", ",")),
}
_REST = r"(?: ?[^\d\s.,]\S{0,9})?"
_COMMA = re.compile(
    rf"{_CURRENCY}? ?[+-]?(?:\d+,\d{{1,2}}|\d+,\d{{4,}}|0,\d+|[\d.]+\.\d{{3}},\d+){_REST}"
)
_POINT = re.compile(
    rf"{_CURRENCY}? ?[+-]?(?:\d+\.\d{{1,2}}|\d+\.\d{{4,}}|0\.\d+|[\d,]+,\d{{3}}\.\d+){_REST}"
)


@dataclass(frozen=True)
class Style:
    """How the numbers of one column are written."""

    decimal: str = "."
    thousands: str = ""
    affix: str = ""

    @property
    def plain(self) -> bool:
        """Whether Python would read them as they are."""
        return self == Style()

    def number(self, cell: str) -> float:
        """The value of a cell that is written so; a percent sign or a unit is left away."""
        found = _PARTS.fullmatch(cell.translate(_PLAIN))
        core = found["core"].strip() if found else cell
        if self.thousands:
            core = core.replace(self.thousands, "")
        return float(core.replace(self.decimal, "."))


def _written(decimal: str, thousands: str) -> re.Pattern[str]:
    point = re.escape(decimal)
    groups = rf"[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{{3}})+|" if thousands else ""
    return re.compile(rf"[+-]?(?:(?:{groups}\d+)(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?")


_WRITTEN = {style: _written(*style) for orders in _ORDERS.values() for style in orders}


def is_number(cell: str, missing: Iterable[str] = MISSING) -> bool:
    """Whether Python reads a cell as a number, in the only way that programs write them."""
    if "_" in cell or cell in missing:
        return False
    try:
        return float(cell) == float(cell)
    except ValueError:
        return False


def like_number(cell: str) -> bool:
    """Whether somebody might write a number so."""
    if is_number(cell):
        return True
    found = _PARTS.fullmatch(cell.translate(_PLAIN))
    if found is None:
        return False
    core = found["core"].strip()
    return any(pattern.fullmatch(core) for pattern in _WRITTEN.values())


def style_of(cells: Iterable[str], decimal: str) -> Style | None:
    """The one way in which all cells are written; None where there is none.

    `decimal` is the sign that the rest of the table speaks for, where a cell such as "1,234" may
    be read in two ways.
    """
    different = set(cells)
    if all(is_number(cell) for cell in different) and decimal == ".":
        return Style()
    found = [_PARTS.fullmatch(cell.translate(_PLAIN)) for cell in different]
    parts = [part for part in found if part is not None]
    # "0" among "5%" is 0 with the sign and without it.
    signed = [part for part in parts if part["before"] or part["after"] or part["core"] != "0"]
    affixes = {(part["before"] + (part["after"] or "")).strip() for part in signed or parts}
    if len(parts) != len(different) or len(affixes) != 1:
        return Style() if all(is_number(cell) for cell in different) else None
    cores = [part["core"].strip() for part in parts]
    for style in _ORDERS[decimal]:
        if all(_WRITTEN[style].fullmatch(core) for core in cores):
            affix = affixes.pop()
            plain = not affix and all(is_number(cell) for cell in different) and style[1] == ""
            return Style() if plain else Style(*style, affix)
    return None


def decimal_of(cells: Iterable[str], otherwise: str) -> str:
    """The decimal sign that a table's cells speak for, "." or ","; `otherwise` where none does."""
    commas = points = 0
    for cell in cells:
        commas += _COMMA.fullmatch(cell) is not None
        points += _POINT.fullmatch(cell) is not None
    if bool(commas) != bool(points):
        return "," if commas else "."
    return otherwise


def numbers_of(cells: Array, style: Style, missing: Iterable[str]) -> Array:
    """Numbers [n] float64 of text cells [n] that are written in that style, or missing (NaN)."""
    if style.plain:
        try:
            return cells.astype(np.float64)
        except ValueError:
            pass
    return np.array([np.nan if cell in missing else style.number(cell) for cell in cells])


def listed(words: Sequence[str], most: int = 5) -> str:
    """Some of the words, and how many more there are."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
