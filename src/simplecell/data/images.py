"""Pictures: any ordinary file as numbers, greyed, whitened, halved; and galleries of them.

A gallery reads its pictures one at a time and prepares them alike; the broken ones are remembered.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from simplecell.data.rows import Array, ArraySource, Meta, Skipped
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
        with warnings.catch_warnings(action="ignore"):
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


def picture_of_array(values: object, name: str) -> Picture:
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


def divisor_of(dtype: np.dtype[np.generic]) -> float | None:
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


COLORS = ("grey", "color")
WHITENINGS = ("none", "1/f")
SHRINKINGS = ("auto", "half", "none")

_PATCHES_A_SIDE = 4


@dataclass(frozen=True)
class Opener:
    """A picture that is read only when it is needed."""

    name: str
    open: Callable[[], Picture]


@dataclass(frozen=True)
class Preparation:
    """What happens to every whole picture before patches are cut.

    `shrink="auto"` halves JPEG photographs before 1/f whitening, which would amplify the noise of
    their compression, as long as the half still holds four patches a side.
    """

    color: str = "grey"
    whiten: str = "none"
    cutoff: float = 0.4
    shrink: str = "auto"
    patch: int = 1

    def apply(self, picture: Picture) -> tuple[Array, int]:
        """(float32 [h, w] or [h, w, 3], pixels of the file that became one in each direction)."""
        values = picture.values
        if self.color == "grey":
            values = to_grey(values)
        elif values.ndim == 2:
            values = np.repeat(values[:, :, None], 3, axis=2)
        scale = 2 if self._halves(picture) else 1
        values = halve(values) if scale == 2 else values
        if self.whiten == "1/f" and values.ndim == 2:
            values = whiten_1_over_f(values, self.cutoff)
        elif self.whiten == "1/f":
            channels = [whiten_1_over_f(values[:, :, c], self.cutoff) for c in range(3)]
            values = np.stack(channels, axis=2)
        return values, scale

    def _halves(self, picture: Picture) -> bool:
        if self.shrink == "auto":
            room = min(picture.values.shape[:2]) // 2 >= _PATCHES_A_SIDE * self.patch
            return picture.jpeg and self.whiten == "1/f" and room
        return self.shrink == "half"


class Gallery:
    """Pictures by number; `get` reads and prepares one, and keeps none.

    A broken picture, or one smaller than a patch, is remembered in `unusable`; with
    `skip_broken=False` a broken one is a DataError at once.
    """

    def __init__(
        self, openers: Sequence[Opener], preparation: Preparation, skip_broken: bool = True
    ) -> None:
        self.names = [opener.name for opener in openers]
        self.unusable: dict[int, Skipped] = {}
        self.halved: set[int] = set()
        self.preparation = preparation
        self._openers, self._skip_broken = openers, skip_broken
        self._largest: tuple[int, int, str] | None = None

    def __len__(self) -> int:
        return len(self._openers)

    @property
    def skipped(self) -> list[Skipped]:
        """The unusable pictures, in order."""
        return [self.unusable[k] for k in sorted(self.unusable)]

    @property
    def notes(self) -> list[str]:
        """What was done to pictures without being asked."""
        if self.preparation.shrink != "auto" or not self.halved:
            return []
        return [
            f"{len(self.halved)} JPEG photographs were averaged to half size before the 1/f "
            "whitening, which would amplify the noise of their compression (data.shrink=none keeps "
            "the full size)"
        ]

    def get(self, k: int) -> Array | None:
        """Picture k prepared, float32 [h, w] or [h, w, 3]; None when it is unusable."""
        try:
            picture = self._openers[k].open()
        except BrokenPictureError as error:
            self.unusable[k] = Skipped(self.names[k], str(error))
            if not self._skip_broken:
                raise DataError(f"{self.names[k]}: {error}") from error
            return None
        values, scale = self.preparation.apply(picture)
        (h, w), patch = values.shape[:2], self.preparation.patch
        if min(h, w) < patch:
            sizes = (self._largest or (0, 0, ""), (h, w, self.names[k]))
            self._largest = max(sizes, key=lambda size: size[0] * size[1])
            reason = f"{w}x{h} pixels, smaller than a patch of {patch}x{patch}"
            self.unusable[k] = Skipped(self.names[k], reason)
            return None
        if scale == 2:
            self.halved.add(k)
        return values

    def original(self, k: int) -> Picture:
        """Picture k as it was read, unprepared. Raises BrokenPictureError when it cannot be."""
        return self._openers[k].open()

    def scale(self, k: int) -> int:
        """Pixels of the file that became one pixel of picture k, in each direction: 1 or 2."""
        return 2 if k in self.halved else 1

    def refuse(self) -> DataError:
        """The error to raise when no picture is usable."""
        if self._largest is None:
            first = self.unusable[0]
            count = f"none of the {len(self)} pictures" if len(self) > 1 else "the picture cannot"
            can = " can be read; the first, " if len(self) > 1 else " be read: "
            return DataError(f"{count}{can}{first.file}: {first.reason}")
        (h, w, name), patch = self._largest, self.preparation.patch
        return DataError(
            f"a patch of {patch}x{patch} pixels fits in none of the {len(self)} pictures; the "
            f"largest is {w}x{h} ({name}); choose a smaller patch"
        )


def openers_of_files(folder: Path, max_pixels: int) -> list[Opener]:
    """The pictures below a folder, or the one picture that a file is."""
    paths = list_pictures(folder) if folder.is_dir() else [folder]
    root = folder if folder.is_dir() else folder.parent
    named = [(path.relative_to(root).as_posix(), path) for path in paths]
    return [Opener(name, partial(read_picture, path, max_pixels, name)) for name, path in named]


def openers_of_arrays(pictures: Sequence[Array] | Array, name: str) -> list[Opener]:
    """Pictures in memory or memory-mapped, [h, w] or [h, w, c] each."""

    named = [(f"{name}[{k}]", picture) for k, picture in enumerate(pictures)]
    return [Opener(name, partial(picture_of_array, picture, name)) for name, picture in named]


def openers_of_images(images: Sequence[Image.Image], max_pixels: int) -> list[Opener]:
    """Pillow's own objects."""

    named = [(f"picture {k}", image) for k, image in enumerate(images)]
    return [Opener(name, partial(read_picture, image, max_pixels, name)) for name, image in named]


