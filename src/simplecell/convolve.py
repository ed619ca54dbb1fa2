"""Convolution and pooling: what a trained patch model finds everywhere in whole pictures.

`code[n, i, j] = f(W T (x − x̄) + b)`, x the patch of picture n whose top left is at
(i · stride, j · stride); then the mean or the maximum over regions of places. The preparation is
folded into the filters, `f((W T) x + (b − W T x̄))`, wherever it is affine.

Source: UFLDL, Feature extraction using convolution; Pooling. Exact, save for `regions`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.activations import Activation
from simplecell.errors import DataError, UsageError, unknown
from simplecell.model import Layer, Model
from simplecell.preprocess import Preprocess
from simplecell.trained import Trained

MAX_BYTES = 2**25
AFFINE = frozenset(
    {"remove_dc", "range", "center", "standardize", "pca", "pca_whiten", "zca_whiten"}
)
"""Preparation steps that fold; whatever clips or divides by a sample's own norm does not."""

Encode = Callable[[Tensor], Tensor]
"""Raw patches [B, D], channels last, → codes [B, M]."""


@dataclass(frozen=True)
class Filters:
    """`code = activation(x @ weight.T + bias)` of raw patches: a model with its preparation in it.

    weight [M, D] and bias [M] are exact in float64; use `to` for another precision.
    """

    weight: Tensor
    bias: Tensor
    activation: Activation

    def __call__(self, patches: Tensor) -> Tensor:
        pre = torch.addmm(self.bias, patches.to(self.weight), self.weight.T)
        return self.activation(pre).dense

    def to(self, dtype: torch.dtype) -> Filters:
        """The filters in another precision."""
        return Filters(self.weight.to(dtype), self.bias.to(dtype), self.activation)


@torch.no_grad()
def fold(model: Model, preprocess: Preprocess) -> Filters | None:
    """The filters of a float64 model of one layer; None where the preparation is not affine.

    An affine map is its Jacobian and its value at 0: `weight = encoder @ J`, `bias = pre(0)`.
    """
    layer = isinstance(model, Layer) and model.activation.pre_per_latent == 1
    if not layer or not {step["kind"] for step in preprocess.steps} <= AFFINE:
        return None
    zero = torch.zeros(1, preprocess.n_inputs).to(model.like)
    weight = preprocess.pixels(model.directions())
    return Filters(weight, model.encode(preprocess.apply(zero).x)[0][0], model.activation)


def patch_encoder(trained: Trained, dtype: torch.dtype) -> Encode:
    """Codes of raw patches in `dtype`, on the model's device: folded, or else step by step."""
    preprocess = trained.preprocess
    filters = fold(trained.model_in(torch.float64), preprocess)
    if filters is not None:
        return filters.to(dtype)
    model = trained.model_in(dtype)

    def encode(patches: Tensor) -> Tensor:
        return model.encode(preprocess.apply(patches.to(model.like)).x)[1].dense

    return encode


POOLINGS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "mean": (torch.sum, torch.add),
    "max": (torch.amax, torch.maximum),
}
"""How places are reduced, and two parts of a region joined; a mean is divided at the end."""


