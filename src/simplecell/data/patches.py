"""Patches: small squares cut from pictures, at random places or edge to edge.

Random patch i is a pure function of (seed, i) and of the pictures: it does not depend on how many
patches are asked for, so a longer run starts with the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL.Image import Image

from simplecell.data.images import Gallery, as_image, records_of
from simplecell.data.rows import (
    Array,
    Meta,
    Record,
    Rows,
    Source,
    check_finite,
    positions,
)

_PICTURE, _TOP, _LEFT = 0, 1, 2
_STREAMS = 4


@dataclass(frozen=True)
class Patches:
    """Values [n, patch·patch(·c)] float32 and where they come from: picture, top, left [n]."""

    values: Array
    picture: Array
    top: Array
    left: Array

    def __getitem__(self, rows: slice) -> Patches:
        return Patches(self.values[rows], self.picture[rows], self.top[rows], self.left[rows])


class PatchSource(Source):
    """Patches in memory, each knowing its file, top and left.

    `held_out` is a source of further patches of the same pictures, for `split`.
    """

    def __init__(
        self,
        patches: Patches,
        gallery: Gallery,
        *,
        held_out: PatchSource | None = None,
        meta: Meta | None = None,
    ) -> None:
        self._patches, self._gallery = patches, gallery
        self._record = records_of(gallery, meta)
        self.held_out = held_out
        self.kind = "patches"
        self.n_samples, self.n_inputs = patches.values.shape
        side = gallery.preparation.patch
        channels = self.n_inputs // (side * side)
        self.shape = (side, side) if channels == 1 else (side, side, channels)
        self.labels = self.columns = None
        self.input_names = None if channels in (1, 3) else _names(*self.shape)
        self.skipped, self.notes = gallery.skipped, gallery.notes

    @property
    def several_pages(self) -> bool:
        """Whether some file has several pages, which `about` then tells apart."""
        return any("page" in self._gallery.record(k) for k in range(len(self._gallery)))

    def read(self, rows: Rows) -> Array:
        x = np.array(self._patches.values[rows])
        check_finite(x, positions(rows, self.n_samples), "the patches", None)
        return x

    def photograph(self, file: str, page: int | None = None) -> Image:
        """The picture that a record of `about` names, upright and unprepared, as `as_image`."""
        return as_image(self._gallery.original(self._gallery.number(file, page)))

    def about(self, rows: Rows) -> list[Record]:
        """File, page where it has several, top and left in pixels of the upright picture;
        "scale": 2 where it was halved."""
        return [self._about(int(i)) for i in positions(rows, self.n_samples)]

    def _about(self, i: int) -> Record:
        k = int(self._patches.picture[i])
        scale = self._gallery.scale(k)
        place = {"top": int(self._patches.top[i]) * scale}
        place["left"] = int(self._patches.left[i]) * scale
        place |= {"scale": scale} if scale > 1 else {}
        record = self._record(k)
        return self._gallery.record(k) | place | record


def _names(height: int, width: int, bands: int) -> list[str]:
    """What the inputs of a patch with bands are called."""
    places = ((r, c, b) for r in range(height) for c in range(width) for b in range(bands))
    return [f"row {r}, column {c}, band {b}" for r, c, b in places]


def random_patches(
    gallery: Gallery,
    n_patches: int,
    *,
    held_out: float = 0.1,
    seed: int = 0,
    meta: Meta | None = None,
) -> PatchSource:
    """`n_patches` to train on and ⌈held_out · n_patches⌉ more, of the following numbers i.

    A picture first, all alike, then a place in it, all alike. Where the picture is unusable the
    patch draws again. Only pictures that are drawn are read, one at a time; one is read twice only
    when patches of an unusable one fall back on it.
    Raises DataError when every picture is broken or smaller than a patch.
    """
    extra = math.ceil(held_out * n_patches - 1e-9)  # 0.1 · 70 is 7.000000000000001
    patches = _draw(gallery, n_patches + extra, seed)
    after = PatchSource(patches[n_patches:], gallery, meta=meta) if extra else None
    return PatchSource(patches[:n_patches], gallery, held_out=after, meta=meta)


def _draw(gallery: Gallery, n: int, seed: int) -> Patches:
    patch, attempt = gallery.preparation.patch, np.zeros(n, dtype=np.uint64)
    picture = _number(seed, np.arange(n), attempt, _PICTURE, len(gallery))
    top, left = np.zeros((2, n), dtype=np.int64)
    values: Array | None = None
    waiting = np.arange(n)
    while len(waiting):
        for k, mine in _by_picture(picture, waiting):
            pixels = gallery.get(k)
            if pixels is None:
                continue
            h, w = pixels.shape[:2]
            top[mine] = _number(seed, mine, attempt[mine], _TOP, h - patch + 1)
            left[mine] = _number(seed, mine, attempt[mine], _LEFT, w - patch + 1)
            cut = _cut(pixels, top[mine], left[mine], patch)
            if values is None:
                values = np.empty((n, cut.shape[1]), dtype=np.float32)
            values[mine] = cut
        if len(gallery.unusable) == len(gallery):
            raise gallery.refuse()
        unusable = np.zeros(len(gallery), dtype=bool)
        unusable[list(gallery.unusable)] = True
        waiting = again = waiting[unusable[picture[waiting]]]
        while len(again):
            attempt[again] += np.uint64(1)
            picture[again] = _number(seed, again, attempt[again], _PICTURE, len(gallery))
            again = again[unusable[picture[again]]]
    assert values is not None
    return Patches(values, picture, top, left)


def _by_picture(picture: Array, waiting: Array) -> Iterator[tuple[int, Array]]:
    """(k, the waiting patches of picture k), k ascending."""
    order = waiting[np.argsort(picture[waiting], kind="stable")]
    numbers, starts = np.unique(picture[order], return_index=True)
    for k, mine in zip(numbers, np.split(order, starts[1:]), strict=True):
        yield int(k), mine


def _cut(pixels: Array, top: Array, left: Array, patch: int) -> Array:
    """Patches [k, patch·patch(·c)] at the given places, row-major, channels last."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (patch, patch), axis=(0, 1))
    cut = windows[top, left]
    if cut.ndim == 4:
        cut = np.moveaxis(cut, 1, -1)
    return cut.reshape(len(top), -1)


