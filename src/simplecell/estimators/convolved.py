"""Features of whole pictures from a patch model, as a scikit-learn transformer."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from simplecell.convolve import (
    MAX_BYTES,
    POOLINGS,
    Convolution,
    Encode,
    bounds,
    patch_encoder,
    places,
)
from simplecell.errors import UsageError, unknown
from simplecell.estimators.classic import SparseAutoencoder
from simplecell.sparse_coding.settings import whole
from simplecell.trained import Trained
from simplecell.viz.grid import is_whole

DOOR: dict[str, Any] = {"dtype": [np.float64, np.float32, np.uint8], "order": "C"}


class ConvolvedFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Pictures to features: codes of a patch model at every place, pooled over regions.

    At `fit`, `n_patches` random patches are cut from X and from nothing else, and a clone of
    `estimator` learns from them; `transform` encodes every patch of a picture and takes the mean,
    or the maximum, of each latent over each region.
    Source: UFLDL, Feature extraction using convolution; Pooling. Exact, save that regions cover
    every place (`simplecell.convolve`).

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

    def __init__(
        self,
        estimator: Any = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        patch: int = 8,
        n_patches: int = 20_000,
        stride: int = 1,
        regions: int = 3,
        pooling: str = "mean",
        max_bytes: int = MAX_BYTES,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.image_shape = image_shape
        self.patch = patch
        self.n_patches = n_patches
        self.stride = stride
        self.regions = regions
        self.pooling = pooling
        self.max_bytes = max_bytes
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
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

    def transform(self, X: Any) -> NDArray[Any]:
        """Features [n, regions² · n_latents] of pictures X, region by region, row-major.

        In float64 if X is float64 (or integers other than bytes), else in float32.
        """
        check_is_fitted(self)
        pictures = self._pictures(X, reset=False)
        encode = self._encode(pictures.dtype)
        convolution = Convolution(encode, self.patch_shape_, self.stride, self.max_bytes)
        pooled = convolution.pooled(pictures, self.regions_, self.pooling)
        return pooled.reshape(len(pictures), -1)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """`region<row>_<column>_latent<m>`, in the order of the features."""
        check_is_fitted(self)
        down, across = self.regions_
        names = [
            f"region{i}_{j}_latent{m}"
            for i in range(down)
            for j in range(across)
            for m in range(self._n_latents)
        ]
        return np.array(names, dtype=object)

    def _check(self) -> None:
        if self.pooling not in tuple(POOLINGS):
            raise unknown("pooling", self.pooling, POOLINGS)
        for name in ("patch", "n_patches", "stride", "regions", "max_bytes"):
            whole(name, getattr(self, name), most=math.inf)
        methods = ("fit", "transform", "get_params")
        usable = all(hasattr(self.estimator, method) for method in methods)
        if self.estimator is not None and (isinstance(self.estimator, type) or not usable):
            raise UsageError(
                f"estimator is {self.estimator!r}; an instance of a scikit-learn transformer is "
                "needed, such as SparseAutoencoder()"
            )

    def _pictures(self, X: Any, *, reset: bool) -> NDArray[Any]:
        """X as pictures [n, h, w, c]; `reset` fixes their shape, else it is compared."""
        own: tuple[int, ...] | None = None
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
        pictures: NDArray[Any] = X.reshape(-1, *self.image_shape_)
        return pictures

    def _sizes(
        self, height: int, width: int, guessed: bool
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """The patch and the regions, (h, w) each; made to fit where the shape is a guess."""
        patch = (self.patch, self.patch)
        if guessed:
            patch = (min(self.patch, height), min(self.patch, width))
        rows, columns = places((height, width), patch, self.stride)
        regions = (self.regions, self.regions)
        if guessed:
            regions = (min(self.regions, rows), min(self.regions, columns))
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

    def _encode(self, dtype: np.dtype[Any]) -> Encode:
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(h, w, c) of (h, w) or (h, w, c)."""
    height, width, *colors = (int(size) for size in shape)
    return height, width, colors[0] if colors else 1


def _image_shape(asked: Any, own: tuple[int, ...] | None, n_inputs: int) -> tuple[int, int, int]:
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
    pictures: NDArray[Any], patch: tuple[int, int], n: int, random: np.random.RandomState
) -> NDArray[Any]:
    """Patches [n, h·w·c] of pictures and places drawn alike; bytes become float32 in 0 … 1."""
    windows = np.lib.stride_tricks.sliding_window_view(pictures, patch, axis=(1, 2))
    picture, top, left = (random.randint(size, size=n) for size in windows.shape[:3])
    cut = np.moveaxis(windows[picture, top, left], 1, -1).reshape(n, -1)
    return cut.astype(np.float32) / 255 if cut.dtype == np.uint8 else cut
