"""How many pictures a file holds: pages of a TIFF, frames of an animation; none is decoded here.

A small file may claim pages without end, so all pages together are held against what the file
weighs, as the pixels of one page are against `max_pixels`.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from simplecell.data import tiff
from simplecell.data.decoding import read_picture, reasons
from simplecell.data.pixels import BrokenPictureError, Picture
from simplecell.data.rows import Record

PIXELS_A_BYTE = 100
"""Pages together may have `max_pixels`, and above that so many pixels for each byte of the file:
as a compressed file of numbers may expand to."""

_PAGED = (".tif", ".tiff", ".gif", ".png", ".webp")
_LEAST_BYTES = 8
"""No format has a frame in fewer, header and all."""
_PLANES = (
    "colours stored as planes, taken for one picture as the header says; where each is a page of "
    "its own, data.channels=pages makes them pictures"
)


@dataclass(frozen=True)
class Opener:
    """A picture that is read only when it is needed.

    `page` counts from 1 where a file has several; `notes` say what its file holds besides.
    """

    name: str
    open: Callable[[], Picture]
    page: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name, with the page where there are several."""
        return self.name if self.page is None else f"{self.name}, page {self.page}"

    @property
    def record(self) -> Record:
        """Where the picture came from."""
        return {"file": self.name} | ({} if self.page is None else {"page": self.page})


@dataclass
class OneFile:
    """The animation that was read last, kept open: its frames are decoded one after another."""

    path: Path | None = None
    image: Image.Image | None = field(default=None, repr=False)

    def read(self, path: Path, max_pixels: int, name: str, channels: str, number: int) -> Picture:
        """Frame `number` of an animation, counted from 1."""
        with reasons(max_pixels):
            image = self.image if self.path == path else None
            if image is None or image.tell() >= number:
                image = Image.open(io.BytesIO(path.read_bytes()))
            image.seek(number - 1)
        last = number == getattr(image, "n_frames", 1)
        self.path, self.image = (None, None) if last else (path, image)
        return read_picture(image, max_pixels, name, 0, channels)


def pages_of_file(
    path: Path, max_pixels: int, name: str, channels: str, shared: OneFile
) -> list[Opener]:
    """An opener for each page of a file that has several; none for one picture or no picture.

    Raises BrokenPictureError where all pages together are too large.
    """
    if path.suffix.lower() not in _PAGED:
        return []
    with reasons(max_pixels):
        with path.open("rb") as stream:
            start = stream.read(32)
            if not tiff.is_tiff(start[:4]) and not _moves(start, stream):
                return []
        if tiff.is_tiff(start[:4]):
            return _of_tiff(path, max_pixels, name, channels)
        with Image.open(path) as image:
            count, (width, height) = getattr(image, "n_frames", 1), image.size
        _check_together(path, count, count * width * height, max_pixels)
        frame = partial(shared.read, path, max_pixels, name, channels)
        return [Opener(name, partial(frame, k), k) for k in range(1, count + 1) if count > 1]


def _moves(start: bytes, stream: IO[bytes]) -> bool:
    """Whether a file may be an animation: any GIF, a PNG or WebP that says so."""
    if start[:4] == b"GIF8":
        return True
    if start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8X":
        return bool(start[20] & 2)
    if start[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"acTL", b"IDAT"):
            return kind == b"acTL"
        stream.seek(length + 4, io.SEEK_CUR)
    return False


def _of_tiff(path: Path, max_pixels: int, name: str, channels: str) -> list[Opener]:
    found = tiff.pages_of(path)
    pages = [page for page in found if not page.aside] or found
    _check_together(path, len(pages), sum(p.width * p.height for p in pages), max_pixels)
    notes = _notes(found, pages, channels)
    if channels == "pages" and any(page.channels > 1 for page in pages):
        planes = [(page, k) for page in pages for k in range(page.channels)]
        reads = [partial(_plane, path, max_pixels, name, page, k) for page, k in planes]
        return [Opener(name, read, i, notes) for i, read in enumerate(reads, 1)]
    if len(pages) == 1 and not notes:
        return []
    return [
        Opener(
            name,
            partial(read_picture, path, max_pixels, name, page, channels),
            page.index + 1 if len(pages) > 1 else None,
            notes,
        )
        for page in pages
    ]


def _plane(path: Path, max_pixels: int, name: str, page: tiff.Page, k: int) -> Picture:
    """One channel of a page as a picture of its own."""
    whole = read_picture(path, max_pixels, name, page, "bands")
    values = whole.values if whole.values.ndim == 2 else whole.values[:, :, k]
    return replace(whole, values=np.ascontiguousarray(values), bands=False)


def _notes(found: list[tiff.Page], pages: list[tiff.Page], channels: str) -> tuple[str, ...]:
    """What a TIFF holds besides the pages that are read, and how its colours were understood."""
    aside, said = len(found) - len(pages), max((page.said for page in found), default=1)
    notes = []
    if aside:
        some = "1 page that is" if aside == 1 else f"{aside} pages that are"
        notes.append(f"{some} a small copy or a mask of another, left out")
    if said > len(found):
        notes.append(
            f"its description speaks of {said} pages, but only {len(found)} can be found by its "
            f"headers; the other {said - len(found)} are left out (save it again as a plain TIFF)"
        )
    if channels == "auto" and any(page.planes and page.colors for page in pages):
        notes.append(_PLANES)
    return tuple(notes)


def _check_together(path: Path, count: int, pixels: int, max_pixels: int) -> None:
    """Raise BrokenPictureError for more pages, or more pixels of them all, than a file can mean."""
    size = path.stat().st_size
    if count > size // _LEAST_BYTES:
        raise BrokenPictureError(f"broken: {count} pages are declared in {size} bytes")
    if count > 1 and pixels > max(max_pixels, PIXELS_A_BYTE * size):
        raise BrokenPictureError(
            f"its {count} pages of {pixels / 1e6:.0f} megapixels together are over the limit of "
            f"{max_pixels / 1e6:g} and {PIXELS_A_BYTE} times the file's {size} bytes; max_pixels "
            "raises it"
        )
