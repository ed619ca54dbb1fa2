"""Pictures: reading any ordinary file into numbers, finding them, greying, whitening, halving."""

from __future__ import annotations

import io
import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from simplecell.data.rows import Array
from simplecell.errors import DataError

# Pillow logs what is wrong with a file; the reason that is kept says it once and in one place.
logging.getLogger("PIL").addHandler(logging.NullHandler())

MAX_PIXELS = 50_000_000
SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".jp2", ".pbm", ".pgm", ".png", ".ppm"}
    | {".tif", ".tiff", ".webp"}
)


class BrokenPictureError(DataError):
    """A picture that cannot be used; the message is the reason alone, without the name."""


@dataclass(frozen=True)
class Picture:
    """Brightness or colours, float32 [h, w] or [h, w, 3], in 0…1 unless an array said otherwise."""

    values: Array
    name: str
    jpeg: bool = False


def list_pictures(folder: Path) -> list[Path]:
    """All picture files below a folder, sorted; hidden files and other suffixes are ignored.

    Raises DataError when there is none.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        known = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{folder} holds no pictures; files ending in {known} were looked for")
    return found


def read_picture(
    source: str | Path | bytes | Image.Image, max_pixels: int = MAX_PIXELS, name: str = ""
) -> Picture:
    """One picture: orientation applied, transparency over white, first frame of an animation.

    Raises BrokenPictureError, with a short reason, for whatever cannot be decoded, and before
    decoding for anything of more than `max_pixels` pixels.
    """
    name = name or (str(source) if isinstance(source, (str, Path)) else "the picture")
    # Pillow only warns at 89 megapixels and would refuse what a larger max_pixels allows to 178.
    bomb = "error" if max_pixels <= (Image.MAX_IMAGE_PIXELS or math.inf) else "ignore"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter(bomb, Image.DecompressionBombWarning)  # type: ignore[arg-type]
            if isinstance(source, Image.Image):
                return _decode(source, max_pixels, name)
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            with Image.open(file) as image:
                return _decode(image, max_pixels, name)
    except BrokenPictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenPictureError(_too_large("more pixels", max_pixels)) from error
    except UnidentifiedImageError as error:
        raise BrokenPictureError("not a picture, or of an unknown kind") from error
    except FileNotFoundError as error:
        raise BrokenPictureError("does not exist") from error
    except MemoryError as error:
        raise BrokenPictureError("needs more memory than there is") from error
    except Exception as error:  # broken files raise nearly everything: SyntaxError, struct.error …
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise BrokenPictureError(f"broken: {reason}") from error


def picture_of_array(values: Any, name: str) -> Picture:
    """A picture from an array [h, w], [h, w, 1], [h, w, 3] or [h, w, 4]; integers become 0…1."""
    values = np.asarray(values)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise DataError(
            f"{name} has the shape {values.shape}; a picture is (h, w), (h, w, 3) or (h, w, 4)"
        )
    if values.dtype.kind not in "biuf" or not values.size:
        raise DataError(f"{name} is empty or holds {values.dtype}, not numbers")
    scaled = values.astype(np.float32)
    scaled /= np.float32(divisor_of(values.dtype) or 1.0)
    if not np.isfinite(scaled).all():
        raise DataError(f"{name} has pixels that are NaN or infinite; fill or remove them first")
    return Picture(_over_white(scaled) if scaled.shape[2:] == (4,) else scaled, name)


def divisor_of(dtype: np.dtype[Any]) -> float | None:
    """What brings pixels of this type to 0…1: 255 for bytes, 65535 for 16 bits."""
    return {"uint8": 255.0, "uint16": 65535.0}.get(dtype.name)


def _too_large(what: str, max_pixels: int) -> str:
    return f"{what} than the limit of {max_pixels / 1e6:g} megapixels; max_pixels raises it"


def _decode(image: Image.Image, max_pixels: int, name: str) -> Picture:
    width, height = image.size
    if width * height > max_pixels:
        raise BrokenPictureError(_too_large(f"{width}x{height} pixels are more", max_pixels))
    jpeg = image.format in ("JPEG", "MPO")
    image.load()
    values = _values(image)
    return Picture(_upright(values, image), name, jpeg)


def _upright(values: Array, image: Image.Image) -> Array:
    """The EXIF orientation applied; a broken EXIF block is no reason to refuse a picture."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:
        return values
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    step = (-1 if flip_rows else 1, -1 if flip_columns else 1)
    return np.ascontiguousarray(values[:: step[0], :: step[1]])


