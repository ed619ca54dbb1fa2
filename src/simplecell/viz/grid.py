"""Arrays in, picture out: latents, atoms and samples as tiles on a grid.

Two scales, both per tile unless `shared`, so that a weak latent is seen as well as a strong one:
signed (weights): grey = 127.5 (1 + v / max|v|), so zero is mid-grey and the sign is seen;
unsigned (data): grey = 255 (v - min) / (max - min).
A colour tile has one scale for its three channels, which keeps its hue.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from simplecell.errors import DataError, UsageError
from simplecell.viz.style import check_count

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

WIDTH = 800  # a default picture is about this wide, in pixels
LARGEST = 4096  # pixels a side: what every browser and viewer still shows
GAP = (30, 52, 90)  # a blue: no grey tile can be mistaken for the gap
INK = (238, 243, 250)
CAPTION = 18  # pixels that a label below a tile takes
FLAT = 1e-6  # a spread below this share of the largest value is rounding, not a picture

Pixels = NDArray[np.uint8]


def tiles(
    values: ArrayLike,
    shape: Sequence[int],
    *,
    columns: int | None = None,
    gap: int = 1,
    zoom: int | None = None,
    signed: bool = True,
    shared: bool = False,
    labels: Sequence[str] | None = None,
) -> Image.Image:
    """Picture of `values` [n, D], one tile a row, each scaled by its own extremes.

    `shape` is (h, w) or (h, w, 3) with h·w·c = D: row-major, channels last. `gap` is in source
    pixels and never under two on the screen; `zoom` is the whole number of screen pixels per
    source pixel, by default what makes the picture about 800 pixels wide. A signed tile that is
    zero everywhere and an unsigned tile that is constant are mid-grey. `shared` gives all tiles
    one scale, which samples of data need to compare. `labels` go below.

    Raises `UsageError` when the sizes do not fit or the picture would exceed 4096 pixels a side
    (`most_tiles` says how many fit), `DataError` when a value is not finite.

    >>> tiles(np.eye(4), (2, 2), zoom=4).size
    (28, 28)
    """
    pictures = as_pictures(values, shape, "values")
    n, height, width, _ = pictures.shape
    if labels is not None:
        check_count("labels", len(labels), "values", n)
    columns = _columns(n, width, gap) if columns is None else positive(columns, "columns")
    grid = _Grid(n, columns, height, width, gap, caption=0 if labels is None else CAPTION)
    zoom = grid.default_zoom() if zoom is None else positive(zoom, "zoom")
    canvas = blank(*grid.size(zoom))
    # stacked into one tall picture, tiles share their scale
    scaled = pictures.reshape(1, n * height, width, -1) if shared else pictures
    shades = signed_grey(scaled) if signed else unsigned_grey(scaled)
    for i, tile in enumerate(shades.reshape(pictures.shape)):
        paste(canvas, tile, zoom, *grid.corner(zoom, i))
    image = Image.fromarray(canvas)
    for i, label in enumerate(labels or ()):
        left, top = grid.corner(zoom, i)
        caption(image, label, left + width * zoom / 2, top + height * zoom, width * zoom)
    return image


def near_square(n: int) -> int:
    """Columns for n tiles: √n when whole, else a divisor of n near above √n, else just above.

    Source: UFLDL starter code, `display_network.m`. Differs: there a search that finds no
    divisor up to 1.2 √n keeps the last number tried, here the first.

    >>> [near_square(n) for n in (1, 25, 100, 12, 20, 30, 7)]
    [1, 5, 10, 4, 5, 6, 3]
    """
    root = math.isqrt(n)
    if root * root == n:
        return max(1, root)
    near = range(root + 1, int(1.2 * math.sqrt(n)) + 1)
    return next((columns for columns in near if n % columns == 0), root + 1)


def most_tiles(shape: Sequence[int], *, gap: int = 1, labels: bool = False) -> int:
    """How many tiles surely fit in one picture (*count*): where a caller cuts a long list.

    >>> most_tiles((28, 28))
    18496
    """
    shape, between = sample_shape(shape), screen_gap(gap, 1)
    side = max(shape[0] + (CAPTION if labels else 0), shape[1]) + between
    return max(1, (LARGEST - between) // side) ** 2


def _columns(n: int, width: int, gap: int) -> int:
    """Nearly square, but no more than fit: a divisor above √n may be too many."""
    between = screen_gap(gap, 1)
    return min(near_square(n), max(1, (LARGEST - between) // (width + between)))


@dataclass(frozen=True)
class _Grid:
    """Where tile i lies, in screen pixels, for every zoom."""

    n: int
    columns: int
    height: int
    width: int
    gap: int
    caption: int

    def size(self, zoom: int) -> tuple[int, int]:
        """(height, width) of the whole picture."""
        width, height = self._place(zoom, -(-self.n // self.columns), min(self.columns, self.n))
        return height, width

    def corner(self, zoom: int, i: int) -> tuple[int, int]:
        """(left, top) of tile i."""
        return self._place(zoom, *divmod(i, self.columns))

    def _place(self, zoom: int, row: int, column: int) -> tuple[int, int]:
        gap = screen_gap(self.gap, zoom)
        return (
            gap + column * (self.width * zoom + gap),
            gap + row * (self.height * zoom + self.caption + gap),
        )

    def default_zoom(self) -> int:
        columns = min(self.columns, self.n)
        zoom = round(WIDTH / (columns * (self.width + self.gap) + self.gap))
        least = 4 if max(self.height, self.width) <= 16 else 1
        if self.caption:
            least = max(least, -(-48 // self.width))  # room for a few letters
        return largest_fitting(max(zoom, least), self.size)


def largest_fitting(zoom: int, size: Callable[[int], tuple[int, int]]) -> int:
    """The zoom, or the largest below it whose picture of `size` is drawn; 1 at least."""
    while zoom > 1 and max(size(zoom)) > LARGEST:
        zoom -= 1
    return zoom


def as_pictures(values: ArrayLike, shape: Sequence[int], name: str) -> NDArray[np.float64]:
    """The rows of `values` as pictures [n, h, w, c], checked and finite."""
    array: NDArray[np.generic] = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise UsageError(f"{name} holds {array.dtype}, but pictures are made of real numbers")
    shape = sample_shape(shape)
    if array.ndim != 2 or len(array) == 0:
        raise UsageError(f"{name} has shape {array.shape}, but needs one tile a row: (n, D), n > 0")
    if array.shape[1] != math.prod(shape):
        raise UsageError(
            f"{name} has {array.shape[1]} columns, but shape {shape} needs {math.prod(shape)}"
        )
    pixels = array.astype(np.float64)
    finite = np.isfinite(pixels)
    if not finite.all():
        raise DataError(
            f"{name} has {np.count_nonzero(~finite)} values that are not finite, "
            f"the first in row {int(np.argmin(finite.all(axis=1)))}; pictures need finite numbers"
        )
    return pixels.reshape(len(pixels), shape[0], shape[1], -1)


def side_by_side(
    rows: NDArray[np.floating], shape: Sequence[int]
) -> tuple[NDArray[np.floating], tuple[int, ...]]:
    """Bands [n, h·w·c] as grey pictures in one row, (h, c·w); grey and colours as they are."""
    if len(shape) != 3 or shape[2] in (1, 3):
        return rows, tuple(shape)
    height, width, bands = shape
    beside = rows.reshape(-1, height, width, bands).transpose(0, 1, 3, 2)
    return beside.reshape(len(rows), -1), (height, bands * width)


def sample_shape(shape: object) -> tuple[int, ...]:
    """(h, w) or (h, w, c) in Python's own whole numbers, checked."""
    sizes = tuple(shape) if isinstance(shape, tuple | list | np.ndarray) else ()
    fits = len(sizes) in (2, 3) and all(is_whole(size) and size >= 1 for size in sizes)
    if not fits or (len(sizes) == 3 and sizes[2] not in (1, 3)):
        raise UsageError(f"shape is {shape!r}, but a tile is (h, w) or (h, w, 3)")
    return tuple(int(size) for size in sizes)


