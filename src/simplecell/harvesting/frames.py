"""Where places of a layer lie in a picture: the part that a model saw, measured, and its grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from simplecell.data.rows import Record

Transform = Callable[[Any], Any]
"""From a picture (of Pillow, RGB) to what the model is given of it, a tensor [c, h, w]."""
Spot = int | str | Sequence[int]
BOX = ("top", "left", "height", "width")
_FEWEST = 8
"""Pixels of a side from which a ramp says where a transform cut."""
_OFF = 0.01
"""How far, as a share of a side, a transform may move pixels otherwise than by cut and resize."""

_LEVEL = 1 / 255
"""What a ramp of 8 bits tells apart, as a share of a side."""


class Frame(NamedTuple):
    """The part of a picture that a model sees, in pixels of the upright file."""

    top: float
    left: float
    height: float
    width: float

    def box(self, spot: Sequence[int], sides: Sequence[int]) -> Record:
        """The part of it that one place (y, x) of a grid stands for."""
        tall, wide = self.height / sides[0], self.width / sides[1]
        told = (self.top + spot[0] * tall, self.left + spot[1] * wide, tall, wide)
        return {name: _short(value) for name, value in zip(BOX, told, strict=True)}


@dataclass(frozen=True)
class Boxes:
    """Where the places of a layer lie in each sample's picture."""

    frame: Callable[[int], Frame | None]
    """Of a sample; None where nobody can tell."""
    sides: tuple[int, int]

    def at(self, frame: Frame | None, spot: Spot) -> Record:
        """The box of a place; nothing where there is none, as of a class token."""
        if frame is None or isinstance(spot, int | str) or len(spot) != 2:
            return {}
        return frame.box(spot, self.sides)


class Ruler:
    """Measures which part of a picture a transform keeps, by pictures that are ramps.

    A transform is a program: what it cuts is read from what becomes of a picture whose brightness
    grows from left to right, and of one that grows from top to bottom. One that turns, bends or
    mirrors has no frame.
    """

    def __init__(self, transform: Transform) -> None:
        self._transform = transform
        self._known: dict[tuple[int, int], Frame | None] = {}
        self._ends: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def frame(self, size: tuple[int, int]) -> Frame | None:
        """Of pictures of (width, height) pixels; None where it cannot be told."""
        if size not in self._known:
            self._known[size] = self._measured(*size) if min(size) >= _FEWEST else None
        return self._known[size]

    def _measured(self, width: int, height: int) -> Frame | None:
        across = np.tile(_ramp(width), (height, 1))
        down = np.tile(_ramp(height)[:, None], (1, width))
        x, y = self._along(across, 1, width), self._along(down, 0, height)
        if x is None or y is None:
            return None
        return Frame(y[0] * height, x[0] * width, y[1] * height, x[1] * width)

    def _along(self, ramp: NDArray[np.float64], axis: int, side: int) -> tuple[float, float] | None:
        """(start, length) of what is kept of an axis, as shares of it."""
        black, white = self._ends_of()
        levels = (self._values(ramp) - black) / (white - black)
        share, other = levels.mean(0), 1 - axis
        line = share.mean(other)
        if np.abs(share - np.expand_dims(line, other)).max() > _OFF + 1 / side:
            return None
        place = (np.arange(len(line)) + 0.5) / len(line)
        inner = (line > 1 / side) & (line < 1 - 1 / side)  # enlarging is level at the ends
        if inner.sum() < 2:
            return None
        slope, start = np.polyfit(place[inner], line[inner], 1)
        off = np.abs(start + slope * place[inner] - line[inner]).max()
        if slope <= 0 or off > _OFF + 1 / side:
            return None
        first, last = (_at_edge(float(end)) for end in (start, start + slope))
        return first, last - first

    def _ends_of(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What becomes of black and of white, [c, 1, 1]."""
        if self._ends is None:
            found = [self._values(np.full((64, 64), level)) for level in (0.0, 1.0)]
            black, white = (one[:, one.shape[1] // 2, one.shape[2] // 2] for one in found)
            apart = np.where(white == black, np.nan, white)
            self._ends = black[:, None, None], apart[:, None, None]
        return self._ends

    def _values(self, levels: NDArray[np.float64]) -> NDArray[np.float64]:
        image = Image.fromarray(np.rint(levels * 255).astype(np.uint8)).convert("RGB")
        given: Tensor = self._transform(image)
        return given.double().numpy()


def _at_edge(share: float) -> float:
    """An end of what is kept; at an edge of the picture where it is as near as 8 bits can tell."""
    near = float(np.clip(round(share), 0, 1))
    return near if abs(share - near) < _LEVEL else share


def _ramp(side: int) -> NDArray[np.float64]:
    return (np.arange(side) + 0.5) / side


def _short(value: float) -> float:
    """Tenths of a pixel; whole ones without a point."""
    told = round(value, 1)
    return int(told) if told == int(told) else told
