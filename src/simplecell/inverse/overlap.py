"""Overlapping patches of one picture: cut out, and averaged back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from simplecell.errors import DataError, UsageError
from simplecell.inverse.priors import Prior
from simplecell.sparse_coding.settings import LARGE

CHUNK = 8192  # patches held at a time


def average(
    plane: Tensor,
    mask: NDArray[np.bool_] | None,
    prior: Prior,
    noise: float,
    side: int,
    stride: int,
) -> Tensor:
    """[h, w, c]: at each pixel the mean over all patches that hold it and saw something."""
    height, width, channels = plane.shape
    total = plane.new_zeros(height * width, channels)
    count = plane.new_zeros(height * width, 1)
    weights = None if mask is None else as_weights(mask, plane)
    for index in locate_chunks(cover((height, width), side, stride), side, width, plane.device):
        seen = None if weights is None else cut(weights, index)
        rebuilt = prior.rebuild(cut(plane, index), seen, noise)
        if seen is not None:
            some = seen.any(1)
            rebuilt, index = rebuilt[some], index[some]
        flat = index.reshape(-1)
        total.index_add_(0, flat, rebuilt.reshape(-1, channels))
        count.index_add_(0, flat, count.new_ones(len(flat), 1))
    mean = total / count.clamp_min(1)
    if not bool((count > 0).all()):  # a hole larger than a patch: the mean of what is known
        mean = torch.where(count > 0, mean, mean.sum(0) / (count > 0).sum())
    return mean.view(height, width, channels)


def side_of(n_inputs: int, shape: tuple[int, ...]) -> tuple[int, bool]:
    """The side of the prior's patches, and whether it takes the channels one by one."""
    height, width, channels = shape
    for depth in dict.fromkeys((channels, 1)):
        side = math.isqrt(n_inputs // depth)
        if side * side * depth == n_inputs and side <= min(height, width):
            return side, depth < channels
    raise UsageError(
        f"the prior is for patches of {n_inputs} numbers, which are no square that fits a picture "
        f"of {height}×{width} pixels with {channels} channels"
    )


def read_real(values: ArrayLike, name: str) -> NDArray[Any]:
    """The values as an array of real numbers, of their own type."""
    try:
        array: NDArray[Any] = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is no array of numbers: {error}") from error
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name} holds {array.dtype}, but real numbers are needed")
    return array


def read_mask(observed: ArrayLike) -> NDArray[np.bool_]:
    """True where a pixel counts; at least one does."""
    values = read_real(observed, "observed")
    if not any(np.isin(values, (0, yes)).all() for yes in (1, 255)):
        raise DataError(
            "observed has values that are neither true nor false (0 and 1, or 0 and 255); compare "
            "them first, such as np.isfinite(picture)"
        )
    if not values.any():
        raise DataError("no pixel is observed: there is nothing to fill in from")
    return values.astype(bool)


def read_pixels(picture: ArrayLike, mask: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """[h, w] or [h, w, 3] in float64, finite; what the mask hides becomes the mean of the rest."""
    pixels = read_real(picture, "the picture").astype(float)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)):
        raise DataError(f"a picture is [h, w] or [h, w, 3]; this one has shape {pixels.shape}")
    if mask is not None:
        if mask.shape != pixels.shape[:2]:
            raise DataError(
                f"observed has shape {mask.shape}, but the picture is {pixels.shape[:2]}: one "
                "value a pixel is needed"
            )
        pixels[~mask] = pixels[mask].mean(0)
    if not np.isfinite(pixels).all():
        raise DataError("the picture has pixels that are not finite; say so in `observed`")
    if (largest := float(np.abs(pixels).max(initial=0.0))) >= LARGE:
        raise DataError(
            f"the picture has pixels as large as {largest:g}, but the work is done in float32, "
            f"which takes less than {LARGE:g}; scale it, such as to 0 … 1"
        )
    return pixels


def as_weights(mask: NDArray[np.bool_], like: Tensor) -> Tensor:
    """The mask as numbers [h, w, c]."""
    return torch.from_numpy(mask).to(like)[:, :, None].expand(*mask.shape, like.shape[2])


def cover(size: tuple[int, ...], side: int, stride: int) -> NDArray[np.int64]:
    """Upper left corners [n, 2] of patches that cover the whole picture."""
    axes = [np.append(np.arange(0, s - side, stride), s - side) for s in size[:2]]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)


def locate_chunks(
    places: NDArray[np.int64], side: int, width: int, device: torch.device
) -> Iterator[Tensor]:
    for start in range(0, len(places), CHUNK):
        yield locate(places[start : start + CHUNK], side, width, device)


def locate(places: NDArray[np.int64], side: int, width: int, device: torch.device) -> Tensor:
    """Pixel numbers [n, side²] of the patches at these places."""
    within = np.arange(side)
    rows = places[:, 0, None, None] + within[:, None]
    columns = places[:, 1, None, None] + within
    return torch.from_numpy((rows * width + columns).reshape(len(places), -1)).to(device)


def cut(pixels: Tensor, index: Tensor) -> Tensor:
    """Patches [n, side² c] of a picture [h, w, c], channels last."""
    return pixels.reshape(-1, pixels.shape[2])[index].flatten(1)
