"""What a person says of latents, notes and names: RUN/notes.json, never guessed at.

A note is text to read, kept beside whatever the weights become. A name stands in the place of a
number in tables and pages; given to other weights it is not used, since it may be another latent's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypedDict

from simplecell.errors import RunError, UsageError, WriteError
from simplecell.run.names import NO_NAMES, LatentNames, checked, refuse_taken
from simplecell.run.storage import Lock, misfit, read_json, write_json

FILE = "notes.json"
FORMAT = 2
"""Of a file with names; one of notes alone is written in format 1, which has none."""
LONGEST = 10_000
"""Characters of a note."""
PATIENCE = 10.0
"""Seconds to wait for whoever writes a note at this moment."""
_FORM = {
    "format": int,
    "notes": {str: {"text": str, "key": str}},
    "names": (None, {str: {"name": str, "weights": str}}),
}
_Kept = dict[str, dict[str, str]]


class Note(TypedDict):
    """As pages show it."""

    text: str
    stale: bool


class Name(TypedDict):
    """As pages show it."""

    name: str
    stale: bool


class Notes:
    """The notes and names in one file.

    Each note remembers the key of the atlas that it was written for, each name the weights. It is
    `stale` where these are others: the latent may have changed since. Whoever writes has the file
    alone, reads what is there by now and changes its own part: several explorers, in other
    processes too, lose none of each other's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, key: str) -> dict[str, Note]:
        """Every note by the number of its latent: its text, and whether it is stale.

        Raises:
            RunError: for a damaged file.
        """
        return {
            latent: {"text": note["text"], "stale": note["key"] != key}
            for latent, note in self._kept()[0].items()
        }

    def names(self, weights: str) -> dict[str, Name]:
        """Every name by the number of its latent, and whether it is stale.

        Raises:
            RunError: for a damaged file.
        """
        return {
            latent: {"name": one["name"], "stale": one["weights"] != weights}
            for latent, one in self._kept()[1].items()
        }

    def write(self, latent: int, text: str, key: str) -> Note | None:
        """Put a note in the place of an earlier one, "" for none; the note as `read` gives it.

        Raises:
            UsageError: for a text that is too long.
            RunError: for a damaged file, which stays as it is.
            WriteError: when it cannot be written, or another process keeps it too long.
        """
        if len(text) > LONGEST:
            raise UsageError(
                f"the note has {len(text):,} characters; at most {LONGEST:,} are kept, so shorten "
                "it"
            )
        with self._alone():
            notes, names = self._kept()
            before = notes.pop(str(latent), None)
            if text.strip():
                notes[str(latent)] = {"text": text, "key": key}
            elif before is None:
                return None
            self._write(notes, names)
        return {"text": text, "stale": False} if text.strip() else None

    def rename(
        self,
        given: Mapping[int, str],
        weights: str,
        where: Callable[[int], str] | None = None,
    ) -> dict[int, str]:
        """Give names to latents, "" to take one away; those in use then, of all latents.

        Others keep theirs, save stale ones that stand in the way. `where` says where a name stood.

        Raises:
            UsageError: for a name that cannot be one, or that another latent has.
            RunError: for a damaged file, which stays as it is.
            WriteError: when it cannot be written, or another process keeps it too long.
        """
        fresh = {latent: checked(name) for latent, name in given.items() if name.strip()}
        with self._alone():
            notes, names = self._kept()
            kept = {int(k): v for k, v in names.items() if int(k) not in given}
            mine = {latent: v["name"] for latent, v in kept.items() if v["weights"] == weights}
            refuse_taken(mine | fresh, where)
            taken = {*fresh.values()}
            kept = {k: v for k, v in kept.items() if k in mine or v["name"] not in taken}
            kept |= {latent: {"name": n, "weights": weights} for latent, n in fresh.items()}
            self._write(notes, {str(latent): one for latent, one in kept.items()})
        return mine | fresh

    def _write(self, notes: _Kept, names: _Kept) -> None:
        parts = [dict(sorted(one.items(), key=lambda item: int(item[0]))) for one in (notes, names)]
        table: dict[str, object] = {"format": FORMAT if names else 1, "notes": parts[0]}
        write_json(self.path, table | ({"names": parts[1]} if names else {}))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the file against threads and processes, for as long as a write takes."""
        try:
            lock = Lock(self.path.with_name(".notes.lock"), PATIENCE)
        except BlockingIOError:
            raise WriteError(
                f"could not write '{self.path}': another process has kept it for {PATIENCE:g} "
                "seconds; close the other explorer of this run, and write again"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _kept(self) -> tuple[_Kept, _Kept]:
        """Notes and names as they stand in the file."""
        if not os.path.lexists(self.path):
            return {}, {}
        table = read_json(self.path)
        wrong = misfit(table, _FORM, "it")
        if wrong is None and table["format"] not in (1, FORMAT):
            wrong = f"its format is {table['format']}, and up to {FORMAT} is known"
        names = table.get("names") or {}
        if wrong is None:
            odd = [latent for latent in (*table["notes"], *names) if not _is_number(latent)]
            wrong = f"{odd[0]!r} is no number of a latent" if odd else None
        if wrong is not None:
            raise RunError(
                f"'{self.path}' is damaged: {wrong}; mend it, or move it away to begin anew"
            )
        return table["notes"], names


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and str(int(text[:20])) == text


def weights_of(folder: Path) -> str:
    """SHA-256 of the weights of a run, by which names know theirs; "" of a run without any."""
    try:
        with open(folder / "model.safetensors", "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def names_in(folder: Path) -> LatentNames:
    """The names of a run's latents; of those not in use, and of a damaged file, sentences say so.

    Names are no part of a model: it is used with or without them.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        return NO_NAMES
    try:
        if not Notes(path).names(""):
            return NO_NAMES  # without names the weights need not be read once more
        found = Notes(path).names(weights_of(folder))
    except RunError as error:
        return LatentNames(told=(f"{error}; latents go by their numbers",))
    given = {int(latent): one["name"] for latent, one in found.items() if not one["stale"]}
    lost = len(found) - len(given)
    told = (
        f"{lost} of {len(found)} names in '{path}' were given to other weights, and are not used; "
        f"look at them in: simplecell explore {folder}"
    )
    return LatentNames(given, (told,) if lost else ())
