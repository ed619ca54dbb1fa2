"""A picture file decoded: by Pillow, whose colours of 16 bits are put together from two halves,
and by the readers of what Pillow does not read.

Pillow has no mode for colours of more than 8 bits: it keeps the upper byte of each level. Read a
second time, as if the bytes stood the other way round, it keeps the lower one.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from simplecell.data import tiff
from simplecell.data.pixels import (
    MAX_PIXELS,
    BrokenPictureError,
    Channels,
    Picture,
    check_pixels,
    picture_of,
    to_unit,
    too_large,
    upright,
)
from simplecell.data.rows import Array

_OTHER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
_ORIENTATION = 0x0112
_SIZ = b"\xff\x4f\xff\x51"
"""How a JPEG 2000 stream starts; the bits of its first channel, less one, stand 42 bytes on."""


def read_picture(
    source: str | Path | bytes | Image.Image,
    max_pixels: int = MAX_PIXELS,
    name: str = "",
    page: tiff.Page | int = 0,
    channels: str = "auto",
) -> Picture:
    """One picture: orientation applied, transparency over white unless channels are "bands".

    `page` is a page of a TIFF, or counts the frames of an animation from 0. Raises
    BrokenPictureError, with a short reason, for whatever cannot be decoded, and before decoding
    for anything of more than `max_pixels` pixels.
    """
    name = name or (str(source) if isinstance(source, (str, Path)) else "the picture")
    with reasons(max_pixels):
        if isinstance(source, Image.Image):
            found, jpeg = _of_image(source, max_pixels, channels)
        else:
            file = Path(source) if isinstance(source, str) else source
            found, jpeg = _of_file(file, max_pixels, page, channels)
        return picture_of(found, name, jpeg, channels)


@contextlib.contextmanager
def reasons(max_pixels: int) -> Iterator[None]:
    """Whatever a reader of pictures raises becomes a BrokenPictureError with a short reason."""
    # Pillow only warns at 89 megapixels and would refuse what a larger max_pixels allows to 178.
    bomb = "error" if max_pixels <= (Image.MAX_IMAGE_PIXELS or math.inf) else "ignore"
    try:
        with warnings.catch_warnings(action="ignore"):
            warnings.simplefilter(bomb, Image.DecompressionBombWarning)  # type: ignore[arg-type]
            yield
    except BrokenPictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenPictureError(too_large("more pixels", max_pixels)) from error
    except UnidentifiedImageError as error:
        raise BrokenPictureError("not a picture, or of an unknown kind") from error
    except FileNotFoundError as error:
        raise BrokenPictureError("does not exist") from error
    except MemoryError as error:
        raise BrokenPictureError("needs more memory than there is") from error
    except Exception as error:  # broken files raise nearly everything: SyntaxError, struct.error …
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise BrokenPictureError(f"broken: {reason}") from error


def _of_file(
    file: Path | bytes, max_pixels: int, page: tiff.Page | int, channels: str
) -> tuple[Channels, bool]:
    """The channels of a page or frame of a file, and whether it is a JPEG."""
    with tiff.opened(file) as stream:
        if not isinstance(page, tiff.Page) and tiff.is_tiff(stream.read(4)):
            found = [one for one in tiff.pages_of(file) if one.index == page]
            page = found[0] if found else page
        if isinstance(page, tiff.Page):
            return _of_page(file, page, max_pixels, channels), False
        stream.seek(0)
        with Image.open(stream) as image, tiff.opened(file) as again:
            if page:
                image.seek(page)
            return _of_opened(image, again, max_pixels)


def _of_image(image: Image.Image, max_pixels: int, channels: str) -> tuple[Channels, bool]:
    """The channels of an image of Pillow's, of which it may have read no pixel yet."""
    file = getattr(image, "fp", None)
    if file is None or not getattr(image, "tile", None):
        return _of_opened(image, None, max_pixels)
    at = file.tell()
    try:
        file.seek(0)
        data = file.read()
    finally:
        file.seek(at)
    if image.format == "TIFF":
        return _of_file(data, max_pixels, image.tell(), channels)
    return _of_opened(image, io.BytesIO(data), max_pixels)