@dataclass(frozen=True)
class Convolution:
    """A patch encoder at every place of a picture.

    Args:
        encode: codes [B, M] of raw patches [B, h·w·c], row-major, channels last.
        patch: (h, w) of a patch, *pixels*.
        stride: from one place to the next, *pixels*.
        max_bytes: what patches, pre-activations and codes may take at a time.

    Raises:
        UsageError: for sizes below 1.
    """

    encode: Encode
    patch: tuple[int, int]
    stride: int = 1
    max_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        if min(*self.patch, self.stride, self.max_bytes) < 1:
            raise UsageError(
                f"patch is {self.patch}, stride {self.stride} and max_bytes {self.max_bytes}; "
                "each must be at least 1"
            )

    @torch.no_grad()
    def maps(self, pictures: Tensor) -> Tensor:
        """Codes [n, rows, columns, M] of pictures [n, h, w] or [n, h, w, c], all at once."""
        # A product over unfolded patches and not conv2d: as fast for these sizes, faster in
        # float64, and the same for preparations that no filter can hold.
        pictures = pictures[..., None] if pictures.ndim == 3 else pictures
        windows = pictures.unfold(1, self.patch[0], self.stride)
        windows = windows.unfold(2, self.patch[1], self.stride).permute(0, 1, 2, 4, 5, 3)
        codes = self.encode(windows.reshape(-1, windows.shape[3:].numel()))
        return codes.reshape(*windows.shape[:3], codes.shape[1])

    @torch.no_grad()
    def pooled(
        self, pictures: NDArray[Any], regions: tuple[int, int], pooling: str = "mean"
    ) -> NDArray[Any]:
        """Features [n, regions[0], regions[1], M] of pictures [n, h, w] or [n, h, w, c].

        Region i of k takes the places from ⌊i·r/k⌋ up to ⌊(i+1)·r/k⌋ of r: every place counts
        once. Where r is a multiple of k these are the notes' regions of p × p places, p = r/k;
        elsewhere the notes drop a remainder, and regions differ by at most one place here.

        Raises:
            DataError: when no patch fits.
            UsageError: for an unknown pooling, or more regions than places.
        """
        if pooling not in POOLINGS:
            raise unknown("pooling", pooling, POOLINGS)
        rows, columns = places(pictures.shape[1:3], self.patch, self.stride)
        down, across = bounds(rows, regions[0]), bounds(columns, regions[1])
        probe = self.encode(torch.zeros(1, self._n_inputs(pictures)))
        out = torch.empty(len(pictures), len(down), len(across), probe.shape[1], dtype=probe.dtype)
        n_pictures, n_rows = self._block(pictures, columns, probe, max(b - a for a, b in down))
        for start in range(0, len(pictures), n_pictures):
            block = slice(start, start + n_pictures)
            for i, (top, bottom) in enumerate(down):
                strips = self._strips(pictures[block], top, bottom, n_rows)
                out[block, i] = _pool(strips, across, pooling).cpu()
        if pooling == "mean":
            areas = [[(b - a) * (d - c) for c, d in across] for a, b in down]
            out /= torch.tensor(areas, dtype=out.dtype)[:, :, None]
        return out.numpy()

    def _n_inputs(self, pictures: NDArray[Any]) -> int:
        return math.prod((*self.patch, *pictures.shape[3:]))

    def _block(
        self, pictures: NDArray[Any], columns: int, probe: Tensor, rows: int
    ) -> tuple[int, int]:
        """How many pictures, and rows of places of each, are encoded at a time.

        Patches count four times, for what a preparation makes of them; pre and code twice. At
        least one row of one picture is encoded, whatever that takes.
        """
        numbers = columns * (4 * self._n_inputs(pictures) + 2 * probe.shape[1])
        fit = max(1, self.max_bytes // (numbers * probe.element_size()))
        return max(1, fit // rows), min(rows, fit)

    def _strips(
        self, pictures: NDArray[Any], top: int, bottom: int, n_rows: int
    ) -> Iterator[Tensor]:
        """The maps of rows of places top … bottom, `n_rows` at a time."""
        for first in range(top, bottom, n_rows):
            last = min(first + n_rows, bottom) - 1
            pixels = slice(first * self.stride, last * self.stride + self.patch[0])
            yield self.maps(torch.tensor(pictures[:, pixels]))


def _pool(strips: Iterator[Tensor], across: list[tuple[int, int]], pooling: str) -> Tensor:
    """The sums or maxima [n, regions, M] over the columns of each region and all rows."""
    reduce, join = POOLINGS[pooling]
    pooled: Tensor | None = None
    for maps in strips:
        part = torch.stack([reduce(maps[:, :, a:b], dim=(1, 2)) for a, b in across], 1)
        pooled = part if pooled is None else join(pooled, part)
    assert pooled is not None
    return pooled


def places(picture: tuple[int, ...], patch: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of places (counts) for a patch (h, w) in a picture (h, w), *pixels*.

    Raises:
        DataError: when no patch fits.
    """
    down, across = picture[0] - patch[0], picture[1] - patch[1]
    if min(down, across) < 0:
        raise DataError(
            f"the pictures have {picture[0]}x{picture[1]} pixels, smaller than a patch of "
            f"{patch[0]}x{patch[1]}; give larger pictures or a smaller patch"
        )
    return down // stride + 1, across // stride + 1


def bounds(n_places: int, n_regions: int) -> list[tuple[int, int]]:
    """Where each of `n_regions` disjoint, nearly equal regions starts and ends.

    Raises:
        UsageError: when there are fewer places than regions.

    >>> bounds(25, 3)
    [(0, 8), (8, 16), (16, 25)]
    """
    if not 1 <= n_regions <= n_places:
        raise UsageError(
            f"{n_regions} regions a side were asked for, but there are {n_places} places a side; "
            "use fewer regions, a smaller patch or a smaller stride"
        )
    ends = [i * n_places // n_regions for i in range(n_regions + 1)]
    return list(itertools.pairwise(ends))