def _values(image: Image.Image) -> Array:
    """float32 in 0…1, [h, w] or [h, w, 3], of an image in any of Pillow's modes."""
    mode = image.mode
    if mode.startswith("I;16"):
        return np.asarray(image).astype(np.float32) / np.float32(65535)
    if mode in ("I", "F"):
        return _unit_range(np.asarray(image).astype(np.float64), mode)
    if mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        return _over_white(_bytes(image.convert("RGBA")))
    if mode in ("1", "L"):
        return _bytes(image.convert("L"))
    return _bytes(image.convert("RGB"))


def _bytes(image: Image.Image) -> Array:
    return np.asarray(np.asarray(image, dtype=np.float32) / np.float32(255))


def _over_white(values: Array) -> Array:
    colors, alpha = values[:, :, :3], values[:, :, 3:]
    return np.ascontiguousarray(colors * alpha + (1 - alpha))


def _unit_range(values: Array, mode: str) -> Array:
    """32-bit pictures have no agreed white: 16 bits in 32 by 65535, else by their own range."""
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(high - low):
        raise BrokenPictureError("has pixels that are NaN or infinite")
    if mode == "I" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    elif mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled: Array = (values - low) / ((high - low) or 1.0)
    return scaled.astype(np.float32)


def to_grey(values: Array) -> Array:
    """Brightness [h, w] of colours [h, w, 3]; grey pictures as they are. Source: ITU-R BT.601."""
    if values.ndim == 2:
        return values
    weights = np.array([0.299, 0.587, 0.114], dtype=values.dtype)
    return np.asarray(values @ weights)


def halve(values: Array) -> Array:
    """Half the size: the mean of each 2×2 pixels; an odd last row or column is dropped."""
    h, w = values.shape[0] // 2 * 2, values.shape[1] // 2 * 2
    even, odd = values[0:h:2, :w], values[1:h:2, :w]
    total = even[:, 0::2] + even[:, 1::2] + odd[:, 0::2] + odd[:, 1::2]
    return np.asarray(total / np.float32(4))


def whiten_1_over_f(picture: Array, cutoff: float = 0.4) -> Array:
    """Flat spectrum: filtered by f·exp(−(f/cutoff)⁴), then mean 0 and standard deviation 1.

    Natural pictures have amplitudes that fall as 1/f. `picture` is [h, w], f in cycles per pixel
    of the picture's own frequencies; the result is float32, zeros for a constant picture.
    Source: Olshausen & Field 1997. Differs: their cut-off is 200 cycles per picture of 512 (0.39).
    """
    from scipy import fft

    if picture.min() == picture.max():
        return np.zeros(picture.shape, dtype=np.float32)
    # The mean is filtered out anyway; without it float32 keeps its digits for the structure.
    centered = (picture - picture.mean(dtype=np.float64)).astype(np.float32)
    rows = np.fft.fftfreq(picture.shape[0])[:, None]
    columns = np.fft.rfftfreq(picture.shape[1])
    f = np.sqrt(rows**2 + columns**2)
    spectrum = fft.rfft2(centered)
    spectrum *= (f * np.exp(-((f / cutoff) ** 4))).astype(np.float32)
    flat: Array = fft.irfft2(spectrum, s=picture.shape)
    flat -= flat.mean(dtype=np.float64)
    flat /= flat.std(dtype=np.float64)
    return flat.astype(np.float32, copy=False)