def _of_opened(
    image: Image.Image, again: IO[bytes] | None, max_pixels: int
) -> tuple[Channels, bool]:
    """The channels of an image, and whether it is a JPEG; `again` is its file, from the start."""
    check_pixels(*image.size, len(image.getbands()), max_pixels)
    if image.format == "JPEG2000":
        _refuse_deep_jpeg_2000(image, again)
    found = _deep(image, again) or _shallow(image)
    found = replace(found, values=_upright(found.values, image), notes=_others(found, image))
    return found, image.format in ("JPEG", "MPO")


def _others(found: Channels, image: Image.Image) -> tuple[str, ...]:
    """What is said of a picture, and of others that a camera put into the same file."""
    others = getattr(image, "n_frames", 1) - 1 if image.format == "MPO" else 0
    if not others:
        return found.notes
    some = "1 more picture" if others == 1 else f"{others} more pictures"
    return (*found.notes, f"{some} in the same file (a preview, depth, a second eye), left out")


def _of_page(file: Path | bytes, page: tiff.Page, max_pixels: int, channels: str) -> Channels:
    """The channels of a page of a TIFF, by Pillow where it keeps them all."""
    check_pixels(page.width, page.height, page.channels, max_pixels)
    if not page.for_pillow or (channels == "bands" and page.extra):
        return tiff.read_bands(file, page)
    with tiff.opened(file) as one, tiff.opened(file) as two:
        try:
            image = Image.open(tiff.FirstPage(one, page.offset))  # type: ignore[arg-type]
        except UnidentifiedImageError:
            return tiff.read_bands(file, page)
        with image:
            again = cast(IO[bytes], tiff.FirstPage(two, page.offset))
            found = _deep(image, again) or _shallow(image, page.wide)
            found = replace(found, values=_upright(found.values, image), extra=page.extra)
    dark = page.white_is_zero and image.mode not in ("1", "L")  # Pillow turns those itself
    return replace(found, values=1 - found.values) if dark else found


def _deep(image: Image.Image, again: IO[bytes] | None) -> Channels | None:
    """Colours of 16 bits; None for pictures that have none.

    Raises BrokenPictureError where Pillow would put together frames of 8 bits.
    """
    kind, _, order = _raw_mode(image).partition(";")
    if image.format == "PPM" and image.mode == "RGB":
        return _deep_ppm(image, again)
    if order not in _OTHER or image.mode not in ("RGB", "RGBA", "CMYK") or again is None:
        return None
    if image.format != "TIFF" and getattr(image, "n_frames", 1) > 1:
        raise BrokenPictureError("is an animation of 16 bits; save its frames as files")
    if kind == "LA":  # Pillow makes four channels of two; four bytes are what is there
        pairs = _read_as(image, "RGBA").astype(np.uint16)
        levels = pairs[:, :, ::2] * 256 + pairs[:, :, 1::2]
    else:
        with Image.open(again) as second:
            levels = _two_halves(image, second, kind.replace("RGBa", "RGBA"), order)
    if kind == "CMYK":
        return Channels(tiff.of_inks(to_unit(levels)[0]))
    alpha = {"LA": "plain", "RGBA": "plain", "RGBa": "premultiplied"}.get(kind, "")
    return _keyed(levels, image.info.get("transparency"), alpha)


def _raw_mode(image: Image.Image) -> str:
    """How the bytes of an unread file stand, in Pillow's words, such as "RGB;16B"."""
    tiles = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    args = args[0] if isinstance(args, tuple) and args else args
    return args if isinstance(args, str) else ""


