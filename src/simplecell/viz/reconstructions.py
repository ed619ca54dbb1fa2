"""Reconstructions as a picture: input above output above their difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from simplecell.errors import UsageError
from simplecell.viz.grid import (
    INK,
    WIDTH,
    Pixels,
    as_pictures,
    blank,
    caption,
    font,
    largest_fitting,
    paste,
    positive,
    screen_gap,
    signed_grey,
    unsigned_grey,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

PAD = 12  # pixels around the text
LINE = 18  # pixels of a line of text
NUMBER = 22  # pixels below a difference, for its size


def rows_of_tiles(
    groups: Sequence[ArrayLike],
    shape: Sequence[int],
    titles: Sequence[str] = ("input", "output", "difference"),
    *,
    columns: int | None = None,
    gap: int = 1,
    zoom: int | None = None,
    signed: bool = False,
) -> Image.Image:
    """Picture of input, output and difference, three arrays [n, D]: a column per sample.

    Input and output of a column share one scale (unsigned; `signed` for data around zero). The
    difference has its own signed scale, and the number below is its max|v|, in input units.
    Columns beyond the width go into further bands. Other parameters and errors as in `tiles`.
    """
    if len(groups) != 3 or len(titles) != 3:
        raise UsageError(
            f"{len(groups)} groups with {len(titles)} titles came, but a reconstruction is "
            "three of each: input, output, difference"
        )
    pictures = [as_pictures(g, shape, t) for g, t in zip(groups, titles, strict=True)]
    if len({len(p) for p in pictures}) > 1:
        counts = ", ".join(f"{t} {len(p)}" for t, p in zip(titles, pictures, strict=True))
        raise UsageError(f"groups differ in their number of rows ({counts}); give the same samples")
    n, height, width, _ = pictures[0].shape
    shared = np.concatenate(pictures[:2], axis=2)  # side by side: one scale for the pair
    pair = signed_grey(shared) if signed else unsigned_grey(shared)
    rows = [pair[:, :, :width], pair[:, :, width:], signed_grey(pictures[2])]
    legend = (
        f"{titles[0]} and {titles[1]} of a column share one scale",
        f"{titles[2]}: its own scale, mid-grey is 0; the number is its largest size",
    )
    margin = 2 * PAD + math.ceil(max(font(13).getlength(title) for title in titles))
    least = 2 * PAD + math.ceil(max(font(12).getlength(line) for line in legend))
    at = partial(_Bands, n, height, width, gap, columns, margin, least)
    if zoom is None:
        side = min(112, max(56, (WIDTH - margin) // n))  # few samples are shown larger
        zoom = largest_fitting(max(1, round(side / width)), lambda zoom: at(zoom).size)
    bands = at(positive(zoom, "zoom"))
    sizes = np.abs(pictures[2]).max(axis=(1, 2, 3))
    return _draw(bands, rows, [f"{size:.2g}" for size in sizes], titles, legend)


class _Bands:
    """Where the tile of row r and column i lies, in screen pixels, at one zoom.

    `margin` is left of the tiles, for the titles; `least` is the width that the legend needs.
    """

    def __init__(
        self,
        n: int,
        height: int,
        width: int,
        gap: int,
        columns: int | None,
        margin: int,
        least: int,
        zoom: int,
    ) -> None:
        self.n, self.zoom, self.margin, self.least = n, zoom, margin, least
        self.height, self.width, self.gap = height * zoom, width * zoom, screen_gap(gap, zoom)
        self.band = 3 * (self.height + self.gap) + NUMBER
        fitting = max(1, (WIDTH - margin) // (self.width + self.gap))
        even = -(-n // -(-n // fitting))  # bands of one length: none with a sample or two
        self.columns = even if columns is None else min(n, positive(columns, "columns"))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the whole picture."""
        count = -(-self.n // self.columns)
        width = self.margin + self.columns * (self.width + self.gap) + PAD
        return PAD + count * (self.band + PAD) + 2 * LINE + PAD, max(width, self.least)

    def corner(self, row: int, i: int) -> tuple[int, int]:
        """(left, top) of a tile."""
        band, column = divmod(i, self.columns)
        left = self.margin + column * (self.width + self.gap)
        return left, PAD + band * (self.band + PAD) + row * (self.height + self.gap)


def _draw(
    bands: _Bands,
    rows: Sequence[Pixels],
    numbers: Sequence[str],
    titles: Sequence[str],
    legend: Sequence[str],
) -> Image.Image:
    canvas = blank(*bands.size)
    for row, pictures in enumerate(rows):
        for i, tile in enumerate(pictures):
            paste(canvas, tile, bands.zoom, *bands.corner(row, i))
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for first in range(0, bands.n, bands.columns):
        for row, title in enumerate(titles):
            _, top = bands.corner(row, first)
            draw.text((PAD, top + bands.height / 2 - 8), title, font=font(13), fill=INK)
    for i, number in enumerate(numbers):
        left, top = bands.corner(2, i)
        caption(image, number, left + bands.width / 2, top + bands.height, bands.width + bands.gap)
    for line, text in enumerate(legend):
        top = bands.size[0] - PAD - (2 - line) * LINE
        draw.text((PAD, top), text, font=font(12), fill=INK)
    return image
