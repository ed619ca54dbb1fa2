"""A gallery: pictures read one at a time and prepared alike, the broken ones remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL.Image import Image

from simplecell.data.images import (
    BrokenPictureError,
    Picture,
    halve,
    list_pictures,
    picture_of_array,
    read_picture,
    to_grey,
    whiten_1_over_f,
)
from simplecell.data.rows import Array, ArraySource, Meta, Skipped
from simplecell.errors import DataError

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
            self._largest = max(self._largest or (0, 0, ""), (h, w, self.names[k]), key=_area)
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
        w, h, name = self._largest[1], self._largest[0], self._largest[2]
        patch = self.preparation.patch
        return DataError(
            f"a patch of {patch}x{patch} pixels fits in none of the {len(self)} pictures; the "
            f"largest is {w}x{h} ({name}); choose a smaller patch"
        )


def _area(size: tuple[int, int, str]) -> int:
    return size[0] * size[1]


def openers_of_files(folder: Path, max_pixels: int) -> list[Opener]:
    """The pictures below a folder, or the one picture that a file is."""
    paths = list_pictures(folder) if folder.is_dir() else [folder]
    root = folder if folder.is_dir() else folder.parent

    def opener(path: Path) -> Opener:
        name = path.relative_to(root).as_posix()
        return Opener(name, lambda: read_picture(path, max_pixels, name))

    return [opener(path) for path in paths]


def openers_of_arrays(pictures: Sequence[Array] | Array, name: str) -> list[Opener]:
    """Pictures in memory or memory-mapped, [h, w] or [h, w, c] each."""

    def opener(k: int) -> Opener:
        return Opener(f"{name}[{k}]", lambda: picture_of_array(pictures[k], f"{name}[{k}]"))

    return [opener(k) for k in range(len(pictures))]


def openers_of_images(images: Sequence[Image], max_pixels: int) -> list[Opener]:
    """Pillow's own objects."""

    def opener(k: int) -> Opener:
        return Opener(f"picture {k}", lambda: read_picture(images[k], max_pixels, f"picture {k}"))

    return [opener(k) for k in range(len(images))]


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
