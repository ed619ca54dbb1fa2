"""One picture as numbers: levels brought to 0…1, channels told apart, sizes refused in time.

Readers hand over `Channels`, the levels as a file has them; `Picture` is what is made of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simplecell.data.rows import Array
from simplecell.errors import DataError

MAX_PIXELS = 50_000_000
CHANNELS = ("auto", "bands", "pages")
"""What a file's channels are: as its header says, all of them inputs, or a picture each."""
_USUAL_CHANNELS = 4
OWN_RANGE = (
    "numbers without an agreed white (floats, 32 bits, signed); each such picture is scaled by its "
    "own lowest and highest"
)


class BrokenPictureError(DataError):
    """A picture that cannot be used; the message is the reason alone, without the name."""


@dataclass(frozen=True)
class Picture:
    """Brightness, colours or bands, float32 [h, w], [h, w, 3] or [h, w, c], in 0…1 unless an array
    said otherwise.

    `bands` says that the channels are no colours; `notes` what was done to them unasked.
    """

    values: Array
    name: str
    jpeg: bool = False
    bands: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Channels:
    """Levels of a file in 0…1, float32 [h, w] or [h, w, c], and what the channels are.

    `alpha` is how the last one is transparency: "", "plain" or "premultiplied" (the colours are
    multiplied by it already); `extra` counts channels behind three colours whose meaning the file
    does not say.
    """

    values: Array
    alpha: str = ""
    colors: bool = True
    extra: int = 0
    notes: tuple[str, ...] = ()


def picture_of(found: Channels, name: str, jpeg: bool = False, channels: str = "auto") -> Picture:
    """The picture that channels are: transparency over white, bands where they are no colours."""
    values, notes = found.values, found.notes
    if values.ndim == 2 or channels == "bands":
        return Picture(values, name, jpeg, channels == "bands" and values.ndim > 2, notes)
    if found.alpha:
        values = over_white(values, premultiplied=found.alpha == "premultiplied")
        return Picture(values[:, :, 0] if values.shape[2] == 1 else values, name, jpeg, notes=notes)
    if found.colors and found.extra:
        left = (
            f"{found.extra} more channel{'s' * (found.extra > 1)} than colours, of a meaning that "
            "the file does not say; left out (data.channels=bands takes all channels)"
        )
        return Picture(np.ascontiguousarray(values[:, :, :3]), name, jpeg, notes=(*notes, left))
    if not found.colors:
        notes = (*notes, _kept(values.shape[2]))
    return Picture(values, name, jpeg, bands=not found.colors, notes=notes)


def _kept(count: int) -> str:
    return (
        f"{count} channels that are no colours, kept as bands, all of them inputs (of a TIFF, "
        "data.channels=pages makes each a picture of its own)"
    )


def picture_of_array(values: object, name: str, channels: str = "auto") -> Picture:
    """A picture from an array [h, w] or [h, w, c]; integers become 0…1.

    Of four channels the last is transparency; two, or more than four, are bands.
    """
    values = np.asarray(values)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3):
        raise DataError(
            f"{name} has the shape {values.shape}; a picture is (h, w), (h, w, 3) or (h, w, c)"
        )
    if values.dtype.kind not in "biuf" or not values.size:
        raise DataError(f"{name} is empty or holds {values.dtype}, not numbers")
    scaled = values.astype(np.float32)
    scaled /= np.float32(divisor_of(values.dtype) or 1.0)
    if not np.isfinite(scaled).all():
        raise DataError(f"{name} has pixels that are NaN or infinite; fill or remove them first")
    count = scaled.shape[2] if scaled.ndim == 3 else 1
    found = Channels(scaled, "plain" if count == 4 else "", colors=count in (3, 4))
    return picture_of(found, name, channels=channels)


def divisor_of(dtype: np.dtype[np.generic]) -> float | None:
    """What brings pixels of this type to 0…1: 255 for bytes, 65535 for 16 bits."""
    return {"uint8": 255.0, "uint16": 65535.0}.get(dtype.name)


def to_unit(values: Array) -> tuple[Array, tuple[str, ...]]:
    """Levels as float32 in 0…1, and what is to be said of it.

    Numbers of more than 16 bits have no agreed white: integers that 16 bits hold are divided by
    65535, floats in 0…1 stay, all others are scaled by their own range.
    Raises BrokenPictureError for NaN and infinite pixels.
    """
    divisor = divisor_of(values.dtype)
    if divisor:
        return values.astype(np.float32) / np.float32(divisor), ()
    wide = values.astype(np.float64)
    low, high = float(wide.min()), float(wide.max())
    if not math.isfinite(high - low):
        raise BrokenPictureError("has pixels that are NaN or infinite")
    if low >= 0 and high <= (1 if values.dtype.kind == "f" else 65535):
        white = 1.0 if values.dtype.kind == "f" else 65535.0
        return (wide / white).astype(np.float32), ()
    scaled = (wide - low) / ((high - low) or 1.0)
    return scaled.astype(np.float32), (OWN_RANGE,)


def over_white(values: Array, premultiplied: bool = False) -> Array:
    """[h, w, c] of [h, w, c + 1], whose last channel is how opaque a pixel is."""
    colors, alpha = values[:, :, :-1], values[:, :, -1:]
    seen = np.minimum(colors, alpha) if premultiplied else colors * alpha
    return np.ascontiguousarray(seen + (1 - alpha))


def upright(values: Array, orientation: int) -> Array:
    """The EXIF orientation (1 to 8) applied; the array as it is for any other number."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    step = (-1 if flip_rows else 1, -1 if flip_columns else 1)
    return np.ascontiguousarray(values[:: step[0], :: step[1]])


def check_pixels(width: int, height: int, channels: int, max_pixels: int) -> None:
    """Raise BrokenPictureError for more than `max_pixels`; four channels are one pixel's."""
    if width * height > max_pixels:
        raise BrokenPictureError(too_large(f"{width}x{height} pixels are more", max_pixels))
    if width * height * channels > max_pixels * _USUAL_CHANNELS:
        what = f"{width}x{height} pixels of {channels} channels are more"
        raise BrokenPictureError(too_large(what, max_pixels))


def too_large(what: str, max_pixels: int) -> str:
    """The sentence on what is over the limit."""
    return f"{what} than the limit of {max_pixels / 1e6:g} megapixels; max_pixels raises it"
