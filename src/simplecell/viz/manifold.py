"""A plane through the code of a generative model, decoded point by point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from simplecell.errors import UsageError
from simplecell.viz.grid import is_whole, positive, tiles


class Decoder(Protocol):
    """An estimator that turns codes back into samples."""

    def inverse_transform(self, X: NDArray[np.float64]) -> ArrayLike:
        """Codes [n, n_latents] to samples [n, D]."""
        ...


def manifold(
    decode: Callable[[NDArray[np.float64]], ArrayLike] | Decoder,
    shape: Sequence[int],
    *,
    columns: int = 20,
    n_latents: int = 2,
    latents: tuple[int, int] = (0, 1),
    signed: bool = False,
    gap: int = 1,
    zoom: int | None = None,
) -> Image.Image:
    """Picture of `columns`² decodings over a plane of two latents: one to the right, one up.

    The codes are `Φ⁻¹((i + ½) / columns)`, equally likely steps of the standard normal that a
    variational autoencoder's code has; of `n_latents`, all but the two `latents` stay 0. One
    scale for the whole picture, so that neighbours compare. Source: Kingma & Welling 2013,
    figure 4. Exact but for the half step that keeps off ±∞.

    Args:
        decode: codes [n, n_latents] to samples [n, D], or an estimator with `inverse_transform`.
        shape: of one sample, (h, w) or (h, w, 3).

    Random samples of the same model need no picture of their own: `tiles(decode(codes), shape,
    signed=False)` with codes from a standard normal.

    >>> manifold(lambda codes: codes @ np.ones((2, 4)), (2, 2), columns=3, zoom=5).size
    (50, 50)
    """
    known = range(positive(n_latents, "n_latents"))
    pair = tuple(latents) if isinstance(latents, tuple | list | np.ndarray) else ()
    fits = all(is_whole(latent) and latent in known for latent in pair)
    if not fits or len(pair) != 2 or pair[0] == pair[1]:
        raise UsageError(
            f"latents is {latents!r}, but a plane needs two different ones of 0 to {n_latents - 1}"
        )
    normal, n = NormalDist(), positive(columns, "columns")
    steps = np.array([normal.inv_cdf((i + 0.5) / n) for i in range(n)])
    codes = np.zeros((columns * columns, n_latents))
    codes[:, pair[0]] = np.tile(steps, columns)
    codes[:, pair[1]] = np.repeat(steps[::-1], columns)
    decoded = decode.inverse_transform if hasattr(decode, "inverse_transform") else decode
    values = np.asarray(decoded(codes))
    if (given := len(values) if values.ndim else 0) != len(codes):
        raise UsageError(f"decode gave {given} samples for {len(codes)} codes")
    return tiles(values, shape, columns=columns, signed=signed, shared=True, gap=gap, zoom=zoom)
