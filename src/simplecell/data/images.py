"""Pictures prepared: greyed, whitened, halved; and galleries of them.

A gallery reads its pictures one at a time and prepares them alike; the broken ones are remembered.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from simplecell.data.decoding import read_picture, reasons
from simplecell.data.pages import OneFile, Opener, pages_of_file
from simplecell.data.pixels import BrokenPictureError, Picture, picture_of_array
from simplecell.data.rows import Array, ArraySource, Meta, Record, Skipped
from simplecell.errors import DataError

# Readers log what is wrong with a file; the reason that is kept says it once and in one place.
logging.getLogger("PIL").addHandler(logging.NullHandler())
logging.getLogger("tifffile").addHandler(logging.NullHandler())

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".jp2", ".pbm", ".pgm", ".png"}
    | {".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)


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


def to_grey(values: Array) -> Array:
    """Brightness [h, w] of colours [h, w, 3]; grey pictures as they are. Source: ITU-R BT.601."""
    if values.ndim == 2:
        return values
    weights = np.array([0.299, 0.587, 0.114], dtype=values.dtype)
    return np.asarray(values @ weights)


def as_image(picture: Picture) -> Image.Image:
    """A picture for a person's eye, or for a model that reads colours: 8 bits, grey or RGB.

    Brightness outside 0…1 (arrays) is mapped by its own extremes; bands are averaged.
    """
    values = picture.values.mean(axis=2) if picture.bands else picture.values
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        values = (values - low) / (high - low)
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))


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
        """(float32 [h, w] or [h, w, c], pixels of the file that became one in each direction).

        Bands stay bands; they are no colours of which a brightness could be made.
        """
        values = picture.values
        if picture.bands:
            pass
        elif self.color == "grey":
            values = to_grey(values)
        elif values.ndim == 2:
            values = np.repeat(values[:, :, None], 3, axis=2)
        scale = 2 if self._halves(picture) else 1
        values = halve(values) if scale == 2 else values
        if self.whiten == "1/f" and values.ndim == 2:
            values = whiten_1_over_f(values, self.cutoff)
        elif self.whiten == "1/f":
            channels = [
                whiten_1_over_f(values[:, :, c], self.cutoff) for c in range(values.shape[2])
            ]
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
        self.names = [opener.title for opener in openers]
        self.files = [opener.name for opener in openers]
        self.unusable: dict[int, Skipped] = {}
        self.halved: set[int] = set()
        self.preparation = preparation
        self._openers, self._skip_broken = openers, skip_broken
        self._largest: tuple[int, int, str] | None = None
        self._channels: tuple[tuple[int, ...], str] | None = None
        self._told: dict[str, dict[str, None]] = {}
        for opener in openers:
            self._tell(opener.name, opener.notes)

    def __len__(self) -> int:
        return len(self._openers)

    @property
    def skipped(self) -> list[Skipped]:
        """The unusable pictures, in order."""
        return [self.unusable[k] for k in sorted(self.unusable)]

    @property
    def notes(self) -> list[str]:
        """What was done to pictures without being asked, and what their files hold besides."""
        told = [
            f"{next(iter(names))}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {text}"
            for text, names in self._told.items()
        ]
        return [*self._halvings(), *self._pages(), *told]

    def _halvings(self) -> list[str]:
        if self.preparation.shrink != "auto" or not self.halved:
            return []
        return [
            f"{len(self.halved)} JPEG photographs were averaged to half size before the 1/f "
            "whitening, which would amplify the noise of their compression (data.shrink=none keeps "
            "the full size)"
        ]

    def _pages(self) -> list[str]:
        pages = Counter(opener.name for opener in self._openers if opener.page is not None)
        if not pages:
            return []
        name, count = next(iter(pages.items()))
        if len(pages) == 1:
            return [f"{name} has {count} pages, each a picture of its own"]
        return [
            f"{len(pages)} files have several pages, {pages.total()} together, each a picture of "
            "its own"
        ]

    def _tell(self, name: str, notes: Sequence[str]) -> None:
        for note in notes:
            self._told.setdefault(note, {})[name] = None

    def get(self, k: int) -> Array | None:
        """Picture k prepared, float32 [h, w] or [h, w, c]; None when it is unusable.

        Raises DataError where one has other channels than those before it.
        """
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
        self._check_channels(values, self.names[k])
        self._tell(self.names[k], picture.notes)
        return values

    def _check_channels(self, values: Array, name: str) -> None:
        channels, first = self._channels = self._channels or (values.shape[2:], name)
        if values.shape[2:] != channels:
            one, other = ((*shape, 1)[0] for shape in (channels, values.shape[2:]))
            raise DataError(
                f"{first} has {one} channel{'s' * (one > 1)} a pixel, but {name} has {other}; "
                "pictures with bands need the same ones, so keep the others in a folder of their "
                "own"
            )

    def record(self, k: int) -> Record:
        """Where picture k came from: its file, and its page where that has several."""
        return self._openers[k].record

    def number(self, file: str, page: int | None = None) -> int:
        """Which picture a record names; without a page, the first of that file."""
        if page is None:
            return self.files.index(file)
        wanted = Opener(file, self._openers[0].open, page).title
        return self.names.index(wanted)

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


def openers_of_files(folder: Path, max_pixels: int, channels: str = "auto") -> list[Opener]:
    """The pictures below a folder, or those of one file: each page of a file is one."""
    paths = list_pictures(folder) if folder.is_dir() else [folder]
    root = folder if folder.is_dir() else folder.parent
    named, shared = [(path.relative_to(root).as_posix(), path) for path in paths], OneFile()
    return [o for name, path in named for o in _of_file(path, max_pixels, name, channels, shared)]


def _of_file(
    path: Path, max_pixels: int, name: str, channels: str, shared: OneFile
) -> list[Opener]:
    try:
        pages = pages_of_file(path, max_pixels, name, channels, shared)
    except BrokenPictureError as error:
        return [Opener(name, partial(_refuse, error))]
    return pages or [Opener(name, partial(read_picture, path, max_pixels, name, 0, channels))]


def _refuse(error: BrokenPictureError) -> Picture:
    raise error


def openers_of_arrays(
    pictures: Sequence[Array] | Array, name: str, channels: str = "auto"
) -> list[Opener]:
    """Pictures in memory or memory-mapped, [h, w] or [h, w, c] each."""

    named = [(f"{name}[{k}]", picture) for k, picture in enumerate(pictures)]
    return [Opener(name, partial(picture_of_array, one, name, channels)) for name, one in named]


def openers_of_images(
    images: Sequence[Image.Image], max_pixels: int, channels: str = "auto"
) -> list[Opener]:
    """Pillow's own objects; each frame of one that has several is a picture."""
    return [
        Opener(name, partial(_frame, image, max_pixels, name, channels, page), page)
        for name, image in ((f"picture {k}", image) for k, image in enumerate(images))
        for page in _frames(image)
    ]


