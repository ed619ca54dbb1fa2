"""What a person wrote about latents: RUN/notes.json, kept with the run and never guessed at."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from simplecell.errors import RunError, UsageError, WriteError
from simplecell.run.storage import Lock, misfit, read_json, write_json

FORMAT = 1
LONGEST = 10_000
"""Characters of a note."""
PATIENCE = 10.0
"""Seconds to wait for whoever writes a note at this moment."""
_FORM = {"format": int, "notes": {str: {"text": str, "key": str}}}


class Note(TypedDict):
    """As pages show it."""

    text: str
    stale: bool


class Notes:
    """The notes in one file; each remembers the key of the atlas that it was written for.

    A note is `stale` where that is another one: the weights may have changed since. Whoever writes
    has the file alone, reads what is there by now and changes the one note: several explorers, in
    other processes too, lose none of each other's.
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
            for latent, note in self._kept().items()
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
            kept = self._kept()
            before = kept.pop(str(latent), None)
            if text.strip():
                kept[str(latent)] = {"text": text, "key": key}
            elif before is None:
                return None
            ordered = dict(sorted(kept.items(), key=lambda item: int(item[0])))
            write_json(self.path, {"format": FORMAT, "notes": ordered})
        return {"text": text, "stale": False} if text.strip() else None

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

    def _kept(self) -> dict[str, dict[str, str]]:
        if not os.path.lexists(self.path):
            return {}
        table = read_json(self.path)
        wrong = misfit(table, _FORM, "it")
        if wrong is None and table["format"] != FORMAT:
            wrong = f"its format is {table['format']}, and {FORMAT} is known"
        if wrong is None:
            odd = [latent for latent in table["notes"] if not _is_number(latent)]
            wrong = f"{odd[0]!r} is no number of a latent" if odd else None
        if wrong is not None:
            raise RunError(
                f"'{self.path}' is damaged: {wrong}; mend it, or move it away to begin anew"
            )
        notes: dict[str, dict[str, str]] = table["notes"]
        return notes


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and str(int(text[:20])) == text
