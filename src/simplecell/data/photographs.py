"""The pictures that rows were made of, found again by their names for a person's eye."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL.Image import Image

from simplecell.data.decoding import read_picture
from simplecell.data.images import SUFFIXES, as_image
from simplecell.data.pixels import MAX_PIXELS, BrokenPictureError


@runtime_checkable
class HasPhotographs(Protocol):
    """A source whose records name pictures that can be shown."""

    def photograph(self, file: str, page: int | None = None) -> Image | None:
        """The picture of a record, upright; None where it is not there any more."""
        ...


class Photographs:
    """The pictures below a folder, as records name them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def photograph(self, file: str, page: int | None = None) -> Image | None:
        """A picture by its file's name and, where that has several, its page, counted from 1.

        None for one that is gone or broken, and for a name that leads out of the folder.
        """
        path = (self.root / file).resolve()
        if path.suffix.lower() not in SUFFIXES or not path.is_relative_to(self.root.resolve()):
            return None
        try:
            return as_image(read_picture(path, MAX_PIXELS, file, 0 if page is None else page - 1))
        except BrokenPictureError:
            return None


def photographs_of(source: object) -> HasPhotographs | None:
    """What shows the pictures that a source's rows were made of; None where nothing does."""
    if isinstance(source, HasPhotographs):
        return source
    found: HasPhotographs | None = getattr(source, "photographs", None)
    return found