def _number(seed: int, i: Array, attempt: Array, stream: int, below: int) -> Array:
    """Numbers in 0 … below−1, [n] int64, from counters alone. Source: Steele et al. 2014."""
    state = _mix(np.full(1, seed % 2**64, dtype=np.uint64))
    state = _mix(state ^ i.astype(np.uint64))
    state = _mix(state ^ (attempt * np.uint64(_STREAMS) + np.uint64(stream)))
    return (state % np.uint64(below)).astype(np.int64)


def _mix(state: Array) -> Array:
    """SplitMix64's step: a bijection of 64 bits that leaves no visible pattern."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))


def tiles(gallery: Gallery, *, meta: Meta | None = None) -> PatchSource:
    """Every patch of a grid that starts at the top left, picture by picture, row by row.

    Raises DataError when every picture is broken or smaller than a patch.
    """
    parts: list[Patches] = []
    for k in range(len(gallery)):
        pixels = gallery.get(k)
        if pixels is not None:
            parts.append(_tiles_of(pixels, k, gallery.preparation.patch))
    if not parts:
        raise gallery.refuse()
    columns = [(part.values, part.picture, part.top, part.left) for part in parts]
    return PatchSource(
        Patches(*(np.concatenate(column) for column in zip(*columns, strict=True))),
        gallery,
        meta=meta,
    )


def _tiles_of(pixels: Array, k: int, patch: int) -> Patches:
    h, w = pixels.shape[:2]
    down, across = np.arange(0, h - patch + 1, patch), np.arange(0, w - patch + 1, patch)
    top, left = np.repeat(down, len(across)), np.tile(across, len(down))
    return Patches(_cut(pixels, top, left, patch), np.full(len(top), k), top, left)
