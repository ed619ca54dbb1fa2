"""Cells of text that a spreadsheet would take for a formula, written so that it does not.

A title such as `=HYPERLINK("…")` is run by the program that opens a .csv. As OWASP advises (CSV
injection), such a cell gets an apostrophe in front; who reads the table again takes it away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_FORMULA = re.compile(r"[=@\t\r\n\uff1d\uff0b\uff0d\uff20]|[+-].")
"""How a formula begins, in full width too; a lone sign is none."""
_NUMBER = re.compile(r"-([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_MARKED = re.compile(rf"'(?={_FORMULA.pattern})")


def harmless(cell: object) -> object:
    """The cell as it is written: text that begins as a formula does behind an apostrophe.

    Numbers stay numbers, those below 0 that are written as text too.
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def harmless_row(cells: Iterable[object]) -> list[object]:
    """Cells of a row, as they are written."""
    return [harmless(cell) for cell in cells]


def bare(text: str) -> str:
    """The text of a cell that `harmless` wrote."""
    return _MARKED.sub("", text, count=1) if text.startswith("'") else text
