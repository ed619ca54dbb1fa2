"""Tiles of all latents on a few sheets, pixel by pixel, for a canvas to enlarge."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from simplecell.explorer.make.contents import Sprites
from simplecell.viz.grid import LARGEST, in_unit_range, signed_grey, unsigned_grey

Pixels = NDArray[np.uint8]
WIDEST_ROW = 64 * 64
BLUE, ORANGE = (31, 95, 168), (199, 92, 0)
"""Below and above 0: told apart by every eye, and in print."""


def save_sheets(tiles: Pixels, folder: Path) -> Sprites:
    """Write tiles [M, h, w, 3] as PNG sheets of at most 4096 pixels a side; where each lies.

    Tiles are row-major, without gaps.
    """
    m, h, w, _ = tiles.shape
    per_row = min(LARGEST // w, max(1, math.ceil(math.sqrt(m * h / w))))
    per_sheet = per_row * (LARGEST // h)
    names = []
    for k, first in enumerate(range(0, m, per_sheet)):
        names.append(f"sprites-{k}.png")
        _sheet(tiles[first : first + per_sheet], per_row).save(folder / names[k])
    return {"tile": [h, w], "per_row": per_row, "per_sheet": per_sheet, "sheets": names}


def _sheet(tiles: Pixels, per_row: int) -> Image.Image:
    n, h, w, _ = tiles.shape
    rows = -(-n // per_row)
    padded = np.zeros((rows * per_row, h, w, 3), dtype=np.uint8)
    padded[:n] = tiles
    whole = padded.reshape(rows, per_row, h, w, 3).swapaxes(1, 2).reshape(rows * h, -1, 3)
    return Image.fromarray(whole)


def weights_as_tiles(rows: NDArray[np.float64], shape: tuple[int, ...]) -> Pixels | None:
    """What excites each latent [M, D] as tiles [M, h, w, 3]; None for rows too wide to see.

    Pictures in grey, zero in the middle; bare rows as near-square fields of blue and orange.
    """
    if len(shape) > 1:
        return _three(signed_grey(rows.reshape(len(rows), shape[0], shape[1], -1)))
    if rows.shape[1] > WIDEST_ROW:
        return None
    width = math.ceil(math.sqrt(rows.shape[1]))
    height = -(-rows.shape[1] // width)
    field = np.zeros((len(rows), height * width))
    field[:, : rows.shape[1]] = rows
    return blue_orange(in_unit_range(field)).reshape(len(rows), height, width, 3)


def blue_orange(unit: NDArray[np.float64]) -> Pixels:
    """Colours [..., 3] of values in −1 … 1: white at 0."""
    ends = np.where((unit < 0)[..., None], BLUE, ORANGE)
    share = np.abs(unit)[..., None]
    return np.rint(255 + (ends - 255) * share).astype(np.uint8)


def sample_as_tile(values: NDArray[np.float64], shape: tuple[int, ...]) -> Pixels:
    """One sample [D] by its own extremes, uint8 [h, w] or [h, w, 3]."""
    picture = values.reshape(1, shape[0], shape[1], -1)
    return unsigned_grey(picture)[0].squeeze(-1) if len(shape) == 2 else unsigned_grey(picture)[0]


def _three(tiles: Pixels) -> Pixels:
    return np.repeat(tiles, 3, axis=3) if tiles.shape[3] == 1 else tiles
