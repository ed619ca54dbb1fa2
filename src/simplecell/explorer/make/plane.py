"""Two dimensions of many: where samples and latents lie on a map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.decomposition import PCA
from torch import Tensor

Floats = NDArray[np.float64]
NARROW = 500
"""Columns up to which all principal directions are found, exactly."""


@dataclass(frozen=True)
class Plane:
    """The first principal directions of some rows, to which any others are brought.

    Source: Pearson 1901, by scikit-learn's PCA. Exact for up to 500 columns.
    """

    mean: Floats
    """[D]."""
    directions: Floats
    """[K, D], of length 1, or 0 where the rows do not vary that much."""
    shares: tuple[float, ...]
    """Of the variance of the rows, along each, *fraction 0–1*."""

    @classmethod
    def of(cls, rows: Floats | csr_array, n_directions: int = 2) -> Plane:
        """Of rows [n, D], dense or sparse."""
        n, width = rows.shape
        directions, shares = np.zeros((n_directions, width)), np.zeros(n_directions)
        if not n:
            return cls(np.zeros(width), directions, tuple(shares.tolist()))
        if isinstance(rows, csr_array) and width <= NARROW:
            rows = rows.toarray()
        sparse = isinstance(rows, csr_array)
        mean = np.asarray(rows.mean(axis=0)).reshape(-1).astype(np.float64)
        square = np.asarray((rows * rows).mean(axis=0)).reshape(-1)
        # arpack finds fewer directions than there are rows and columns
        many = min(n_directions, min(n, width) - sparse)
        if many > 0 and float((square - mean**2).max()) > 0:
            solver = "arpack" if sparse else "covariance_eigh" if width <= NARROW else "randomized"
            found = PCA(many, svd_solver=solver, random_state=0).fit(rows)
            directions[:many] = found.components_
            shares[:many] = np.nan_to_num(found.explained_variance_ratio_)
        return cls(mean, directions, tuple(float(f"{share:.3g}") for share in shares))

    def tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Directions [D, K], and what the mean has along them [K], as `like`."""
        directions = torch.from_numpy(self.directions.T.copy())
        along = torch.from_numpy(self.mean) @ directions
        return directions.to(like), along.to(like)


def spanned(places: NDArray[np.floating]) -> NDArray[np.float32]:
    """Places [n, 2] moved and scaled, both axes alike, so that the wider one fills −1 … 1."""
    low, high = places.min(axis=0), places.max(axis=0)
    half = float((high - low).max()) / 2 or 1.0
    return np.asarray((places - (low + high) / 2) / half, dtype=np.float32)
