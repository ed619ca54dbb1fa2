"""What a person calls latents: names checked, read from a file, and put in the place of numbers."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from simplecell.data.spreadsheet import bare
from simplecell.errors import DataError, UsageError, unknown

LONGEST = 80
"""Characters of a name."""
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode's categories of what no person sees or types: controls, surrogates, line separators."""
_NUMBERED = re.compile(r"latent[0-9]+", re.ASCII)
Named = Iterator[tuple[int, object, object]]
"""Line number, latent and name, as they stand in a file."""


@dataclass(frozen=True)
class LatentNames:
    """The names that latents were given, by number; `told` are sentences on names not in use."""

    given: Mapping[int, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()

    def all(self, n_latents: int) -> list[str]:
        """What each latent is called, in files and by `get_feature_names_out`, [M]."""
        return [self.given.get(j, numbered(j)) for j in range(n_latents)]


NO_NAMES = LatentNames()


def numbered(latent: int) -> str:
    """What a latent is called that has no name."""
    return f"latent{latent}"


def checked(name: str) -> str:
    """A name without the spaces around it.

    Raises:
        UsageError: for one that is empty, long, holds what cannot be seen, or is a number's.
    """
    name = bare(unicodedata.normalize("NFC", name.strip()))
    if not name:
        raise UsageError("the name is empty; a word or two are needed")
    if len(name) > LONGEST:
        raise UsageError(
            f"the name {name[:20] + '…'!r} has {len(name)} characters; at most {LONGEST} stand in "
            "a table's head, so shorten it, and keep the rest as a note"
        )
    odd = next((sign for sign in name if unicodedata.category(sign) in _UNSEEN), None)
    if odd is not None:
        raise UsageError(
            f"the name {name!r} holds {odd!r}, a sign that nobody sees; a name is one line of text"
        )
    if _NUMBERED.fullmatch(name):
        raise UsageError(
            f"the name {name!r} is what a latent without a name is called; choose another"
        )
    return name


def refuse_taken(names: Mapping[int, str], where: Callable[[int], str] | None = None) -> None:
    """Raise UsageError where two latents have one name; `where` says of a latent's where it stood.

    Names become columns of tables, which a reader must tell apart.
    """
    seen: dict[str, int] = {}
    for latent, name in sorted(names.items()):
        other = seen.setdefault(name, latent)
        if other != latent:
            places = "" if where is None else f" ({where(other)}, {where(latent)})"
            raise UsageError(
                f"latents {other} and {latent} are both called {name!r}{places}; names are columns "
                "of tables, so make them differ"
            )


def read_names(path: Path, n_latents: int) -> tuple[dict[int, str], dict[int, int]]:
    """The names in a file by latent, "" to take one away; and the line that each stands on.

    JSON lines with `latent` and `name`, such as `features` writes, or CSV with these columns; what
    else they hold is passed over.

    Raises:
        UsageError: for another suffix.
        DataError: for a file or a line that cannot be read, by its number; nothing is then taken.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise unknown("suffix of --names", suffix, _READERS)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' cannot be read as text ({error}); give a text file") from error
    names: dict[int, str] = {}
    lines: dict[int, int] = {}
    for line, latent, name in _READERS[suffix](text, path):
        try:
            number = _number(latent, n_latents)
            if number in lines:
                raise UsageError(f"latent {number} stands on line {lines[number]} already")
            names[number], lines[number] = _name(name, number), line
        except UsageError as error:
            raise DataError(f"'{path}', line {line}: {error}") from error
    if not lines:
        raise DataError(f"'{path}' holds no names; a line for each latent and its name is needed")
    return names, lines


def _number(latent: object, n_latents: int) -> int:
    if isinstance(latent, str) and re.fullmatch(r"(latent)?[0-9]{1,9}", latent.strip(), re.ASCII):
        latent = int(latent.strip().removeprefix("latent"))
    if not isinstance(latent, int) or isinstance(latent, bool):
        raise UsageError(f"its latent is {latent!r}; a whole number is needed")
    if not 0 <= latent < n_latents:
        raise UsageError(
            f"there is no latent {latent}: this run has {n_latents}, counted from 0; give names of "
            "this run"
        )
    return latent


def _name(name: object, latent: int) -> str:
    """A name; "" where there is none, or that which every latent has by its number."""
    if name is None:
        return ""
    if not isinstance(name, str):
        raise UsageError(f"its name is {name!r}; text is needed")
    bare = name.strip()
    return "" if bare in ("", numbered(latent)) else checked(name)


def _of_lines(text: str, path: Path) -> Named:
    for at, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"'{path}', line {at}: this is no JSON ({error})") from error
        if not isinstance(value, dict) or not {"latent", "name"} <= set(value):
            raise DataError(
                f"'{path}', line {at}: an object with latent and name is needed, such as "
                '{"latent": 3, "name": "vertical edge"}'
            )
        yield at, value["latent"], value["name"]


def _of_table(text: str, path: Path) -> Named:
    table = csv.reader(io.StringIO(text, newline=""))
    try:
        head = [cell.strip().lower() for cell in next(table, [])]
        if not {"latent", "name"} <= set(head):
            raise DataError(
                f"'{path}', line 1: its columns are {head}; latent and name are needed, separated "
                "by commas"
            )
        for column in ("latent", "name"):
            if head.count(column) > 1:
                raise DataError(
                    f"'{path}', line 1: {head.count(column)} columns are called {column!r}; keep "
                    "the one that is meant"
                )
        places = head.index("latent"), head.index("name")
        for row in table:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(head):
                raise DataError(
                    f"'{path}', line {table.line_num}: {len(row)} cells stand under {len(head)} "
                    "columns; quote names that hold commas"
                )
            yield table.line_num, row[places[0]], row[places[1]]
    except csv.Error as error:
        raise DataError(f"'{path}', line {table.line_num}: {error}") from error


_READERS: dict[str, Callable[[str, Path], Named]] = {
    ".jsonl": _of_lines,
    ".json": _of_lines,
    ".csv": _of_table,
}
