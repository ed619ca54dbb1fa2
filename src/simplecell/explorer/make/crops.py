"""What excites a latent most, cut from the pictures that a model's rows were made of: its tile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from simplecell.data import Source
from simplecell.data.photographs import HasPhotographs
from simplecell.data.rows import Record
from simplecell.explorer.make.samples import BOX, Named, named

CELL, SHOWN = 40, 4
"""Pixels of a side of one part, and how many a tile has, two by two."""
AROUND = 3.0
"""How many times its own side a part is shown, so that one sees what it is a part of."""
_PAPER = 235
"""Grey of a cell without a picture."""

Pixels = NDArray[np.uint8]


def crops_as_tiles(
    source: Source, pictures: HasPhotographs, rows: Sequence[Sequence[int]]
) -> Pixels:
    """Tiles [M, h, w, 3] of the parts of pictures that the first rows of each latent are from."""
    tiles = np.full((len(rows), 2 * CELL, 2 * CELL, 3), _PAPER, dtype=np.uint8)
    wanted: dict[Named, list[tuple[int, int, Record]]] = defaultdict(list)
    for latent, own in enumerate(rows):
        told = source.about(np.array(own, dtype=np.int64)) if len(own) else []
        for cell, about in enumerate(_various(told)):
            name = named(about)
            assert name is not None
            wanted[name].append((latent, cell, about))
    for name, cells in wanted.items():  # each is decoded once
        picture = pictures.photograph(*name)
        for latent, cell, about in cells if picture is not None else ():
            assert picture is not None
            y, x = (CELL * k for k in divmod(cell, 2))
            tiles[latent, y : y + CELL, x : x + CELL] = _cut(picture, about)
    return tiles


def _various(told: Sequence[Record]) -> list[Record]:
    """The first few, of different pictures as far as there are any: neighbours look alike."""
    first: dict[Named, Record] = {}
    others: list[Record] = []
    for about in told:
        name = named(about)
        if name is None:
            continue
        if name in first:
            others.append(about)
        first.setdefault(name, about)
    return [*first.values(), *others][:SHOWN]


def _cut(picture: Image.Image, about: Record) -> Pixels:
    """A part of a picture with what lies around it, or all of it where no part is told."""
    box = [about.get(key) for key in BOX]
    width, height = picture.size
    if all(isinstance(side, int | float) for side in box):
        top, left, tall, wide = (float(side) for side in box)  # type: ignore[arg-type]
        side = min(AROUND * max(tall, wide), float(max(width, height)))
        middle = top + tall / 2, left + wide / 2
    else:
        side, middle = float(min(width, height)), (height / 2, width / 2)
    y, x = (_inside(at, side, size) for at, size in zip(middle, (height, width), strict=True))
    corners = (max(0.0, x), max(0.0, y), min(float(width), x + side), min(float(height), y + side))
    cell = picture.convert("RGB").resize((CELL, CELL), Image.Resampling.BILINEAR, box=corners)
    return np.asarray(cell)


def _inside(middle: float, side: float, size: int) -> float:
    """Where a square begins that is centred as well as it can be without leaving the picture."""
    return min(max(0.0, middle - side / 2), max(0.0, size - side))
