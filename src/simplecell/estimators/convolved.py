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
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from simplecell.data.rows import refuse_masked
from simplecell.errors import DataError, UsageError, choice, whole
from simplecell.estimators.classic import SparseAutoencoder
from simplecell.estimators.contract import Array, PrecisionTransformer
from simplecell.estimators.door import refuse_overflow, validate_data
from simplecell.estimators.parameters import Randomness
from simplecell.model.activation import Activation
from simplecell.model.autoencoder import Layer, Model
from simplecell.preprocess.chain import Preprocess
from simplecell.run.trained import Trained
from simplecell.viz.grid import is_whole

MAX_BYTES = 2**25
DOOR: dict[str, Any] = {"dtype": [np.float64, np.float32, np.uint8], "order": "C"}
Pictures = NDArray[np.number]
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
    def pooled(self, pictures: Pictures, regions: tuple[int, int], pooling: str = "mean") -> Array:
        """Features [n, regions[0], regions[1], M] of pictures [n, h, w] or [n, h, w, c].

        Region i of k takes the places from ⌊i·r/k⌋ up to ⌊(i+1)·r/k⌋ of r: every place counts
        once. Where r is a multiple of k these are the notes' regions of p × p places, p = r/k;
        elsewhere the notes drop a remainder, and regions differ by at most one place here.

        Raises:
            DataError: when no patch fits.
            UsageError: for an unknown pooling, or more regions than places.
        """
        choice("pooling", pooling, POOLINGS)
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

    def _n_inputs(self, pictures: Pictures) -> int:
        return math.prod((*self.patch, *pictures.shape[3:]))

    def _block(self, pictures: Pictures, columns: int, probe: Tensor, rows: int) -> tuple[int, int]:
        """How many pictures, and rows of places of each, are encoded at a time.

        Patches count four times, for what a preparation makes of them; pre and code twice. At
        least one row of one picture is encoded, whatever that takes.
        """
        numbers = columns * (4 * self._n_inputs(pictures) + 2 * probe.shape[1])
        fit = max(1, self.max_bytes // (numbers * probe.element_size()))
        return max(1, fit // rows), min(rows, fit)

    def _strips(self, pictures: Pictures, top: int, bottom: int, n_rows: int) -> Iterator[Tensor]:
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


@dataclass(eq=False, repr=False)
class ConvolvedFeatures(PrecisionTransformer):
    """Pictures to features: codes of a patch model at every place, pooled over regions.

    At `fit`, `n_patches` random patches are cut from X and from nothing else, and a clone of
    `estimator` learns from them; `transform` encodes every patch of a picture and takes the mean,
    or the maximum, of each latent over each region.
    Source: UFLDL, Feature extraction using convolution; Pooling. Exact, save that regions cover
    every place (`Convolution`).

    Args:
        estimator: learns codes of patches [n, h·w·c]: any transformer. None is a
            `SparseAutoencoder` for pixels in 0 … 1: 400 latents, ZCA whitening, a linear output
            (UFLDL, Linear decoders; epsilon 0.01 and 100 iterations were chosen by
            cross-validation on CIFAR-10). One in `sklearn.frozen.FrozenEstimator` is used as it is.
        image_shape: (h, w) or (h, w, c) of a picture whose pixels are a row of X, channels last.
            None: of arrays [n, h, w] and [n, h, w, c] their own; of rows a grey square, or else
            a line, and patch and regions are made smaller where they would not fit.
        patch: side of a patch, *pixels*.
        n_patches: patches to learn from, *count*.
        stride: from one place to the next, *pixels*.
        regions: regions a side, *count*.
        pooling: "mean" or "max".
        max_bytes: memory for patches and codes at a time.
        random_state: None, int or RandomState; of the patches, and of an estimator without one.

    Pictures of bytes (uint8) are brought to 0 … 1; other numbers are used as they are.

    Attributes:
        estimator_: the fitted patch model; image_shape_: (h, w, c); patch_shape_: (h, w);
        regions_: (down, across); n_features_in_: h·w·c.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().images[:200] / 16
    >>> patches = SparseAutoencoder(n_latents=10, max_iter=20, random_state=0)
    >>> ConvolvedFeatures(patches, patch=4, n_patches=500, regions=2).fit_transform(X).shape
    (200, 40)
    """

    estimator: BaseEstimator | None = None
    _: KW_ONLY
    image_shape: tuple[int, ...] | None = None
    patch: int = 8
    n_patches: int = 20_000
    stride: int = 1
    regions: int = 3
    pooling: str = "mean"
    max_bytes: int = MAX_BYTES
    random_state: Randomness = None

    def fit(self, X: object, y: object = None) -> Self:
        """Learn from patches of X [n, h·w·c], [n, h, w] or [n, h, w, c]; y is ignored.

        Raises:
            ValueError: for pictures or parameters that cannot be used.
        """
        self._check()
        pictures = self._pictures(X, reset=True)
        random = check_random_state(self.random_state)
        patches = _random_patches(pictures, self.patch_shape_, self.n_patches, random)
        estimator = clone(self._default() if self.estimator is None else self.estimator)
        if "random_state" in (had := estimator.get_params()) and had["random_state"] is None:
            estimator.set_params(random_state=random.randint(2**31 - 1))
        self.estimator_ = estimator.fit(patches, None)
        wanted, got = patches.shape[1], getattr(self.estimator_, "n_features_in_", None)
        if got not in (None, wanted):
            raise UsageError(
                f"the estimator takes {got} inputs a sample, but a patch of the shape "
                f"{(*self.patch_shape_, self.image_shape_[2])} has {wanted}; change patch or "
                "estimator"
            )
        codes = self._encode(np.dtype(np.float32))(torch.from_numpy(patches[:1]))
        self._n_latents = codes.shape[1]
        return self

    def transform(self, X: object) -> Array:
        """Features [n, regions² · n_latents] of pictures X, region by region, row-major.

        In float64 if X is float64 (or integers other than bytes), else in float32.
        """
        check_is_fitted(self)
        pictures = self._pictures(X, reset=False)
        encode = self._encode(pictures.dtype)
        convolution = Convolution(encode, self.patch_shape_, self.stride, self.max_bytes)
        pooled = convolution.pooled(pictures, self.regions_, self.pooling)
        return refuse_overflow(pooled.reshape(len(pictures), -1))

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """`region<row>_<column>_latent<m>`, in the order of the features."""
        check_is_fitted(self)
        places = itertools.product(*map(range, (*self.regions_, self._n_latents)))
        return np.array([f"region{i}_{j}_latent{m}" for i, j, m in places], dtype=object)

    def _check(self) -> None:
        choice("pooling", self.pooling, tuple(POOLINGS))
        for name in ("patch", "n_patches", "stride", "regions", "max_bytes"):
            whole(name, getattr(self, name), most=math.inf)
        methods = ("fit", "transform", "get_params")
        usable = all(hasattr(self.estimator, method) for method in methods)
        if self.estimator is not None and (isinstance(self.estimator, type) or not usable):
            raise UsageError(
                f"estimator is {self.estimator!r}; an instance of a scikit-learn transformer is "
                "needed, such as SparseAutoencoder()"
            )

    def _pictures(self, X: Any, *, reset: bool) -> Pictures:
        """X as pictures [n, h, w, c]; `reset` fixes their shape, else it is compared."""
        own: tuple[int, ...] | None = None
        refuse_masked(X, "X")
        X = np.asarray(X) if isinstance(X, (list, tuple)) else X
        if getattr(X, "ndim", 2) in (3, 4):
            own, X = X.shape[1:], X.reshape(len(X), -1)
        X = validate_data(self, X, reset=reset, **DOOR)
        if reset:
            self.image_shape_ = _image_shape(self.image_shape, own, X.shape[1])
            guessed = own is None and self.image_shape is None
            self.patch_shape_, self.regions_ = self._sizes(*self.image_shape_[:2], guessed)
        elif own is not None and _three(own) != self.image_shape_:
            raise UsageError(f"the pictures are {own}, but were {self.image_shape_} at fit")
        return X.reshape(-1, *self.image_shape_)

    def _sizes(
        self, height: int, width: int, guessed: bool
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """The patch and the regions, (h, w) each; made to fit where the shape is a guess."""

        def fit(size: int, room: int) -> int:
            return min(size, room) if guessed else size

        patch = fit(self.patch, height), fit(self.patch, width)
        rows, columns = places((height, width), patch, self.stride)
        regions = fit(self.regions, rows), fit(self.regions, columns)
        bounds(rows, regions[0])
        bounds(columns, regions[1])
        return patch, regions

    def _default(self) -> SparseAutoencoder:
        return SparseAutoencoder(
            400,
            target=0.035,
            sparsity_weight=5.0,
            weight_decay=3e-3,
            output="linear",
            preprocess=[{"kind": "zca_whiten", "epsilon": 0.01}],
            max_iter=100,
        )

    def _encode(self, dtype: np.dtype[np.number]) -> Encode:
        """Codes of raw patches, in float64 for float64 and else in float32."""
        precision = torch.float64 if dtype == np.float64 else torch.float32
        scale = 255.0 if dtype == np.uint8 else 1.0
        if isinstance(getattr(self.estimator_, "_trained", None), Trained):
            encode = patch_encoder(self.estimator_._on_device(), precision)
        else:
            encode = self._transformed
        return lambda patches: encode(patches.to(precision) / scale)

    def _transformed(self, patches: torch.Tensor) -> torch.Tensor:
        codes = np.asarray(self.estimator_.transform(patches.numpy()))
        return torch.from_numpy(codes).to(patches.dtype)


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(h, w, c) of (h, w) or (h, w, c)."""
    height, width, *colors = (int(size) for size in shape)
    return height, width, colors[0] if colors else 1


def _image_shape(asked: object, own: tuple[int, ...] | None, n_inputs: int) -> tuple[int, int, int]:
    """What a row of X is as a picture.

    Raises:
        UsageError: when that has not as many numbers as the row, or is not X's own shape.
    """
    sizes = tuple(asked) if isinstance(asked, tuple | list | np.ndarray) else ()
    fits = len(sizes) in (2, 3) and all(is_whole(size) and size >= 1 for size in sizes)
    if asked is not None and (not fits or math.prod(sizes) != n_inputs):
        raise UsageError(
            f"image_shape is {asked!r}, but X has {n_inputs} numbers a picture; "
            "(h, w) or (h, w, c) with that product is needed"
        )
    if asked is not None and own is not None and _three(sizes) != _three(own):
        raise UsageError(f"image_shape is {asked}, but the pictures are {own}; leave it out")
    if asked is not None or own is not None:
        return _three(sizes or own or ())
    side = math.isqrt(n_inputs)
    return (side, side, 1) if side * side == n_inputs else (1, n_inputs, 1)


def _random_patches(
    pictures: Pictures, patch: tuple[int, int], n: int, random: np.random.RandomState
) -> Pictures:
    """Patches [n, h·w·c] of pictures and places drawn alike; bytes become float32 in 0 … 1."""
    windows = np.lib.stride_tricks.sliding_window_view(pictures, patch, axis=(1, 2))
    picture, top, left = (random.randint(size, size=n) for size in windows.shape[:3])
    cut = np.moveaxis(windows[picture, top, left], 1, -1).reshape(n, -1)
    return cut.astype(np.float32) / 255 if cut.dtype == np.uint8 else cut