def _two_halves(upper: Image.Image, lower: Image.Image, kind: str, order: str) -> Array:
    """Levels uint16 [h, w, c] of a picture opened twice."""
    high = _read_as(upper, f"{kind};{order}").astype(np.uint16)
    return high * 256 + _read_as(lower, f"{kind};{_OTHER[order]}")


def _read_as(image: Image.Image, raw_mode: str) -> Array:
    """The bytes of an unread image, taken to stand in another way."""
    tiles = image.tile  # type: ignore[attr-defined]
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=raw_mode if isinstance(tile.args, str) else (raw_mode, *tile.args[1:]))
        for tile in tiles
    ]
    image.load()
    return np.asarray(image)


def _deep_ppm(image: Image.Image, again: IO[bytes] | None) -> Channels | None:
    """Colours of a PPM whose white is above 255, as raw converters write them."""
    tiles: list[Any] = getattr(image, "tile", [])
    if again is None or not tiles or not tiles[0].codec_name.startswith("ppm"):
        return None
    tile, white = tiles[0], tiles[0].args[-1]
    if white <= 255:
        return None
    if tile.codec_name == "ppm_plain":
        raise BrokenPictureError("is a plain-text PPM of 16 bits; save it as binary PPM or PNG")
    with Image.open(again) as second:
        for half in (image, second):
            half.tile = [tile._replace(args=("RGB;16B", 0, 1), codec_name="raw")]  # type: ignore[attr-defined]
        levels = _two_halves(image, second, "RGB", "16B")
    return Channels(np.minimum(levels.astype(np.float32) / np.float32(white), np.float32(1)))


def _keyed(levels: Array, key: object, alpha: str = "") -> Channels:
    """Levels of 16 bits in 0…1; a PNG's transparent level or colour becomes a last channel."""
    unit, _ = to_unit(levels)
    if alpha or not isinstance(key, int | tuple):
        return Channels(unit, alpha)
    grey = levels.ndim == 2
    clear = levels == key if grey else (levels == np.array(key)).all(axis=2)
    return Channels(np.dstack([unit, ~clear]).astype(np.float32), "plain")


def _shallow(image: Image.Image, unsigned: bool = False) -> Channels:
    """The channels of an image in any of Pillow's modes; `unsigned` 32 bits have no sign."""
    mode, key = image.mode, image.info.get("transparency")
    if mode.startswith("I;16"):
        return _keyed(np.asarray(image).astype(np.uint16), key)
    if mode in ("I", "F"):
        levels = np.asarray(image)
        unit, notes = to_unit(levels.view(np.uint32) if unsigned else levels)
        return Channels(unit, notes=notes)
    if mode in ("LA", "La"):
        return Channels(_bytes(image.convert("LA")), "plain")
    if mode in ("RGBA", "RGBa", "PA") or key is not None:
        return Channels(_bytes(image.convert("RGBA")), "plain")
    return Channels(_bytes(image.convert("L" if mode in ("1", "L") else "RGB")))


def _bytes(image: Image.Image) -> Array:
    return to_unit(np.asarray(image))[0]


def _upright(values: Array, image: Image.Image) -> Array:
    """The EXIF orientation applied; a broken EXIF block is no reason to refuse a picture."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        orientation = 1
    return upright(values, orientation)


def _refuse_deep_jpeg_2000(image: Image.Image, file: IO[bytes] | None) -> None:
    """Pillow cuts colours of a JPEG 2000 to 8 bits; nothing else at hand reads them."""
    start = file.read(2**16) if file is not None and len(image.getbands()) > 1 else b""
    at = start.find(_SIZ)
    if at >= 0 and len(start) > at + 42 and (start[at + 42] & 0x7F) > 7:
        bits = (start[at + 42] & 0x7F) + 1
        raise BrokenPictureError(
            f"is a JPEG 2000 of {bits} bits a colour, which are read from TIFF and PNG only"
        )
    if file is not None:
        file.seek(0)
