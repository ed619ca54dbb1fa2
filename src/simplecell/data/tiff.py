"""TIFF, page by page: what each page's header says, and the levels that Pillow would lose.

Pillow reads most pages, in any compression; it knows no floats in colour and no bands, and takes
planes of 16 bits for bytes. Those are read by tifffile, of the extra `pictures`.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from PIL import TiffImagePlugin

from simplecell.data.extras import EXTRAS
from simplecell.data.pixels import (
    BrokenPictureError,
    Channels,
    to_unit,
    upright,
)
from simplecell.data.rows import Array

MOST_PAGES = 100_000
EXTRA = f"pip install 'simplecell[{EXTRAS['tifffile']}]'"

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 256, 257, 258, 262
_SUBFILE, _SAMPLES, _PLANAR, _DESCRIPTION, _EXTRAS, _FORMAT = 254, 277, 284, 270, 338, 339
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _SEPARATED = 0, 1, 2, 5
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4
_REDUCED, _MASK = 1, 4
_ALPHA = {1: "premultiplied", 2: "plain"}
_RAW = 1
_WIDE = ((_FLOAT, 32), (_SIGNED, 16), (_SIGNED, 32), (_UNSIGNED, 32))
"""What Pillow reads of more than 16 bits, or with a sign: one channel each."""


@dataclass(frozen=True)
class Page:
    """One page of a TIFF: where its header lies, in bytes, and what that says."""

    offset: int
    index: int
    width: int
    height: int
    bits: int
    format: int
    channels: int
    photometric: int
    planes: bool
    extras: tuple[int, ...]
    aside: bool
    """A small copy of another page, or a mask."""
    said: int = 1
    """How many pages its description speaks of: ImageJ writes large stacks with one header."""

    @property
    def alpha(self) -> str:
        """How the last channel is transparency, if it is."""
        usual = {_BLACK_IS_ZERO: 1, _WHITE_IS_ZERO: 1, _RGB: 3}.get(self.photometric)
        if self.channels - 1 != usual:
            return ""
        unsaid = "plain" if usual == 3 else ""  # four channels and no word: so Pillow takes them
        return _ALPHA.get(self.extras[0], "") if self.extras else unsaid

    @property
    def colors(self) -> bool:
        """Whether the channels are brightness or three colours, as far as the header says."""
        grey = self.channels == 1 or (self.channels == 2 and bool(self.alpha))
        return grey or (self.photometric == _RGB and self.channels in (3, 4))

    @property
    def extra(self) -> int:
        """How many channels stand beside three colours without a word of their meaning."""
        return self.channels - 3 if self.colors and self.channels > 3 and not self.alpha else 0

    @property
    def white_is_zero(self) -> bool:
        return self.photometric == _WHITE_IS_ZERO

    @property
    def wide(self) -> bool:
        """Whether its levels are 32 bits without a sign."""
        return self.format == _UNSIGNED and self.bits == 32

    @property
    def deep(self) -> bool:
        """Whether it has colours of 16 bits, which Pillow alone cuts to 8."""
        return self.channels > 1 and self.bits == 16

    @property
    def for_pillow(self) -> bool:
        """Whether Pillow reads it whole (colours of 16 bits: in two halves)."""
        if self.format != _UNSIGNED or self.bits > 16:
            return self.channels == 1 and (self.format, self.bits) in _WIDE
        if self.channels > 1 and self.bits not in (8, 16):
            return False
        if self.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) and self.channels > 1:
            return bool(self.alpha) and self.channels == 2 and self.bits == 8
        if self.channels > 4 or (self.deep and self.photometric not in (_RGB, _SEPARATED)):
            return False
        return not (self.deep and self.planes)  # libtiff hands over the upper bytes alone


@contextlib.contextmanager
def opened(source: Path | bytes) -> Iterator[IO[bytes]]:
    """The bytes of a file, or of a picture in memory."""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        yield stream


def is_tiff(start: bytes) -> bool:
    """Whether the first four bytes of a file are those of a TIFF, classic or BigTIFF."""
    return start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def pages_of(source: Path | bytes) -> list[Page]:
    """All pages in order, none decoded; a header that leads back to an earlier one is the end.

    Raises BrokenPictureError for more than 100,000 pages and for what Pillow cannot follow,
    whatever else it raises for damage.
    """
    pages: list[Page] = []
    with opened(source) as stream, warnings.catch_warnings(action="ignore"):
        start = stream.read(8)
        if start[:4] == b"MM\0+":
            raise BrokenPictureError(
                "is a BigTIFF with the high byte first, which Pillow does not read; save it as a "
                "TIFF with the low byte first"
            )
        big = start[2:4] == b"+\0"
        tags = TiffImagePlugin.ImageFileDirectory_v2(start + stream.read(8) if big else start)
        seen: set[int] = set()
        offset = tags.next
        while offset and offset not in seen and len(pages) <= MOST_PAGES:
            seen.add(offset)
            stream.seek(offset)
            tags.load(stream)
            page = _page(tags, offset, len(seen) - 1)
            pages += [page] if page else []
            offset = tags.next
    if len(pages) > MOST_PAGES:
        raise BrokenPictureError(f"has more than {MOST_PAGES} pages; split it")
    return pages


def _page(tags: Any, offset: int, index: int) -> Page | None:
    """What one header says; None where it has no size, and so no picture."""
    width, height = tags.get(_WIDTH), tags.get(_HEIGHT)
    if not isinstance(width, int) or not isinstance(height, int) or min(width, height) < 1:
        return None
    formats = _numbers(tags.get(_FORMAT), (_UNSIGNED,))
    return Page(
        offset=offset,
        index=index,
        width=width,
        height=height,
        bits=max(_numbers(tags.get(_BITS), (1,))),
        format=_UNSIGNED if max(formats) == _UNDEFINED else max(formats),
        channels=max(1, _numbers(tags.get(_SAMPLES), (1,))[0]),
        photometric=_numbers(tags.get(_PHOTOMETRIC), (_WHITE_IS_ZERO,))[0],
        planes=_numbers(tags.get(_PLANAR), (1,))[0] == 2,
        extras=_numbers(tags.get(_EXTRAS), ()),
        aside=bool(_numbers(tags.get(_SUBFILE), (0,))[0] & (_REDUCED | _MASK)),
        said=_pages_said(tags.get(_DESCRIPTION), width * height),
    )


def _numbers(value: object, missing: tuple[int, ...]) -> tuple[int, ...]:
    """The whole numbers of a tag, of which damaged files have any kind and count."""
    values = value if isinstance(value, tuple) else (value,)
    whole = tuple(one for one in values if isinstance(one, int))
    return whole or missing


def _pages_said(description: object, pixels: int) -> int:
    """The count of pages in a description: ImageJ's images=20, or tifffile's "shape" of a stack
    that it wrote with a single header."""
    if not isinstance(description, str):
        return 1
    if description.startswith("ImageJ=") and (
        said := re.search(r"^images=(\d{1,9})$", description, re.M)
    ):
        return int(said[1])
    if '"truncated": true' in description and (
        said := re.search(r'"shape": \[([\d, ]+)\]', description)
    ):
        return math.prod(int(side) for side in said[1].split(",")) // pixels
    return 1


class FirstPage(io.RawIOBase):
    """The bytes of a TIFF whose header names another page as its first.

    Readers walk from the first page on; this way page 5,000 costs what page 1 does.
    """

    def __init__(self, stream: IO[bytes], offset: int) -> None:
        super().__init__()
        self._stream = stream
        stream.seek(0)
        start = stream.read(16)
        order = "little" if start[:1] == b"I" else "big"
        big = start[2:4] == b"+\0"
        at, size = (8, 8) if big else (4, 4)
        self._start = start[:at] + offset.to_bytes(size, order)  # type: ignore[arg-type]
        stream.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: Any) -> int:
        at, target = self._stream.tell(), memoryview(buffer).cast("B")
        data = self._stream.read(len(target))
        if at < len(self._start):
            data = (self._start[at:] + data[len(self._start) - at :])[: len(data)]
        target[: len(data)] = data
        return len(data)


def read_bands(source: Path | bytes, page: Page) -> Channels:
    """A page that Pillow does not read: floats in colour, planes of 16 bits, bands.

    Raises BrokenPictureError, with the reason, for whatever tifffile cannot read either.
    """
    try:
        import tifffile
    except ImportError:
        raise BrokenPictureError(
            f"{_told(page)}, which tifffile reads; it is not installed, say {EXTRA}"
        ) from None
    with opened(source) as stream:
        file = cast(IO[bytes], FirstPage(stream, page.offset))
        try:
            with tifffile.TiffFile(file) as found:
                values = _whole(found.pages[0], page)
        except (KeyError, ValueError, ImportError) as error:
            if "imagecodecs" in str(error):
                raise BrokenPictureError(f"{_told(page)}, compressed; say {EXTRA}") from error
            raise
    return _channels(values, page)


def _told(page: Page) -> str:
    kind = {_UNSIGNED: "", _SIGNED: "signed ", _FLOAT: "float "}.get(page.format, "unusual ")
    planes = " in planes" if page.planes else ""
    return f"is a TIFF of {page.channels} channels of {page.bits} {kind}bits{planes}"


def _whole(found: Any, page: Page) -> Array:
    """The levels [h, w] or [h, w, c] as they stand in the file, upright."""
    _check_held(found)
    values = np.asarray(found.asarray())
    if found.axes == "SYX":
        values = np.moveaxis(values, 0, 2)
    if values.shape[:2] != (page.height, page.width) or values.dtype.kind not in "biuf":
        raise BrokenPictureError(f"is a TIFF laid out as {found.axes} of {values.dtype}")
    orientation = found.tags.get(274)
    return upright(values, orientation.value if orientation is not None else 1)


def _check_held(found: Any) -> None:
    """Raise BrokenPictureError where the file ends before its pixels: tifffile would fill them."""
    held = found.parent.filehandle.size
    places = list(zip(found.dataoffsets, found.databytecounts, strict=True))
    if not places or any(not size or at + size > held for at, size in places):
        raise BrokenPictureError("broken: the file ends before its pixels, or leaves some out")
    needed = math.prod(found.shape) * found.dtype.itemsize if found.dtype is not None else 0
    if found.compression == _RAW and sum(size for _, size in places) < needed:
        raise BrokenPictureError("broken: fewer bytes than its size needs")


def _channels(values: Array, page: Page) -> Channels:
    unit, notes = to_unit(values)
    if values.dtype == np.uint16 and page.bits < 16:  # 10, 12 and 14 bits in 16
        unit = unit * np.float32(65535 / (2**page.bits - 1))
    if page.white_is_zero:
        unit = 1 - unit
    if page.photometric == _SEPARATED and page.channels >= 4:
        return Channels(of_inks(unit), notes=notes)
    return Channels(unit, page.alpha, page.colors, page.extra, notes)


def of_inks(inks: Array) -> Array:
    """Colours [h, w, 3] of cyan, magenta, yellow and black in 0…1, by Pillow's plain formula."""
    return np.ascontiguousarray((1 - inks[:, :, :3]) * (1 - inks[:, :, 3:4]))