def whole_pictures(gallery: Gallery, meta: Meta | None = None) -> ArraySource:
    """Each usable picture as one sample [h, w] or [h, w, 3], in memory.

    Raises DataError when they differ in size or none can be read.
    """
    kept: list[int] = []
    pictures: list[Array] = []
    for k in range(len(gallery)):
        values = gallery.get(k)
        if values is None:
            continue
        if pictures and values.shape != pictures[0].shape:
            raise DataError(
                f"{gallery.names[kept[0]]} has the shape {pictures[0].shape}, but "
                f"{gallery.names[k]} {values.shape}; whole pictures need one size, "
                "kind='patches' takes any"
            )
        kept.append(k)
        pictures.append(values)
    if not kept:
        raise gallery.refuse()
    check_meta(meta, len(gallery))
    return ArraySource(
        np.stack(pictures),
        kind="pictures",
        meta=Meta(
            len(kept),
            lambda i: {"file": gallery.names[kept[i]]} | (meta.record(kept[i]) if meta else {}),
        ),
        notes=gallery.notes,
        skipped=gallery.skipped,
    )


def check_meta(meta: Meta | None, n_pictures: int) -> None:
    """Raise DataError unless there is one record for each picture (or no meta)."""
    if meta is not None and meta.n_records != n_pictures:
        raise DataError(
            f"{meta.n_records} records of meta came for {n_pictures} pictures; one each is needed"
        )