def _frames(image: Image.Image) -> Sequence[int | None]:
    count = getattr(image, "n_frames", 1)
    return range(1, count + 1) if count > 1 and image.format != "MPO" else [None]


def _frame(
    image: Image.Image, max_pixels: int, name: str, channels: str, page: int | None
) -> Picture:
    """One frame of an image, which then stands where its owner left it."""
    if page is None:
        return read_picture(image, max_pixels, name, 0, channels)
    before = image.tell()
    try:
        with reasons(max_pixels):
            image.seek(page - 1)
        return read_picture(image, max_pixels, name, 0, channels)
    finally:
        image.seek(before)


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
    record = records_of(gallery, meta)
    return ArraySource(
        np.stack(pictures),
        kind="pictures",
        meta=Meta(len(kept), lambda i: record(kept[i])),
        notes=gallery.notes,
        skipped=gallery.skipped,
    )


def records_of(gallery: Gallery, meta: Meta | None) -> Callable[[int], Record]:
    """Where picture k came from, and what `meta` knows of it: one record a picture, or a file.

    Raises DataError for any other count of records.
    """
    if meta is None:
        return gallery.record
    files = {name: i for i, name in enumerate(dict.fromkeys(gallery.files))}
    if meta.n_records == len(gallery):
        return lambda k: gallery.record(k) | meta.record(k)
    if meta.n_records == len(files):
        return lambda k: gallery.record(k) | meta.record(files[gallery.files[k]])
    several = f" in {len(files)} files" if len(files) < len(gallery) else ""
    raise DataError(
        f"{meta.n_records} records of meta came for {len(gallery)} pictures{several}; one each is "
        "needed"
    )
