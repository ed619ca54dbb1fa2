"""Text cut into cells: what separates them, and what stands around the rows of samples."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simplecell.data.numerals import like_number, listed
from simplecell.errors import DataError

LOOKED_AT = 50
_DELIMITERS = (",", ";", "\t", "|", " ")
_SAID = re.compile(r'\s*"?sep=(.|\\t)"?\s*\n', re.IGNORECASE)
_WEIGHED_ROWS, _WEIGHED_CELLS = 10, 1000

Row = tuple[int, list[str]]
"""The number of a line, from 1, and its cells."""


def without_delimiter_line(text: str) -> tuple[str, str | None]:
    """The text below a first line "sep=;", as Excel writes it, and the delimiter that it says."""
    found = _SAID.match(text)
    if found is None:
        return text, None
    return text[found.end() :], "\t" if found[1] == "\\t" else found[1]


def first_lines(text: str) -> list[str]:
    """The first lines with something in them, comments apart."""
    lines = (line for line in io.StringIO(text) if line.strip())
    kept = (line for line in lines if not line.lstrip().startswith("#"))
    return [line for line, _ in zip(kept, range(LOOKED_AT), strict=False)]


def cells_of(lines: Iterable[str], delimiter: str) -> list[Row]:
    """(line number, stripped cells) of each line with something in it, first "#" lines skipped."""
    kept: list[Row] = []
    for number, row in _cut(lines, delimiter):
        if not row or row == [""] or (not kept and row[0].startswith("#")):
            continue
        kept.append((number, row))
    return kept


def _cut(lines: Iterable[str], delimiter: str) -> list[Row]:
    # The csv module's limit of 131,072 letters a cell holds for the whole process; here a line
    # that another delimiter does not cut is one cell, and a table of genes has longer ones.
    limit = csv.field_size_limit(2**31 - 1)
    try:
        if delimiter == " ":
            return [(number, _words_of(line)) for number, line in enumerate(lines, 1)]
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        return [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    finally:
        csv.field_size_limit(limit)


def _words_of(line: str) -> list[str]:
    if '"' not in line:
        return line.split()
    return next(csv.reader([line.strip()], delimiter=" ", skipinitialspace=True), [])


def find_delimiter(lines: Sequence[str]) -> str:
    """What cuts all first lines alike and into the best cells, then into the most of them.

    A cell that is a number is a good one, one that still holds another delimiter a bad one: of
    "1,5;2,3" the comma would make 1, "5;2" and 3.
    """
    if lines and not re.search(r"[,;\t|]", lines[0]) and _are_decimals(lines[1:]):
        return ";"  # one column of decimal commas
    best, found = (0.0, 0, 0), ""
    for place, delimiter in enumerate(_DELIMITERS):
        rows = [row for _, row in cells_of(lines, delimiter)]
        width = _width(rows)
        if width < 2:
            continue
        weight = (
            round(_goodness(rows[1:] or rows, delimiter), 3),
            0 if delimiter == " " else width,
        )
        if (*weight, -place) > best or not found:
            best, found = (*weight, -place), delimiter
    if found:
        return found
    return max(",;\t|", key=lambda d: sum(line.count(d) for line in lines))


def _are_decimals(lines: Sequence[str]) -> bool:
    values = [line.strip() for line in lines]
    return bool(values) and all("," in value and like_number(value) for value in values)


def _width(rows: list[list[str]]) -> int:
    """Cells of every row, empty ends and a first row's missing corner apart; 0: ragged."""
    widths = {len(row) for row in rows}
    below = {len(row) for row in rows[1:]}
    if len(widths) == 1:
        return widths.pop()
    if len(below) == 1 and lacks_corner(rows[0], max(below)):
        return max(below)
    least = min(widths, default=0)
    return least if all("".join(row[least:]) == "" for row in rows) else 0


def lacks_corner(first: list[str], width: int) -> bool:
    """Whether a first row has one cell less than `width`, as R's write.table leaves it.

    One cell alone above two is more often a text with a comma in it.
    """
    return 2 <= len(first) == width - 1


def _goodness(rows: list[list[str]], delimiter: str) -> float:
    """How many cells, a fraction 0–1, are what a cell should be."""
    cells = [cell for row in rows[:_WEIGHED_ROWS] for cell in row[:_WEIGHED_CELLS] if cell]
    others = [d for d in ",;\t|" if d != delimiter]
    good = 0.0
    for cell in cells:
        if like_number(cell):
            good += 1
        elif not any(other in cell for other in others):
            good += 0.5
    return good / max(1, len(cells))


@dataclass(frozen=True)
class Cut:
    """Rows of as many cells each, the header among them, and what was put right."""

    rows: list[list[str]]
    notes: list[str]


def squared(rows: list[Row], name: str, header: bool) -> Cut:
    """Rows of one width: empty rows and columns at the end left out, a missing corner put in.

    Raises DataError, naming the line, for a row that is longer or shorter than the others.
    """
    notes: list[str] = []
    full = [(number, row) for number, row in rows if any(row)]
    if len(full) < len(rows):
        empty = [number for number, row in rows if not any(row)]
        lines = listed([str(number) for number in empty])
        notes.append(f"{len(empty)} rows of {name} are empty and left out: lines {lines}")
    width = max((_filled(row) for _, row in full), default=0)
    first = full[0][1] if full else []
    if header and lacks_corner(first, width) and all(len(row) >= width for _, row in full[1:]):
        # R's write.table: row names have no header, so that all others stand one too far left.
        full[0] = (full[0][0], ["", *first])
        notes.append(
            f"the header of {name} has one cell less than its rows, which begin with names"
        )
    for number, row in full:
        if len(row) < width:
            raise DataError(f"line {number} of {name} has {len(row)} cells, others have {width}")
    if any(len(row) > width for _, row in full):
        notes.append(f"cells beyond column {width - 1} of {name} are empty and left out")
    return Cut([row[:width] for _, row in full], notes)


def _filled(row: list[str]) -> int:
    """Cells up to the last one with something in it."""
    width = len(row)
    while width and not row[width - 1]:
        width -= 1
    return width