def is_whole(number: object) -> bool:
    """Whether it is an integer of any kind; True and False are none."""
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def signed_grey(pictures: NDArray[np.float64]) -> Pixels:
    """127.5 (1 + v / max|v|) for each picture; all zero is mid-grey."""
    return _whole(127.5 * (1 + in_unit_range(pictures)))


def unsigned_grey(pictures: NDArray[np.float64]) -> Pixels:
    """255 (v - min) / (max - min) for each picture; constant is mid-grey."""
    unit = in_unit_range(pictures)
    low = unit.min(axis=(1, 2, 3), keepdims=True)
    spread = unit.max(axis=(1, 2, 3), keepdims=True) - low
    half = np.full_like(unit, 0.5)
    return _whole(255 * np.divide(unit - low, spread, out=half, where=spread > FLAT))


def in_unit_range(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """v / max|v| for each picture [n, …]; all zero stays zero."""
    largest = np.abs(pictures).max(axis=tuple(range(1, pictures.ndim)), keepdims=True)
    return np.divide(pictures, largest, out=np.zeros_like(pictures), where=largest > 0)


def _whole(grey: NDArray[np.float64]) -> Pixels:
    pixels: Pixels = np.rint(grey).astype(np.uint8)
    return pixels


def positive(number: int, name: str) -> int:
    if not is_whole(number) or number < 1:
        raise UsageError(f"{name} is {number!r}, but it must be a whole number of at least 1")
    return number


def screen_gap(gap: int, zoom: int) -> int:
    """A gap is seen even between tiles that are not enlarged."""
    if not is_whole(gap) or gap < 0:
        raise UsageError(f"gap is {gap!r}, but it must be a whole number of at least 0")
    return max(2, gap * zoom)


def blank(height: int, width: int) -> Pixels:
    if max(height, width) > LARGEST:
        raise UsageError(
            f"the picture would be {width}×{height} pixels, but at most {LARGEST} a side are "
            "drawn; show fewer tiles or take a smaller zoom"
        )
    return np.full((height, width, 3), GAP, dtype=np.uint8)


def paste(canvas: Pixels, tile: Pixels, zoom: int, left: int, top: int) -> None:
    """One tile, enlarged by repeating its pixels; grey fills the three channels."""
    large = tile.repeat(zoom, axis=0).repeat(zoom, axis=1)
    canvas[top : top + large.shape[0], left : left + large.shape[1]] = large


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans, which matplotlib carries, for its Greek, Cyrillic and accents; else Pillow's.

    The file is looked up without importing matplotlib.
    """
    spec = find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
        if file.is_file():
            return ImageFont.truetype(file, size)
    return ImageFont.load_default(size)


def caption(image: Image.Image, text: str, middle: float, top: float, width: float) -> None:
    """A line of text below a tile, cut with an ellipsis where the tile ends."""
    letters = font(11)
    text = " ".join(str(text).split())
    if letters.getlength(text) > width:
        while text and letters.getlength(text + "…") > width:
            text = text[:-1]
        text += "…"
    left = middle - letters.getlength(text) / 2
    ImageDraw.Draw(image).text((round(left), top + 3), text, font=letters, fill=INK)
